"""Embeddings of completions: a tiny real sentence-embedding model, and words where there is none."""

import itertools
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from support.checkpoints import character_tokenizer

from wise_merge.errors import WiseMergeError
from wise_merge.score.embeddings import embed, semantic_diversity

GROUPS = [["2 + 3 is 5", "three and two", "2 + 3 is 5", "no"], ["a", "a"], ["one", "two", "three"]]


@pytest.fixture(scope="module")
def sentence_model(tmp_path_factory):
    """A BERT of random weights that reads 64 tokens and takes their mean, as sentence-transformers saves it."""
    pytest.importorskip("sentence_transformers", reason="the extra `embeddings` is not installed")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("sentences")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=99, **sizes)).save_pretrained(folder / "bert")
    character_tokenizer().save_pretrained(folder / "bert")
    words = Transformer(str(folder / "bert"), max_seq_length=64)
    SentenceTransformer(modules=[words, Pooling(32)]).save(str(folder / "whole"))
    return folder


def cosine_distances(vectors):
    """Of all pairs, one after the other."""
    return [1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in itertools.combinations(vectors, 2)]


def test_an_embedding_is_the_mean_of_the_model_s_hidden_states(sentence_model):
    """Equals a plain forward pass over each text alone; in float32, hence the tolerance."""
    from transformers import BertModel

    model = BertModel.from_pretrained(sentence_model / "bert").eval()
    texts = GROUPS[0]
    expected = []
    for text in texts:
        with torch.no_grad():
            ids = torch.tensor([[ord(character) - 32 + 4 for character in text]])
            expected.append(model(ids).last_hidden_state[0].mean(dim=0).numpy())
    assert embed(str(sentence_model / "whole"), texts, batch_size=2) == pytest.approx(np.array(expected), abs=1e-5)


def test_semantic_diversity_is_the_mean_distance_of_all_pairs_of_samples(sentence_model):
    """Repeated texts count as often as they were sampled, though each is embedded once."""
    name = str(sentence_model / "whole")
    expected = [np.mean(cosine_distances(embed(name, texts).astype(float))) for texts in GROUPS]
    assert semantic_diversity(name, iter(GROUPS)) == pytest.approx(expected, abs=1e-6)
    assert expected[0] > 0.01


def test_texts_that_are_cut_are_counted(sentence_model):
    """One warning for all problems says how many texts the model did not read to the end."""
    with pytest.warns(UserWarning, match="2 of 4 texts are longer") as caught:
        semantic_diversity(str(sentence_model / "whole"), [["a" * 65, "b" * 64], ["c" * 100, "c" * 100, "d"]])
    assert len([warning for warning in caught if "longer" in str(warning.message)]) == 1


def test_broken_text_can_be_embedded(sentence_model):
    """Lone surrogates and empty texts, by the model and by their wording."""
    for name in (str(sentence_model / "whole"), "wording"):
        assert np.isfinite(semantic_diversity(name, [["\ud800", "", "a\x00"]])).all()


def test_a_model_that_is_not_there_is_one_clear_line(tmp_path):
    """The error says what can be named instead."""
    pytest.importorskip("sentence_transformers", reason="the extra `embeddings` is not installed")
    with pytest.raises(WiseMergeError, match=r"cannot load the embedding model 'no/such-model'.*'wording'"):
        embed("no/such-model", ["a"])


def test_without_the_extra_the_error_says_what_to_install():
    """In a process where sentence-transformers cannot be imported, words still work."""
    code = (
        "import sys; sys.modules['sentence_transformers'] = None\n"
        "from wise_merge.score.embeddings import embed, semantic_diversity\n"
        "from wise_merge.errors import WiseMergeError\n"
        "print(semantic_diversity('wording', [['a b', 'a c']])[0] > 0)\n"
        "try: embed('some/model', ['a'])\n"
        "except WiseMergeError as error: print(error)\n"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.startswith("True\n")
    assert "pip install 'wise-merge[embeddings]'" in output


def test_wording_compares_words_and_signs():
    """Equal words are at distance 0 in any order, no common word is 1, and a hand-made case between."""
    assert semantic_diversity("wording", [["2 + 3 = 5", "5 = 3 + 2"]]) == pytest.approx([0], abs=1e-6)
    assert semantic_diversity("wording", [["two and three", "2 + 3"]]) == pytest.approx([1])
    # (1 + log 2, 1) and (1, 1): "a a b" and "a b".
    x = 1 + np.log(2)
    assert semantic_diversity("wording", [["a a b", "A b"]]) == pytest.approx(
        [1 - (x + 1) / np.sqrt((x**2 + 1) * 2)], abs=1e-6
    )


def test_the_wording_of_a_pair_does_not_depend_on_other_samples():
    """Unlike with inverse document frequencies: the mean over pairs is unbiased at any n."""
    texts = ["the sum is 5", "the sum is 6", "so the answer is 5", "nothing"]
    pairs = [semantic_diversity("wording", [pair])[0] for pair in itertools.combinations(texts, 2)]
    assert semantic_diversity("wording", [texts])[0] == pytest.approx(np.mean(pairs), abs=1e-6)


def test_a_single_sample_has_no_pair():
    """NaN, which no mean hides, and no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        diversity = semantic_diversity("wording", [["a"], ["a", "b"], ["", ""]])
    assert np.isnan(diversity[0])
    assert diversity[1:].tolist() == [1, 0]
