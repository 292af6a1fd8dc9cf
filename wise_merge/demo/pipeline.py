"""The demo from end to end: train, merge with `mergekit-yaml`, sample with `lm_eval`, gather, judge, draw.

The two hosts are called as a user calls them; every command is shown and kept in
`commands.sh`. What is finished is reused: a checkpoint is finished when the file
that the Trainer writes last is whole, a command when its log has its final name,
which it gets after exit code 0. A directory belongs to one recipe.
"""

import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge import __version__
from wise_merge.demo.recipe import Recipe
from wise_merge.demo.verdict import Sampled, judge, table
from wise_merge.errors import WiseMergeError

#: For every command. Nothing is downloaded, and two commands run side by side with one thread each.
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
SIDE_BY_SIDE = 2

#: " (10-2)*3" and the end: no solution is longer, and a runaway sample is cut.
LONGEST_SOLUTION = 16


@dataclass(frozen=True)
class Command:
    """One call of a console script: the arguments as typed in the demo's directory, and what it leaves there."""

    name: str
    arguments: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class _Model:
    """A checkpoint to sample, the commands that make and sample it, and how the table calls it."""

    name: str
    checkpoint: str
    alpha: float
    temperature: float
    merge: Command | None
    sample: Command


def run(directory: Path, recipe: Recipe | None = None) -> Path:
    """Return the path of the figure after printing the table and the verdict.

    Args:
        directory: for checkpoints, merges, samples, `results.json`, `figure.png`
            and `commands.sh`; new, empty, or left by an earlier run of this recipe.
        recipe: the default one if None.
    """
    recipe = recipe or Recipe()
    _open(directory, recipe)
    models = _models(recipe)
    _write_whole(directory / "commands.sh", _script(models))
    results, figure = directory / "results.json", directory / "figure.png"
    if not results.exists():
        _train(directory, recipe)
        _run_all(directory, models)
        _write_whole(results, json.dumps(_gather(directory, recipe, models), indent=1))
    if not figure.exists():
        from wise_merge.demo.figure import draw

        draw(results, figure)
    gathered = json.loads(results.read_text())
    print(table([Sampled(**model) for model in gathered["models"]]))
    print(f"\n± is one standard error over the {recipe.problems} problems, none of which was in the training data.\n")
    for sentence in gathered["verdict"]["sentences"]:
        print(sentence)
    print(f"\nFigure: {figure}\nNumbers: {results}\nCommands, to rerun each by hand: {directory / 'commands.sh'}")
    return figure


