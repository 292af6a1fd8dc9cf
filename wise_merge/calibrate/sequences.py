"""The held-out completions that checkpoints read: from a file or a task, as tokens, as long as the model can take."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.calibrate.checkpoints import ModelFolders, load_tokenizer
from wise_merge.calibrate.data import Encoded, Example, encode, read_examples, task_examples
from wise_merge.errors import WiseMergeError
from wise_merge.verifiers.models import longest_sequence


@dataclass(frozen=True)
class Source:
    """Where completions come from, as the command line says it: either `data` or `task`."""

    data: Path | None
    task: str | None
    metadata: Sequence[str]
    num_fewshot: int | None
    limit: int | None

    def check(self) -> None:
        """Refuse options that contradict each other."""
        if (self.data is None) == (self.task is None):
            raise WiseMergeError("give either --data, a file of prompts and completions, or --task, a task of lm-eval")
        if self.task is None and (self.metadata or self.num_fewshot is not None):
            raise WiseMergeError("--metadata and --num-fewshot are for --task")

    def examples(self) -> list[Example]:
        """Return the prompts and completions."""
        if self.task is not None:
            return task_examples(self.task, metadata=self.metadata, num_fewshot=self.num_fewshot, limit=self.limit)
        assert self.data is not None
        return read_examples(self.data, limit=self.limit)

    def __str__(self) -> str:
        """Return what people call it."""
        return str(self.data) if self.task is None else " ".join([self.task, *self.metadata])


@dataclass(frozen=True)
class Data:
    """The completions that the checkpoints read.

    Attributes:
        source: a file or a task.
        sequences: how many were read.
        tokens: how many of theirs are the completions'.
        left_out: sequences that are longer than `longest`, the tokens that the model reads.
        longest: see above.
    """

    source: str
    sequences: int
    tokens: int
    left_out: int
    longest: int


def described(data: Data) -> str:
    """Return the line about the data."""
    text = f"{data.source}: {data.sequences:,} sequences with {data.tokens:,} completion tokens"
    if data.left_out:
        text += (
            f"; {data.left_out:,} left out, as they are longer than the {data.longest:,} tokens that the model reads"
        )
    return text


def read_sequences(
    source: Source, checkpoints: Sequence[ModelFolders], configs: Sequence[Any], *, trust_remote_code: bool
) -> tuple[Data, list[Encoded]]:
    """Return what is to be said about the tokens that all checkpoints read, and these.

    Raises a `WiseMergeError` where the tokenizers of two checkpoints make different tokens.

    Args:
        source: of the completions.
        checkpoints: one or several.
        configs: of transformers, of each.
        trust_remote_code: let the code of a tokenizer run.
    """
    tokenizers = [load_tokenizer(one, trust_remote_code=trust_remote_code) for one in checkpoints]
    encoded = [_encode_for_all(example, checkpoints, tokenizers) for example in source.examples()]
    longest = min(longest_sequence(*pair) for pair in zip(configs, tokenizers, strict=True))
    kept = [sequence for sequence in encoded if len(sequence.ids) <= longest]
    if not kept:
        shortest = min(len(sequence.ids) for sequence in encoded)
        fewer = "; a smaller --num-fewshot makes them shorter" if source.task is not None else ""
        raise WiseMergeError(
            f"{source}: every sequence is longer than the {longest:,} tokens that the model reads (the shortest has "
            f"{shortest:,}){fewer}"
        )
    _check_vocabulary(kept, checkpoints, configs)
    tokens = sum(len(sequence.ids) - sequence.first for sequence in kept)
    return Data(str(source), len(kept), tokens, len(encoded) - len(kept), longest), kept


def _encode_for_all(example: Example, checkpoints: Sequence[ModelFolders], tokenizers: Sequence[Any]) -> Encoded:
    first, *others = (encode(tokenizer, example) for tokenizer in tokenizers)
    for checkpoint, other in zip(checkpoints[1:], others, strict=True):
        if other != first:
            raise WiseMergeError(
                f"{example.place}: the tokenizers of {checkpoints[0].name} and {checkpoint.name} make different tokens "
                "of it; both checkpoints must have the tokenizer, and the chat template, of one run"
            )
    return first


def _check_vocabulary(
    sequences: Sequence[Encoded], checkpoints: Sequence[ModelFolders], configs: Sequence[Any]
) -> None:
    for checkpoint, config in zip(checkpoints, configs, strict=True):
        size = config.get_text_config().vocab_size
        for sequence in sequences:
            if max(sequence.ids) >= size:
                raise WiseMergeError(
                    f"{sequence.place}: the tokenizer makes token {max(sequence.ids)} of it, but {checkpoint.name} has "
                    f"embeddings for {size}; copy the tokenizer that belongs to the checkpoint into it"
                )
