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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wise_merge.demo.recipe import Recipe, Stage
from wise_merge.errors import WiseMergeError
from wise_merge.games.countdown import Problem, generate_problems, is_solution, random_problems, read_answer
from wise_merge.text import bar

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

#: One token each; everything else is read character by character.
WORDS = ("Numbers:", "Target:", "Expression:")
CHARACTERS = "0123456789+-*() \n"
PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"

#: Label of a token that is not learned, as `transformers` has it.
NOT_LEARNED = -100


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


def held_out_problems(recipe: Recipe) -> list[Problem]:
    """Return the problems that the lm-eval task will ask."""
    return generate_problems(recipe.problems, numbers=3, largest=recipe.largest, seed=recipe.problem_seed)


def pretraining_problems(recipe: Recipe) -> list[Problem]:
    """Return one random problem with a random solution per example, none of them held out."""
    return list(
        itertools.islice(_not_held_out(recipe, "pre-training"), recipe.pretraining.steps * recipe.pretraining.batch)
    )


def sft_problems(recipe: Recipe) -> list[Problem]:
    """Return different problems, none of them held out, each with its canonical solution."""
    count = recipe.sft_problems
    problems: dict[Any, Problem] = {}
    # A hundred draws per problem, as in `generate_problems`; if these do not suffice, there are too few problems.
    for problem in itertools.islice(_not_held_out(recipe, "sft"), 100 * count):
        if problem.key not in problems:
            problems[problem.key] = Problem(problem.numbers, problem.target, canonical_solution(problem))
        if len(problems) == count:
            return list(problems.values())
    raise WiseMergeError(f"only {len(problems)} problems are left for SFT, {count} wanted; hold out fewer")


def _not_held_out(recipe: Recipe, stage: str) -> Iterator[Problem]:
    # `key` forgets the order of the numbers, so a held-out problem is not shown in another order either.
    keys = {problem.key for problem in held_out_problems(recipe)}
    draws = random_problems(random.Random(f"demo {stage} {recipe.seed}"), numbers=3, largest=recipe.largest)
    return (problem for problem in draws if problem.key not in keys)


def train(recipe: Recipe, directory: Path) -> None:
    """Leave the checkpoints of both stages in `pretrained` and `sft` within the directory.

    Finished checkpoints are reused; a stage that was interrupted goes on from the last one.
    """
    pretrained, sft = directory / "pretrained", directory / "sft"
    if not _finished(sft, recipe.sft):
        pretrain(recipe, pretrained)
        fine_tune(recipe, pretrained, sft, seed=recipe.seed)


def pretrain(recipe: Recipe, directory: Path) -> None:
    """Leave the checkpoints of pre-training in the directory; finished ones are reused."""
    if not _finished(directory, recipe.pretraining):
        with _one_thread():
            _run_stage(_new_model(recipe), pretraining_problems(recipe), recipe.pretraining, directory, recipe.seed)


def fine_tune(recipe: Recipe, pretrained: Path, directory: Path, *, seed: int) -> None:
    """Leave the checkpoints of SFT in the directory; finished ones are reused.

    Args:
        recipe: see there; its own seed is that of the problems.
        pretrained: directory of the pre-training, from whose last checkpoint SFT begins.
        directory: of this run.
        seed: of the order in which the problems are shown.
    """
    from transformers import AutoModelForCausalLM

    if not _finished(directory, recipe.sft):
        with _one_thread():
            model = AutoModelForCausalLM.from_pretrained(_checkpoint(pretrained, recipe.pretraining.steps))
            _run_stage(model, sft_problems(recipe), recipe.sft, directory, seed)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Give torch one thread.

    Two are faster by a fifth, but when something else runs on the core of one, the other waits for it at every
    operation, at a thirtieth of the speed.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _new_model(recipe: Recipe) -> "PreTrainedModel":
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    tokenizer = make_tokenizer()
    set_seed(recipe.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden,
            intermediate_size=3 * recipe.hidden,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _run_stage(model: "PreTrainedModel", problems: list[Problem], stage: Stage, directory: Path, seed: int) -> None:
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    class SaveAndShow(TrainerCallback):
        """Keeps the checkpoints of the recipe and shows a bar of one line; the Trainer's own prints its logs too."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            done = state.global_step
            self.bar = bar(total=stage.steps, done=done, what=directory.name, unit="step", stays=True)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar.update()
            control.should_save = state.global_step in stage.save

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar.close()

    tokenizer = make_tokenizer()
    inputs, labels = encode(tokenizer, problems)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(directory),
            max_steps=stage.steps,
            per_device_train_batch_size=stage.batch,
            learning_rate=stage.learning_rate,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=stage.steps // 30,
            weight_decay=0.0,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            seed=seed,
        ),
        # The data set is the row numbers and the collator looks the rows up, as Python takes most of the time here.
        train_dataset=list(range(len(problems))),
        data_collator=lambda rows: {"input_ids": inputs[rows], "labels": labels[rows]},
        processing_class=tokenizer,
        callbacks=[SaveAndShow()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=_last_checkpoint(directory, stage))


def encode(tokenizer: "PreTrainedTokenizerFast", problems: list[Problem]) -> tuple["Tensor", "Tensor"]:
    """Return input ids and labels, one padded row per problem; only the solution and its end are learned."""
    import torch

    prompts = tokenizer([prompt_of(problem) for problem in problems])["input_ids"]
    solutions = tokenizer([f" {problem.solution}{EOS}" for problem in problems])["input_ids"]
    width = max(len(prompt) + len(solution) for prompt, solution in zip(prompts, solutions, strict=True))
    inputs = torch.full((len(problems), width), tokenizer.pad_token_id)
    labels = torch.full((len(problems), width), NOT_LEARNED)
    for row, (prompt, solution) in enumerate(zip(prompts, solutions, strict=True)):
        end = len(prompt) + len(solution)
        inputs[row, :end] = torch.tensor(prompt + solution)
        labels[row, len(prompt) : end] = torch.tensor(solution)
    return inputs, labels


def _checkpoint(directory: Path, step: int) -> Path:
    return directory / f"checkpoint-{step}"


def _finished(directory: Path, stage: Stage) -> bool:
    return all(_is_whole(_checkpoint(directory, step)) for step in stage.save)


def _is_whole(checkpoint: Path) -> bool:
    # The Trainer writes this file last.
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return True


def _last_checkpoint(directory: Path, stage: Stage) -> str | None:
    """Return the checkpoint to go on from; a torn one and all after it are removed."""
    last = None
    torn = False
    for step in sorted(stage.save):
        checkpoint = _checkpoint(directory, step)
        torn = torn or not _is_whole(checkpoint)
        if torn:
            shutil.rmtree(checkpoint, ignore_errors=True)
        else:
            last = str(checkpoint)
    return last
