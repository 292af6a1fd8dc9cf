"""Held-out completions as tokens: from JSON Lines with prompt and completion, or from a task of lm-eval.

Prompt and completion become tokens as they do in TRL's SFTTrainer, so that a checkpoint is judged on what it was
trained on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.results.reading.rows import Located, read_rows
from wise_merge.text import shortened
from wise_merge.verifiers.models import well_formed

#: A text, or the messages of a chat.
Text = str | list[dict[str, Any]]


@dataclass(frozen=True)
class Example:
    """A prompt and its completion, two texts or two lists of messages.

    Attributes:
        place: file and line, or task and problem, for messages.
        prompt: see above.
        completion: see above.
        template: further arguments of the chat template.
    """

    place: str
    prompt: Text
    completion: Text
    template: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Encoded:
    """The tokens of an example.

    Attributes:
        place: that of the example.
        ids: tokens of prompt and completion together.
        first: index of the completion's first token; at least 1, as what comes first is not predicted.
    """

    place: str
    ids: list[int]
    first: int


def read_examples(path: Path, *, limit: int | None = None) -> list[Example]:
    """Return the examples of a JSON Lines file, at most `limit`; a row that is none is an error."""

    def refuse(place: str, reason: str) -> None:
        raise WiseMergeError(f"{path}, {place}: {reason}")

    examples = [_example(path, row) for row in islice(read_rows(path, refuse), limit)]
    if not examples:
        raise WiseMergeError(f"{path} is empty; each line must be an object with prompt and completion")
    return examples


def task_examples(
    name: str, *, metadata: Sequence[str], num_fewshot: int | None = None, limit: int | None = None
) -> list[Example]:
    """Return the problems of a task of lm-eval with their gold solutions, see `gold_solutions`."""
    from wise_merge.tasks.gold import gold_solutions, parse_metadata

    solutions = gold_solutions(name, metadata=parse_metadata(metadata), num_fewshot=num_fewshot, limit=limit)
    return [
        Example(
            f"{name}, {gold.place}",
            [{"role": "user", "content": gold.prompt}] if gold.chat else gold.prompt,
            [{"role": "assistant", "content": gold.solution}] if gold.chat else gold.solution,
        )
        for gold in solutions
    ]


def _example(path: Path, located: Located) -> Example:
    place, row = f"{path}, {located.place}", located.row
    missing = [name for name in ("prompt", "completion") if name not in row]
    if missing:
        raise WiseMergeError(
            f"{place}: the row lacks {' and '.join(missing)}; it has {', '.join(map(shortened, row)) or 'nothing'}"
        )
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, str) and isinstance(completion, str):
        return Example(place, well_formed(prompt), well_formed(completion))
    if not (_is_chat(prompt) and _is_chat(completion)):
        raise WiseMergeError(
            f"{place}: prompt and completion must both be texts, or both lists of messages such as "
            f'{{"role": "user", "content": "..."}}; got {shortened(prompt)} and {shortened(completion)}'
        )
    # TRL passes these two on as well.
    template = dict(row.get("chat_template_kwargs") or {})
    if row.get("tools"):
        template["tools"] = row["tools"]
    return Example(place, prompt, completion, template)


def _is_chat(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(message, dict) and {"role", "content"} <= message.keys() for message in value)
    )


def encode(tokenizer: Any, example: Example) -> Encoded:
    """Return the tokens of an example, as TRL's SFTTrainer makes them from prompt and completion.

    The two are tokenized together, and the completion begins where the tokens are no longer those of the prompt alone:
    a token that spans the boundary is the completion's. A text ends in the end-of-sequence token, which is added
    where it is not there; in a chat the template says what ends a turn.
    """
    prompt, completion = example.prompt, example.completion
    if isinstance(prompt, str) and isinstance(completion, str):
        end = tokenizer.eos_token
        if end is None:
            raise WiseMergeError("the tokenizer has no end-of-sequence token, which ends a completion; set eos_token")
        if not completion.endswith(end):
            completion += end
        alone, ids = tokenizer(prompt)["input_ids"], tokenizer(prompt + completion)["input_ids"]
        if ids[-2:] == [tokenizer.eos_token_id] * 2:
            # This tokenizer adds one by itself.
            del ids[-1]
    else:
        if tokenizer.chat_template is None:
            raise WiseMergeError(f"{example.place} holds a chat, and the tokenizer has no chat template")
        alone = _chat(tokenizer, example, prompt, add_generation_prompt=True)
        ids = _chat(tokenizer, example, [*prompt, *completion])
    same = (own == joint for own, joint in zip(alone, ids, strict=False))
    first = next((i for i, equal in enumerate(same) if not equal), min(len(alone), len(ids)))
    return Encoded(example.place, ids, max(first, 1))


def _chat(tokenizer: Any, example: Example, messages: Any, **settings: Any) -> list[int]:
    from jinja2 import TemplateError

    try:
        encoded = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, **{**example.template, **settings}
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise WiseMergeError(f"{example.place}: the chat template refuses the messages: {error}") from error
    return list(encoded["input_ids"])