def _open(directory: Path, recipe: Recipe) -> None:
    """Make the directory, or check that it is one of this recipe."""
    # Through JSON, so that tuples compare as the lists that they become.
    settings = json.loads(json.dumps({"wise_merge": __version__, **dataclasses.asdict(recipe)}))
    path = directory / "settings.json"
    if path.exists():
        try:
            found = dict(json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise WiseMergeError(f"{path} cannot be read ({error}); delete {directory} or name another") from error
        changed = sorted(key for key in {*settings, *found} if settings.get(key) != found.get(key))
        if changed:
            raise WiseMergeError(
                f"{directory} holds a demo with other settings ({', '.join(changed)}; see {path}); "
                "delete it or name another directory"
            )
        return
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise WiseMergeError(f"{directory} exists and holds no demo; name a new or empty directory")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write_whole(path, json.dumps(settings, indent=1))
    except OSError as error:
        raise WiseMergeError(f"{directory} cannot be made ({error.strerror}); name another directory") from error


def _write_whole(path: Path, text: str) -> None:
    """Write beside and rename, so that nobody finds half a file."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


def _models(recipe: Recipe) -> list[_Model]:
    """Return what is sampled, in the order of the table."""
    early, late = f"sft/checkpoint-{recipe.early}", f"sft/checkpoint-{recipe.sft.steps}"

    def model(name: str, checkpoint: str, alpha: float, temperature: float, merge: Command | None = None) -> _Model:
        sampled = "-".join([Path(checkpoint).name if merge else name.split()[0], f"T{temperature:g}"])
        return _Model(name, checkpoint, alpha, temperature, merge, _sample(recipe, sampled, checkpoint, temperature))

    models = [model("early", early, 0.0, 1.0)]
    models += [model(f"late T={t:g}" if t != 1 else "late", late, 1.0, t) for t in recipe.temperatures]
    for alpha in recipe.alphas:
        merged = f"merged/alpha-{alpha:g}"
        merge = Command(f"merge-alpha-{alpha:g}", ("mergekit-yaml", f"{merged}.yml", merged), merged)
        models.append(model(f"WiSE-FT {alpha:g}", merged, alpha, 1.0, merge))
    return models


def _sample(recipe: Recipe, name: str, checkpoint: str, temperature: float) -> Command:
    metadata = {
        "repeats": recipe.samples,
        "numbers": 3,
        "largest": recipe.largest,
        "problems": recipe.problems,
        "problem_seed": recipe.problem_seed,
    }
    output = f"samples/{name}"
    arguments = ["lm_eval", "--model", "hf", "--model_args", f"pretrained={checkpoint},dtype=float32"]
    arguments += ["--tasks", "countdown_passk", "--num_fewshot", "0", "--metadata", json.dumps(metadata)]
    arguments += ["--gen_kwargs", f"temperature={temperature:g}", f"max_gen_toks={LONGEST_SOLUTION}"]
    arguments += ["--batch_size", "512", "--device", "cpu", "--output_path", output, "--log_samples"]
    return Command(f"sample-{name}", tuple(arguments), output)


def _commands(model: _Model) -> list[Command]:
    return [model.merge, model.sample] if model.merge else [model.sample]


def _script(models: Sequence[_Model]) -> str:
    lines = ["# The commands that `wise-merge demo` ran after training, to rerun by hand in this directory:"]
    lines += ["# each one stands alone, once the environment is set (and activated).", 'cd "$(dirname "$0")" || exit']
    lines += [f"export {name}={value}" for name, value in ENVIRONMENT.items()]
    lines += [shlex.join(command.arguments) for model in models for command in _commands(model)]
    return "\n".join(lines) + "\n"


def _train(directory: Path, recipe: Recipe) -> None:
    from transformers.utils.logging import disable_progress_bar, enable_progress_bar

    from wise_merge.demo.tiny_model import train

    # One bar per file that is read or written would break up the bar of the training.
    disable_progress_bar()
    try:
        train(recipe, directory)
    finally:
        enable_progress_bar()


def _run_all(directory: Path, models: Sequence[_Model]) -> None:
    """Merge and sample every model, two side by side; what is finished is left alone."""
    from tqdm import tqdm

    todo = [model for model in models if not is_finished(directory, model.sample)]
    # Models that must be merged first take longest, so they start first.
    todo.sort(key=lambda model: model.merge is None)
    with tqdm(total=len(todo), desc="merge and sample", unit="model") as bar:

        def work(model: _Model) -> None:
            if model.merge:
                _write_whole(directory / model.merge.arguments[1], _merge_recipe(models, model))
            for command in _commands(model):
                if not is_finished(directory, command):
                    bar.write(f"$ {shlex.join(command.arguments)}", file=sys.stderr)
                    run_command(directory, command)
            bar.update()

        _each(work, todo)


def _each(work: Callable[[_Model], None], models: Sequence[_Model]) -> None:
    """Do the work for each, some side by side; the first failure keeps the rest from starting."""
    pool = ThreadPoolExecutor(SIDE_BY_SIDE)
    try:
        for future in [pool.submit(work, model) for model in models]:
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _merge_recipe(models: Sequence[_Model], model: _Model) -> str:
    early = next(other.checkpoint for other in models if other.alpha == 0)
    late = next(other.checkpoint for other in models if other.alpha == 1)
    return (
        f"merge_method: wise_ft\nbase_model: {early}      # early\nmodels:\n  - model: {late}     # late\n"
        f"parameters:\n  alpha: {model.alpha:g}\ndtype: float32\n"
    )


def _log(directory: Path, command: Command) -> Path:
    return directory / "logs" / f"{command.name}.log"


def is_finished(directory: Path, command: Command) -> bool:
    """Return whether the command succeeded in this directory and its output is still there."""
    return _log(directory, command).exists() and (directory / command.output).exists()


def run_command(directory: Path, command: Command) -> None:
    """Run a command in the directory; its log gets its final name only if it succeeds."""
    script, *arguments = command.arguments
    log = _log(directory, command)
    running = log.with_name(log.name + ".partial")
    log.parent.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    # What an interrupted call left could be taken for a result of this one.
    shutil.rmtree(directory / command.output, ignore_errors=True)
    with running.open("w") as output:
        code = subprocess.run(
            [_console_script(script), *arguments],
            cwd=directory,
            env={**os.environ, **ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ).returncode
    if code != 0:
        end = "\n".join(running.read_text(errors="replace").splitlines()[-15:])
        raise WiseMergeError(
            f"{script} failed with exit code {code}; the end of its output ({running}):\n{end}\n"
            f"The command, to be run in {directory}: {shlex.join(command.arguments)}\n"
            "`wise-merge doctor` says whether the hosts see the plugin; after mending, run the demo again to go on."
        )
    running.replace(log)


def _console_script(name: str) -> str:
    """Return the path of a console script: of this environment, else of the PATH."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise WiseMergeError(f"the command {name} is not installed beside {sys.executable}; reinstall wise-merge")
    return found


def _gather(directory: Path, recipe: Recipe, models: Sequence[_Model]) -> dict[str, Any]:
    """Return everything that the table, the verdict and the figure need."""
    sampled = [_read(directory, recipe, model) for model in models]
    return {
        "settings": dataclasses.asdict(recipe),
        "models": [dataclasses.asdict(model) for model in sampled],
        "verdict": judge(sampled),
    }


def _read(directory: Path, recipe: Recipe, model: _Model) -> Sampled:
    """Return what lm-eval wrote about a model."""
    output = directory / model.sample.output
    # The names end in the time: whoever reran a command by hand left more than one.
    summary = max(output.rglob("results_*.json"))
    rows = max(output.rglob("samples_countdown_passk_*.jsonl"))
    reported = json.loads(summary.read_text())["results"]["countdown_passk"]
    # lm-eval writes "pass@1,samples" and "pass@1_stderr,samples": the metric, then the filter. Others are no numbers.
    metrics = {key.split(",")[0]: value for key, value in reported.items() if key.startswith("pass@")}
    documents = [json.loads(row) for row in rows.read_text().splitlines()]
    documents.sort(key=lambda document: int(document["doc_id"]))
    correct = [round(document["pass@1"] * recipe.samples) for document in documents]
    return Sampled(model.name, model.checkpoint, model.alpha, model.temperature, recipe.samples, correct, metrics)
