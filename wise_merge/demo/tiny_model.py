"""A tiny Llama that learns to play CountDown, trained in two stages with the `transformers` Trainer.

"Pre-training" shows random expressions, so that the model knows many ways to a
target; supervised fine-tuning (SFT) shows few problems, each with one canonical
solution, and that narrowing is what collapses the diversity of the samples.
The problems that are held out for the evaluation are in neither stage.
Nothing here merges or evaluates.
"""

import itertools
import json
import random
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wise_merge.countdown import Problem, generate_problems, is_solution, random_problems, read_answer
from wise_merge.errors import WiseMergeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

#: One token each; everything else is read character by character.
WORDS = ("Numbers:", "Target:", "Expression:")
CHARACTERS = "0123456789+-*() \n"
PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"

#: Every prompt and solution of three one-digit numbers fits: 17 tokens and 9.
LENGTH = 28


@dataclass(frozen=True)
class Stage:
    """One stage of training: `steps` of `batch` examples, at a peak `learning_rate`, saved after the steps in `save`."""

    steps: int
    batch: int
    learning_rate: float
    schedule: str
    save: tuple[int, ...]


def prompt_of(problem: Problem) -> str:
    """Return what the model sees, to the letter the prompt of the lm-eval task `countdown_passk`."""
    return f"Numbers: {' '.join(map(str, problem.numbers))}\nTarget: {problem.target}\nExpression:"


def make_tokenizer() -> "PreTrainedTokenizerFast":
    """Return a tokenizer of single characters and the three words of the prompt; it adds no special tokens."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    vocabulary = [PAD, EOS, UNKNOWN, *WORDS, *CHARACTERS]
    tokenizer = Tokenizer(WordLevel({token: i for i, token in enumerate(vocabulary)}, unk_token=UNKNOWN))
    pieces = "|".join(map(re.escape, WORDS)) + r"|[\s\S]"
    tokenizer.pre_tokenizer = Split(Regex(pieces), behavior="isolated")
    tokenizer.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def canonical_solution(problem: Problem) -> str:
    """Return the first solution of the problem in a fixed order: without brackets first, larger numbers first."""
    orders = list(itertools.permutations(sorted(problem.numbers, reverse=True)))
    for form in ("{}{}{}{}{}", "({}{}{}){}{}", "{}{}({}{}{})"):
        for (a, b, c), (first, second) in itertools.product(orders, itertools.product("+-*", repeat=2)):
            text = form.format(a, first, b, second, c)
            if is_solution(read_answer(text), problem.numbers, problem.target):
                return text
    raise WiseMergeError(f"{problem.numbers} cannot reach {problem.target}; the demo's problems must be solvable")


def pretraining_problems(count: int, held_out: Iterable[Problem], *, largest: int, seed: int) -> list[Problem]:
    """Return `count` random problems with random solutions, none of them (in any order of numbers) held out."""
    return list(itertools.islice(_not_held_out(held_out, largest, f"pre-training {seed}"), count))


def sft_problems(count: int, held_out: Iterable[Problem], *, largest: int, seed: int) -> list[Problem]:
    """Return `count` different problems, none of them held out, each with its canonical solution."""
    found: dict[Any, Problem] = {}
    # A hundred draws for each, as `generate_problems` does: past that, there are not so many.
    for problem in itertools.islice(_not_held_out(held_out, largest, f"sft {seed}"), 100 * count):
        if problem.key not in found:
            found[problem.key] = Problem(problem.numbers, problem.target, canonical_solution(problem))
        if len(found) == count:
            return list(found.values())
    raise WiseMergeError(f"only {len(found)} problems are left for SFT, {count} wanted; hold out fewer")


def _not_held_out(held_out: Iterable[Problem], largest: int, seed: str) -> Iterable[Problem]:
    keys = {problem.key for problem in held_out}
    draws = random_problems(random.Random(f"demo {seed}"), numbers=3, largest=largest)
    return (problem for problem in draws if problem.key not in keys)
