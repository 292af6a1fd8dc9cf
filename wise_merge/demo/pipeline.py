"""The demo from end to end: train, sweep, choose, report, judge, draw.

The commands are called as a user calls them; every one is shown and kept in
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wise_merge import __version__
from wise_merge.demo.recipe import Recipe
from wise_merge.demo.verdict import Sampled, judge, table
from wise_merge.errors import WiseMergeError
from wise_merge.estimators.pass_at_k import pass_at_k_curves, reported_k
from wise_merge.estimators.uncertainty import standard_error
from wise_merge.points import Outcome, read_results
from wise_merge.results.whole_file import write_whole

#: For every command. Nothing is downloaded.
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

#: " (10-2)*3" and the end: no solution is longer, and a runaway sample is cut.
LONGEST_SOLUTION = 16

TASK = "countdown_passk"
#: The file of the sweep and its results, in the demo's directory.
SWEEP, RESULTS = "sweep.yml", "results"


@dataclass(frozen=True)
class Command:
    """One call of a console script: the arguments as typed in the demo's directory, and what it leaves there."""

    name: str
    arguments: tuple[str, ...]
    output: str


def run_demo(directory: Path, recipe: Recipe | None = None) -> Path:
    """Return the path of the figure after printing the table and the verdict.

    Args:
        directory: for checkpoints, `sweep.yml`, `results/` with its report, the best
            model, `results.json`, `figure.png` and `commands.sh`; new, empty, or left
            by an earlier run of this recipe.
        recipe: the default one if None.
    """
    recipe = recipe or Recipe()
    _open(directory, recipe)
    commands = _commands(recipe)
    write_whole(directory / "commands.sh", _script(commands).encode())
    results, figure = directory / "results.json", directory / "figure.png"
    if not results.exists():
        _train(directory, recipe)
        write_whole(directory / SWEEP, _sweep(recipe).encode())
        for command in commands:
            if not is_finished(directory, command):
                print(f"$ {shlex.join(command.arguments)}", file=sys.stderr)
                run_command(directory, command)
        write_whole(results, json.dumps(_gather(directory, recipe), indent=1).encode())
    if not figure.exists():
        from wise_merge.demo.figure import draw

        draw(results, figure)
    gathered = json.loads(results.read_text())
    print(table([Sampled(**model) for model in gathered["models"]]))
    print(f"\n± is one standard error over the {recipe.problems} problems, none of which was in the training data.\n")
    for sentence in gathered["verdict"]["sentences"]:
        print(sentence)
    best = _log(directory, commands[1])
    print(f"\n$ {shlex.join(commands[1].arguments)}\n{best.read_text().strip()}")
    print(f"\nReport, with every sample: {directory / RESULTS / 'report.html'}\nFigure: {figure}\nNumbers: {results}")
    print(f"Commands, to rerun each by hand: {directory / 'commands.sh'}")
    return figure


