"""What BANG changes, measured: early, late, their WiSE-FT average, BANG at merge time and BANG in training.

Two minutes on two CPU cores, nothing is downloaded. A tiny Llama learns the game CountDown and is fine-tuned twice,
plainly and with label smoothing and Mixup; both runs keep their early checkpoints. Three merges follow, and K samples
of every held-out problem from each model:

    python examples/sft_bang.py --out bang --seed 0

Every model is sampled at temperature 1, and at the temperature that calibrates it: BANG makes a model less sure of
itself, and the second comparison tells what is left of its effect once every model is as sure as it should be. Leaves
both runs, the recipes, the merged models, samples/ and results.json in `--out`. Nothing here was tuned until one of the
models won: the verdict at the end is computed, whatever it is.
"""

import argparse
import json
import os
import shlex
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

from wise_merge.demo.recipe import Recipe, Stage
from wise_merge.demo.tiny_model import (
    NOT_LEARNED,
    canonical_solution,
    encode,
    held_out_problems,
    make_tokenizer,
    pretraining_problems,
    prompt_of,
    sft_problems,
)
from wise_merge.estimators.calibration import (
    confidence,
    expected_calibration_error,
    fit_temperature,
    nll,
    reliability,
    tokens_of,
)
from wise_merge.estimators.pass_at_k import pass_at_k_curves
from wise_merge.estimators.uncertainty import paired_difference, standard_error
from wise_merge.games.countdown import is_solution, read_answer
from wise_merge.training import KeepEarlyCheckpoints, bang_trainer

