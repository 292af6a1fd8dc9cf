"""Embeddings of completions for semantic diversity: a sentence-embedding model, or word counts.

Where no model can be had, "wording" stands in under its own name: it compares which words two
texts use, not what they mean.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.diversity import mean_pairwise_cosine_distance

#: The embedding that needs no model.
WORDING = "wording"


def embed(name: str, texts: Sequence[str], *, batch_size: int = 32, device: str | None = None) -> np.ndarray:
    """Return (n, d) floating-point embeddings of n texts, not normalised.

    Args:
        name: "wording", or a model for sentence-transformers (Hub id or folder; needs the extra
            `wise-merge[embeddings]`), which embeds and pools as its own configuration says.
        texts: any texts; for "wording" the columns are the words of these texts.
        batch_size: texts per forward pass.
        device: "cpu", "cuda", ...; None is a GPU if there is one.
    """
    embedder, unread = _embedder(name, batch_size=batch_size, device=device)
    _warn(name, unread(texts), len(texts))
    return embedder(texts)


def semantic_diversity(
    name: str, groups: Iterable[Sequence[str]], *, batch_size: int = 32, device: str | None = None
) -> np.ndarray:
    """Return (problems,) float64: the mean pairwise cosine distance of the completions of each problem.

    Each distinct text of a problem is embedded once. A problem with one completion has no pair
    and gets NaN. A warning says how many texts the model could not read to their end.

    Args:
        name: see `embed`, as for `batch_size` and `device`.
        groups: the completions of each problem; read once.
    """
    embedder, unread = _embedder(name, batch_size=batch_size, device=device)
    diversities, cut, texts = [], 0, 0
    for completions in groups:
        distinct = {text: row for row, text in enumerate(dict.fromkeys(completions))}
        vectors = embedder(list(distinct))
        diversities.append(mean_pairwise_cosine_distance(vectors[[distinct[text] for text in completions]]))
        cut, texts = cut + unread(list(distinct)), texts + len(distinct)
    _warn(name, cut, texts)
    return np.array(diversities)


#: From texts to their embeddings; and from texts to how many of them are cut because they are too long.
_Embedder = tuple[Callable[[Sequence[str]], np.ndarray], Callable[[Sequence[str]], int]]


def _embedder(name: str, *, batch_size: int, device: str | None) -> _Embedder:
    return (_word_counts, lambda texts: 0) if name == WORDING else _sentence_model(name, batch_size, device)


def _warn(name: str, cut: int, texts: int) -> None:
    if cut:
        warnings.warn(f"{cut} of {texts} texts are longer than {name} reads; the rest is ignored", stacklevel=3)


def _word_counts(texts: Sequence[str]) -> np.ndarray:
    """Return 1 + log(count) of every word, number and sign; a text's vector depends on no other text.

    Without inverse document frequencies, therefore: they would make a distance depend on which
    other samples there are, and files could not be compared.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", use_idf=False, sublinear_tf=True, dtype=np.float32)
    try:
        return np.asarray(words.fit_transform(texts).toarray())
    except ValueError:  # not one word in all the texts
        return np.zeros((len(texts), 1), dtype=np.float32)


def _sentence_model(name: str, batch_size: int, device: str | None) -> _Embedder:
    try:
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError as error:
        raise WiseMergeError(
            f"embeddings by {name!r} need sentence-transformers: pip install 'wise-merge[embeddings]', "
            f"or name {WORDING!r}, which needs no model and compares wording, not meaning"
        ) from error
    try:
        model: Any = SentenceTransformer(name, device=device)
    except (OSError, ValueError) as error:
        raise WiseMergeError(
            f"cannot load the embedding model {name!r}; it must be a folder or a Hub id, or {WORDING!r}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error

    def well_formed(texts: Sequence[str]) -> list[str]:
        # No tokenizer takes lone surrogates, which broken completions hold.
        return [text.encode("utf-8", errors="replace").decode("utf-8") for text in texts]

    def embedder(texts: Sequence[str]) -> np.ndarray:
        return np.asarray(model.encode(well_formed(texts), batch_size=batch_size, show_progress_bar=False))

    def unread(texts: Sequence[str]) -> int:
        limit = model.max_seq_length
        if limit is None:
            return 0
        return sum(len(ids) > limit for ids in model.tokenizer(well_formed(texts), truncation=False)["input_ids"])

    return embedder, unread