def _open(directory: Path, recipe: Recipe) -> None:
    """Make the directory, or check that it is one of this recipe."""
    # Through JSON, which turns tuples into lists, so that they equal those of the file.
    settings = json.loads(json.dumps({"wise_merge": __version__, **dataclasses.asdict(recipe)}))
    path = directory / "settings.json"
    if path.exists():
        try:
            earlier = dict(json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise WiseMergeError(f"{path} cannot be read ({error}); delete {directory} or name another") from error
        changed = sorted(key for key in {*settings, *earlier} if settings.get(key) != earlier.get(key))
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
        write_whole(path, json.dumps(settings, indent=1).encode())
    except OSError as error:
        raise WiseMergeError(f"{directory} cannot be made ({error.strerror}); name another directory") from error


def _commands(recipe: Recipe) -> list[Command]:
    """Return what is called after the training, in this order."""
    sweep = ("wise-merge", "sweep", SWEEP, "--out", RESULTS)
    better = f"pass@{recipe.samples} >= late"
    best = ("wise-merge", "best", RESULTS, "--objective", "pass@1", "--subject-to", better, "--merge", "best")
    report = ("wise-merge", "report", RESULTS)
    return [
        Command("sweep", sweep, f"{RESULTS}/sweep.json"),
        Command("best", best, "best"),
        Command("report", report, f"{RESULTS}/report.html"),
    ]


def _sweep(recipe: Recipe) -> str:
    """Return the file of the sweep."""
    import yaml

    settings = {
        "early": f"sft/checkpoint-{recipe.early}",
        "late": f"sft/checkpoint-{recipe.sft.steps}",
        "alphas": list(recipe.alphas),
        "temperatures": list(recipe.temperatures),
        "tasks": [TASK],
        "samples": recipe.samples,
        "num_fewshot": 0,
        "metadata": {
            "numbers": 3,
            "largest": recipe.largest,
            "problems": recipe.problems,
            "problem_seed": recipe.problem_seed,
        },
        "gen_kwargs": {"max_gen_toks": LONGEST_SOLUTION},
        "batch_size": 512,
        "device": "cpu",
        # One thread each: on a model of this size more gain little, and lose much when a core is busy elsewhere.
        "processes": 2,
    }
    text: str = yaml.safe_dump(settings, sort_keys=False)
    return text


def _script(commands: Sequence[Command]) -> str:
    lines = ["# The commands that `wise-merge demo` ran after training, to rerun by hand in this directory:"]
    lines += ["# each one stands alone, once the environment is set (and activated).", 'cd "$(dirname "$0")" || exit']
    lines += [f"export {name}={value}" for name, value in ENVIRONMENT.items()]
    lines += [shlex.join(command.arguments) for command in commands]
    return "\n".join(lines) + "\n"


def _train(directory: Path, recipe: Recipe) -> None:
    from transformers.utils.logging import disable_progress_bar, enable_progress_bar

    from wise_merge.demo.tiny_model import train

    # A bar for every file that is read or written would interrupt the bar of the training.
    disable_progress_bar()
    try:
        train(recipe, directory)
    finally:
        enable_progress_bar()


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
    # The remains of an interrupted merge. (The output of a sweep is a file, and a sweep resumes.)
    if (directory / command.output).is_dir():
        shutil.rmtree(directory / command.output)
    with running.open("w") as output:
        code = subprocess.run(
            [_console_script(script), *arguments],
            cwd=directory,
            env={**os.environ, **ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=output,
            # On a terminal, the bar of the sweep is shown.
            stderr=None if sys.stderr.isatty() else subprocess.STDOUT,
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
    program = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if program is None:
        raise WiseMergeError(f"the command {name} is not installed beside {sys.executable}; reinstall wise-merge")
    return program


def _gather(directory: Path, recipe: Recipe) -> dict[str, Any]:
    """Return everything that the table, the verdict and the figure need."""
    outcomes = read_results(directory / RESULTS).of_task(TASK)
    sampled = [_sampled(recipe, outcome) for outcome in outcomes if outcome.point.temperature == 1 or _is_late(outcome)]
    sampled.sort(key=lambda model: (0 < model.alpha < 1, model.alpha, model.temperature))
    return {
        "settings": dataclasses.asdict(recipe),
        "models": [dataclasses.asdict(model) for model in sampled],
        "verdict": judge(sampled),
    }


def _is_late(outcome: Outcome) -> bool:
    return outcome.point.reference == "late"


def _sampled(recipe: Recipe, outcome: Outcome) -> Sampled:
    """Return the outcome of a point as table, verdict and figure take it."""
    point = outcome.point
    correct = [sum(problem.correct) for problem in outcome.problems]
    curves = pass_at_k_curves(recipe.samples, np.array(correct))
    errors = standard_error(curves)
    metrics: dict[str, float] = {}
    for k in reported_k(recipe.samples):
        metrics |= {f"pass@{k}": float(curves[:, k - 1].mean()), f"pass@{k}_stderr": float(errors[k - 1])}
    assert point.alpha is not None
    ends = {"early": ("early", point.early.name), "late": ("late", point.late.name)}
    name, checkpoint = ends.get(str(point.reference), (f"WiSE-FT {point.alpha:g}", f"alpha {point.alpha:g}"))
    hotter = "" if point.temperature == 1 else f" T={point.temperature:g}"
    return Sampled(name + hotter, checkpoint, point.alpha, point.temperature, recipe.samples, correct, metrics)