ALPHA = 0.5  # halfway, as in the paper
LABEL_SMOOTHING, MIXUP = 0.1, 0.2  # the usual values of either paper, not tuned here
CALIBRATION_PROBLEMS = 200
BATCH = 512


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--seed", type=int, default=0, help="of weights, data, training and samples")
    parser.add_argument("--pretraining-steps", type=int, default=400)
    parser.add_argument("--sft-steps", type=int, default=300)
    parser.add_argument("--early", type=int, default=25, help="step of the early checkpoint")
    parser.add_argument("--problems", type=int, default=300, help="held out, for the comparison")
    parser.add_argument("--samples", type=int, default=16, help="K, per problem")
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    # The commands below run in this folder too, so the paths in the recipes hold there.
    os.chdir(options.out)
    transformers.utils.logging.disable_progress_bar()
    # At this size threads only wait for each other.
    torch.set_num_threads(1)

    # 1. A "pre-trained" model, from random expressions of problems that are never asked below.
    recipe = Recipe(
        seed=options.seed,
        problems=options.problems,
        pretraining=Stage(options.pretraining_steps, 128, 3e-3, save=()),
        sft=Stage(options.sft_steps, 64, 1e-3, save=()),
    )
    tokenizer = make_tokenizer()
    model = new_model(tokenizer, options.seed)
    train(Trainer, model, tokenizer, pretraining_problems(recipe), recipe.pretraining, "pretrained", options.seed)

    # 2. Fine-tuned twice from there, on one solution per problem: plainly, and as BANG does it.
    problems = sft_problems(replace(recipe, sft_problems=recipe.sft_problems + CALIBRATION_PROBLEMS))
    training, calibration = problems[: recipe.sft_problems], problems[recipe.sft_problems :]
    balanced = bang_trainer(Trainer, label_smoothing=LABEL_SMOOTHING, mixup=MIXUP)
    for trainer_class, run in ((Trainer, "sft"), (balanced, "sft-bang")):
        model = AutoModelForCausalLM.from_pretrained("pretrained")
        keep = KeepEarlyCheckpoints(first=options.early)
        train(trainer_class, model, tokenizer, training, recipe.sft, run, options.seed, [keep])

    # 3. Three merges. Each recipe could be written by hand; the commands save the typing.
    early, late = f"early/checkpoint-{options.early}", f"checkpoint-{options.sft_steps}"
    steps = ["--early", options.early, "--late", options.sft_steps, "--alpha", ALPHA]
    call("wise-merge", "checkpoints", "sft", "--out", "wise.yml", *steps)
    call("wise-merge", "checkpoints", "sft-bang", "--out", "trained-bang.yml", *steps)
    rows = [{"prompt": prompt_of(problem), "completion": f" {problem.solution}<eos>"} for problem in calibration]
    Path("calibration.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fit = ["--data", "calibration.jsonl", "--alpha", ALPHA, "--out", "bang.yml"]
    call("wise-merge", "fit", "temperature", f"sft/{early}", f"sft/{late}", *fit)
    with ThreadPoolExecutor(2) as pool:
        names = ("wise", "bang", "trained-bang")
        list(pool.map(lambda name: call("mergekit-yaml", f"{name}.yml", f"merged/{name}", "--quiet"), names))

    # 4. K samples of every held-out problem from each model, at temperature 1 and at the one that calibrates it.
    checkpoints = {
        "early": f"sft/{early}",
        "late": f"sft/{late}",
        "WiSE-FT": "merged/wise",
        "BANG, merge time": "merged/bang",
        "late, BANG training": f"sft-bang/{late}",
        "BANG, trained": "merged/trained-bang",
    }
    held_out = held_out_problems(recipe)
    Path("samples").mkdir()
    results = []
    for name, checkpoint in checkpoints.items():
        model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
        fitted = fit_temperature(*read(model, tokenizer, calibration)).temperature
        for temperature in (1.0, fitted):
            completions = sample(model, tokenizer, held_out, options.samples, temperature, options.seed)
            correct = [
                [is_solution(read_answer(text), problem.numbers, problem.target) for text in texts]
                for problem, texts in zip(held_out, completions, strict=True)
            ]
            file = f"samples/{checkpoint.replace('/', '-')}-{'T1' if temperature == 1.0 else 'fitted'}.jsonl"
            rows = [
                {"prompt": prompt_of(problem), "completions": texts, "correct": right}
                for problem, texts, right in zip(held_out, completions, correct, strict=True)
            ]
            Path(file).write_text("".join(json.dumps(row) + "\n" for row in rows))
            counts = [sum(right) for right in correct]
            results.append({"model": name, "checkpoint": checkpoint, "temperature": temperature, "file": file})
            results[-1] |= {"samples": options.samples, "correct": counts}
            results[-1] |= calibration_of(*read(model, tokenizer, held_out), temperature)
    Path("results.json").write_text(json.dumps(results, indent=1))

    # 5. The comparisons.
    at_1, fitted = results[::2], results[1::2]
    print(f"\nsampled at temperature 1\n{table(at_1)}\n\n" + "\n".join(verdict(at_1, options.seed)))
    print(f"\nsampled at its own temperature\n{table(fitted)}\n\n" + "\n".join(verdict(fitted, options.seed)))
    print(f"\n± is one standard error over {options.problems} held-out problems, {options.samples} samples each;")
    print("nll and ece are per token of the solutions that SFT teaches, at the same temperature.")


def new_model(tokenizer, seed):
    set_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=192,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def train(trainer_class, model, tokenizer, problems, stage, directory, seed, callbacks=()):
    """Train on the problems' solutions; the model after the last step is in `directory` and, if kept, checkpoint-N."""
    inputs, labels = encode(tokenizer, problems)
    is_sft = bool(callbacks)
    trainer = trainer_class(
        model=model,
        args=TrainingArguments(
            output_dir=directory,
            max_steps=stage.steps,
            per_device_train_batch_size=stage.batch,
            learning_rate=stage.learning_rate,
            # Constant, so that an early checkpoint is not an unfinished late one.
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=stage.steps // 30,
            weight_decay=0.0,
            # The limit would delete the early checkpoints, were it not for the callback.
            save_strategy="steps" if is_sft else "no",
            save_steps=stage.steps,
            save_total_limit=1,
            logging_steps=max(1, stage.steps // 20),
            report_to="none",
            use_cpu=True,
            seed=seed,
        ),
        # The data set is the row numbers; the collator looks the rows up, padded on the right.
        train_dataset=list(range(len(problems))),
        data_collator=lambda rows: {
            "input_ids": inputs[rows],
            "attention_mask": (inputs[rows] != tokenizer.pad_token_id).long(),
            "labels": labels[rows],
        },
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )
    trainer.train()
    if not is_sft:
        trainer.save_model()


def call(program, *arguments):
    """Run a command of this environment, showing it as one would type it."""
    print("$", shlex.join([program, *map(str, arguments)]), flush=True)
    subprocess.run([Path(sysconfig.get_path("scripts")) / program, *map(str, arguments)], check=True)


@torch.inference_mode()
def sample(model, tokenizer, problems, samples, temperature, seed):
    """Return K completions of every problem, drawn from the whole distribution."""
    set_seed(seed)
    completions = []
    size = max(1, BATCH // samples)
    for start in range(0, len(problems), size):
        prompts = tokenizer([prompt_of(p) for p in problems[start : start + size]], padding=True, return_tensors="pt")
        tokens = model.generate(
            input_ids=prompts["input_ids"],
            attention_mask=prompts["attention_mask"],
            do_sample=True,
            temperature=temperature,
            top_k=0,
            top_p=1.0,
            num_return_sequences=samples,
            max_new_tokens=16,  # no solution is longer
        )
        texts = tokenizer.batch_decode(tokens[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
        completions += [texts[i : i + samples] for i in range(0, len(texts), samples)]
    return completions


@torch.inference_mode()
def read(model, tokenizer, problems):
    """Return what the model says of each token of the canonical solutions, and which problem the token is of."""
    asked = [replace(problem, solution=canonical_solution(problem)) for problem in problems]
    inputs, labels = encode(tokenizer, asked)
    logits = torch.cat([model(input_ids=rows).logits[:, :-1] for rows in inputs.split(BATCH)])
    learned = labels[:, 1:] != NOT_LEARNED
    return tokens_of(logits[learned], labels[:, 1:][learned]), learned.nonzero()[:, 0].numpy()


def calibration_of(tokens, sequences, temperature):
    """Return NLL and expected calibration error per token."""
    bins = reliability(confidence(tokens, temperature), tokens.correct, sequences)
    return {"nll": float(nll(tokens, temperature).mean()), "ece": expected_calibration_error(bins)}


def curves(result):
    """Return (problems, K), unbiased Pass@1 to Pass@K of each problem."""
    return pass_at_k_curves(result["samples"], np.array(result["correct"]))


def table(results):
    """Return a line per model: Pass@k, and how far it is above or below WiSE-FT, each with its standard error."""
    samples = results[0]["samples"]
    ks = sorted({1, min(4, samples), samples})
    wise = next(result for result in results if result["model"] == "WiSE-FT")
    head = "".join(f"  {f'pass@{k}':^13}" for k in ks)
    lines = [f"{'':19}  T   {head}    nll    ece"]
    for result in results:
        cells = "".join(f"  {value:.3f} ± {error:.3f}" for value, error in summary(curves(result), ks))
        facts = f"  {result['nll']:.3f}  {result['ece']:.3f}"
        lines.append(f"{result['model']:19} {result['temperature']:4.2f}{cells}{facts}")
    lines += ["", "minus WiSE-FT, paired by problem"]
    for result in results:
        if result is not wise:
            paired = summary(curves(result) - curves(wise), ks)
            lines.append(f"{result['model']:23}" + "".join(f" {value:+.3f} ± {error:.3f}" for value, error in paired))
    return "\n".join(lines)


def summary(values, ks):
    """Return mean and standard error over problems, for each k."""
    means, errors = values.mean(axis=0), standard_error(values)
    return [(means[k - 1], errors[k - 1]) for k in ks]


def verdict(results, seed):
    """Return a sentence for each form of BANG: what it does to WiSE-FT's Pass@1 and Pass@K, if anything."""
    models = {result["model"]: result for result in results}
    wise = models["WiSE-FT"]
    sentences = []
    for name in ("BANG, merge time", "BANG, trained"):
        found = []
        for k in (1, wise["samples"]):
            first, second = (curves(model)[:, k - 1] for model in (wise, models[name]))
            paired = paired_difference(first, second, rng=np.random.default_rng(seed))
            word = "raises" if paired.low > 0 else "lowers" if paired.high < 0 else "does not clearly change"
            p_value = "p < 0.001" if paired.p_value < 0.001 else f"p = {paired.p_value:.3f}"
            interval = f"{paired.difference:+.3f} [{paired.low:+.3f}, {paired.high:+.3f}], {p_value}"
            found.append(f"{word} Pass@{k} ({interval})")
        sentences.append(f"{name}: against WiSE-FT it {' and '.join(found)}.")
    return sentences


if __name__ == "__main__":
    main()
