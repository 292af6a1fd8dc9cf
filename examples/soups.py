"""What averages of many checkpoints are worth, measured: soups, a moving average, Fisher averages and WIDEN.

A quarter of an hour on two CPU cores, nothing is downloaded. A tiny Llama learns the game CountDown and is fine-tuned
three times from one pre-training, on the same problems in another order. Each run keeps nine checkpoints, the first
after 25 steps. Then, by the commands as one types them: merges of each run, a greedy soup over all runs, and K samples
of every held-out problem from each model:

    python examples/soups.py --out soups

Typed again, it goes on where it was. Leaves the runs, recipes, merged models and samples in `--out`, and results.json,
table.md and soups.png. What is chosen (the best single checkpoint, the ingredients of the greedy soup) is chosen on one
half of the problems; every figure is of the other half. Nothing here was tuned until one of the models won.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import sysconfig
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import yaml
from matplotlib.figure import Figure
from scipy.special import stdtrit

from wise_merge import __version__
from wise_merge.demo.recipe import Recipe, Stage
from wise_merge.demo.tiny_model import canonical_solution, fine_tune, pretrain, prompt_of, sft_problems
from wise_merge.estimators.pass_at_k import pass_at_k_curves
from wise_merge.figures.drawing import COLOURS, INK, MARKERS, encoded, frame
from wise_merge.points import read_results
from wise_merge.points.soup import read_soup
from wise_merge.results.whole_file import write_whole
from wise_merge.search.best.choice import halves

TASK = "countdown_passk"
OBJECTIVE = "pass@8"
HALVES_SEED = 0
FISHER_PROBLEMS = 200
CORES = 2

SINGLE = "best single checkpoint"
#: The merges of each run.
MERGES = ("WiSE-FT", "uniform soup", "last five", "moving average", "Fisher", "WIDEN")
ALPHA, LAST, DECAY = 0.5, 5, 0.8


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="a new folder, or one of a run that was stopped")
    parser.add_argument("--runs", type=int, default=3, help="how often SFT is done, each time in another order")
    parser.add_argument("--pretraining-steps", type=int, default=1500)
    parser.add_argument("--sft-steps", type=int, default=800)
    parser.add_argument("--early", type=int, default=25, help="step of the early checkpoint")
    parser.add_argument("--every", type=int, default=100, help="steps between the others")
    parser.add_argument("--problems", type=int, default=500, help="held out: half of them choose, half of them judge")
    parser.add_argument("--samples", type=int, default=32, help="K, per problem")
    options = parser.parse_args()
    open_folder(options)
    if not Path("results.json").exists():
        train(options)
        merge(options)
        sample(options)
        write_whole(Path("results.json"), json.dumps(gather(options), indent=1).encode())
    results = json.loads(Path("results.json").read_text())
    write_whole(Path("table.md"), table(results).encode())
    write_whole(Path("soups.png"), encoded(draw(results), "png"))
    print(table(results))


def open_folder(options):
    """Go to the folder, which belongs to one setting; the commands run there, so the paths in the recipes hold."""
    settings = {"wise_merge": __version__, **{key: value for key, value in vars(options).items() if key != "out"}}
    options.out.mkdir(parents=True, exist_ok=True)
    os.chdir(options.out)
    file = Path("settings.json")
    if not file.exists() and any(Path().iterdir()):
        sys.exit(f"{options.out} is neither empty nor of this study; name another folder")
    if file.exists() and json.loads(file.read_text()) != settings:
        sys.exit(f"{options.out} holds a study with other settings ({file.resolve()}); name another folder")
    write_whole(file, json.dumps(settings, indent=1).encode())
    for name in ("recipes", "merged", "fisher"):
        Path(name).mkdir(exist_ok=True)


# --- Training -------------------------------------------------------------------------------------------------------


def recipe_of(options):
    steps = tuple(sorted({options.early, *range(options.every, options.sft_steps, options.every), options.sft_steps}))
    return Recipe(
        pretraining=Stage(options.pretraining_steps, 128, 3e-3, (options.pretraining_steps,)),
        sft=Stage(options.sft_steps, 64, 1e-3, steps),
        problems=options.problems,
    )


def train(options):
    """Leave pretrained/ and the runs sft-1, sft-2, ...; what is there is reused."""
    pretrain(recipe_of(options), Path("pretrained"))
    # Processes of their own, as one thread each is all that a model of this size can use.
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        list(pool.map(fine_tune_run, [options] * options.runs, runs(options)))


def runs(options):
    return range(1, options.runs + 1)


def fine_tune_run(options, run):
    fine_tune(recipe_of(options), Path("pretrained"), Path(f"sft-{run}"), seed=run)


# --- Merging --------------------------------------------------------------------------------------------------------


def merge(options):
    """Leave merged/NAME-RUN of every merge and run."""
    # Problems that were neither trained on nor held out, for the Fisher information.
    recipe = recipe_of(options)
    problems = sft_problems(replace(recipe, sft_problems=recipe.sft_problems + FISHER_PROBLEMS))[recipe.sft_problems :]
    rows = [{"prompt": prompt_of(one), "completion": f" {canonical_solution(one)}<eos>"} for one in problems]
    write_whole(Path("fisher/data.jsonl"), "".join(json.dumps(row) + "\n" for row in rows).encode())
    # Every command is a process and mostly waits for its imports.
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(lambda run: merge_run(options, run), runs(options)))


def merge_run(options, run):
    early, late = f"sft-{run}/checkpoint-{options.early}", f"sft-{run}/checkpoint-{options.sft_steps}"
    two = ("--early", options.early, "--late", options.sft_steps, "--alpha", ALPHA)
    soup = ("--method", "uniform_soup")
    for name, choice in (
        ("WiSE-FT", two),
        ("uniform soup", soup),
        ("last five", (*soup, "--last", LAST)),
        ("moving average", (*soup, "--ema", DECAY)),
    ):
        file = recipe_file(name, run)
        call("wise-merge", "checkpoints", f"sft-{run}", "--out", file, *choice, leaves=file)
    files = {one: f"fisher/{one.replace('/', '-')}.fisher.safetensors" for one in (early, late)}
    for one, file in files.items():
        call("wise-merge", "fit", "fisher", one, "--data", "fisher/data.jsonl", "--out", file, leaves=file)
    models = [{"model": one, "parameters": {"fisher": file}} for one, file in files.items()]
    write_recipe("Fisher", run, {"merge_method": "fisher", "models": models})
    base = f"pretrained/checkpoint-{options.pretraining_steps}"
    models = [{"model": early}, {"model": late}]
    write_recipe("WIDEN", run, {"merge_method": "widen", "base_model": base, "models": models})
    for name in MERGES:
        call("wise-merge", "merge", recipe_file(name, run), merged(name, run), leaves=merged(name, run))


def recipe_file(name, run):
    return f"recipes/{name.replace(' ', '-')}-{run}.yml"


def merged(name, run):
    return f"merged/{name.replace(' ', '-')}-{run}"


def write_recipe(name, run, content):
    write_whole(Path(recipe_file(name, run)), yaml.safe_dump(content, sort_keys=False).encode())


def call(program, *arguments, leaves=None):
    """Run a command of this environment and show it as one would type it; not if what it leaves is there already."""
    if leaves is not None and Path(leaves).exists():
        return
    typed = shlex.join([program, *map(str, arguments)])
    print("$", typed, flush=True)
    script = Path(sysconfig.get_path("scripts")) / program
    done = subprocess.run([script, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{typed}\n{done.stdout}{done.stderr}Typed again, this study goes on where it was.")


# --- Sampling -------------------------------------------------------------------------------------------------------


def sample(options):
    """Leave soup/ with the samples of the checkpoints and of what the greedy soups tried, sweep/ with the merges'."""
    for name, chosen in greedy_soups(options).items():
        names = [text for run in chosen for text in ("--run", f"sft-{run}")]
        wanted = ("--objective", OBJECTIVE, "--halves-seed", HALVES_SEED, "--out", "soup")
        kept = Path("greedy", name, "soup.json")
        if not kept.exists():
            call("wise-merge", "soup", *names, *wanted, *sampling(options))
            # The next one takes its place.
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_whole(kept, Path("soup/soup.json").read_bytes())
    first, *others = [merged(name, run) for name in MERGES for run in runs(options)]
    late = [text for other in others for text in ("--late", other)]
    # The ends of the lines alone, which are the merges by themselves.
    call("wise-merge", "sweep", "--early", first, *late, "--alphas", "0,1", "--out", "sweep", *sampling(options))


def greedy_soups(options):
    """Return name -> the runs whose checkpoints may become ingredients."""
    # All first: results in soup/ are of checkpoints among which a later command has at least one.
    return {"all": list(runs(options)), **{f"run-{run}": [run] for run in runs(options)}}


def sampling(options):
    """Return the options of a command that samples."""
    problems = {"numbers": 3, "largest": Recipe().largest, "problems": options.problems, "problem_seed": 0}
    return (
        *("--tasks", TASK, "--samples", options.samples, "--num-fewshot", 0, "--gen-kwargs", "max_gen_toks=16"),
        *("--metadata", ",".join(f"{key}={value}" for key, value in problems.items())),
        *("--batch-size", 512, "--device", "cpu", "--processes", CORES),
    )


# --- What came of it ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A kind of model: one of each run, or one of all runs together.

    Attributes:
        name: in the table.
        of_each_run: whether there is one of each run.
        models: what each of them is.
        correct: (models, problems) how many samples solve each problem of the half that judges.
    """

    name: str
    of_each_run: bool
    models: list[str]
    correct: list[list[int]]


def gather(options):
    """Return everything that table and figure need, raw counts first."""
    correct, judges = counts()
    soups = {name: read_soup(Path("greedy", name)) for name in greedy_soups(options)}

    def row(name, models, of_each_run=True):
        chosen = [models] if not of_each_run else models
        titles = [" + ".join(sorted(one)) for one in chosen]
        return Row(name, of_each_run, titles, [correct[frozenset(one)][judges].tolist() for one in chosen])

    each = [soups[f"run-{run}"] for run in runs(options)]
    whole = [[f"sft-{run}/checkpoint-{step}" for step in recipe_of(options).sft.save] for run in runs(options)]
    rows = [
        row("early checkpoint", [[one[0]] for one in whole]),
        row("late checkpoint", [[one[-1]] for one in whole]),
        row(SINGLE, [first_ingredient(one) for one in each]),
        *(row(name, [[merged(name, run)] for run in runs(options)]) for name in MERGES),
        row("greedy soup", [one.chosen.ingredients for one in each]),
        row(SINGLE, first_ingredient(soups["all"]), of_each_run=False),
        row("uniform soup", [one for run in whole for one in run], of_each_run=False),
        row("greedy soup", soups["all"].chosen.ingredients, of_each_run=False),
    ]
    ks = sorted({1, min(8, options.samples), options.samples})
    return {
        "settings": json.loads(Path("settings.json").read_text()),
        "objective": OBJECTIVE,
        "samples": options.samples,
        "problems": int(judges.sum()),
        "ks": ks,
        "rows": [asdict(one) for one in rows],
        "summary": summary(rows, options.samples, ks),
    }


def counts():
    """Return {names of checkpoints: right samples of each problem}, and which problems judge."""
    correct, judges = {}, None
    for folder in ("soup", "sweep"):
        for outcome in read_results(Path(folder)).of_task(TASK):
            point = outcome.point
            names = [one.name for one in point.checkpoints]
            members = names if point.unmerged is None else [names[point.unmerged]]
            correct[frozenset(members)] = np.array([sum(problem.correct) for problem in outcome.problems])
            judges = ~halves([(TASK, problem.id) for problem in outcome.problems], HALVES_SEED)
    return correct, judges


def first_ingredient(soup):
    """Return the checkpoint that a greedy soup begins with, which is the best one by itself."""
    return soup.steps[0].ingredients


def summary(rows, samples, ks):
    """Return mean and interval of Pass@k of each row, and how far it is from the best single checkpoint, paired."""
    entries = []
    for row in rows:
        best = next(one for one in rows if one.name == SINGLE and one.of_each_run == row.of_each_run)
        entry = {"name": row.name, "of_each_run": row.of_each_run}
        for k in ks:
            value, reference = (pass_at_k(one.correct, samples, k) for one in (row, best))
            entry[f"pass@{k}"] = {**estimate(value), "by_run": value.mean(axis=1).tolist()}
            if row is not best:
                apart = value - reference
                entry[f"difference@{k}"] = {**estimate(apart), "by_run": apart.mean(axis=1).tolist()}
        entries.append(entry)
    return entries


def pass_at_k(correct, samples, k):
    """Return (models, problems): unbiased Pass@k."""
    return np.array([pass_at_k_curves(samples, np.array(one))[:, k - 1] for one in correct])


def estimate(values):
    """Return the mean of (runs, problems) and its 95 % interval over runs and problems, for other ones of either.

    Runs and problems are both drawn at random and cross: each problem is solved by the model of each run. The variance
    of the mean is that of the runs' means over their number, plus that of the problems' means over theirs (which counts
    what runs and problems share twice and so errs on the safe side; Owen 2007, The pigeonhole bootstrap). The interval
    is Student's, with the degrees of freedom of such a sum after Satterthwaite: two from three runs where the runs
    decide. A bootstrap over three runs would be too sure of itself by far: at most their own spread.
    """
    variances, freedom = [], []
    for axis in (0, 1):
        n = values.shape[axis]
        if n > 1:
            variances.append(values.mean(axis=1 - axis).var(ddof=1) / n)
            freedom.append(n - 1)
    variance = sum(variances)
    mean = float(values.mean())
    if not variance:
        return {"mean": mean, "low": None, "high": None}
    degrees = variance**2 / sum(one**2 / n for one, n in zip(variances, freedom, strict=True))
    half = float(stdtrit(degrees, 0.975) * variance**0.5)
    return {"mean": mean, "low": mean - half, "high": mean + half}


def table(results):
    """Return two tables in Markdown: Pass@k of each kind of model, and how far that is from the best checkpoint."""
    ks, count = results["ks"], results["settings"]["runs"]
    values, differences = [], []
    for entry in results["summary"]:
        values.append([title(entry), *(shown(entry[f"pass@{k}"], ".3f") for k in ks)])
        if entry["name"] != SINGLE:
            apart = [entry[f"difference@{k}"] for k in ks]
            above = [f", {sum(one > 0 for one in each['by_run'])} of {count}" for each in apart]
            beside = above if entry["of_each_run"] else [""] * len(ks)
            cells = [shown(each, "+.3f") + text for each, text in zip(apart, beside, strict=True)]
            differences.append([title(entry), *cells])
    return (
        f"{results['problems']} problems by which nothing was chosen; K = {results['samples']}, T = 1. Means of "
        f"{count} runs, in brackets 95 % intervals over runs and problems; of one model from all runs, over problems."
        f"\n\n{markdown(ks, values)}\n\n"
        f"Minus the {SINGLE} of the same run, or of all runs, on the same problems; in how many runs above."
        f"\n\n{markdown(ks, differences)}\n"
    )


def markdown(ks, rows):
    head = ["|  | " + " | ".join(f"Pass@{k}" for k in ks) + " |", "|---" * (len(ks) + 1) + "|"]
    return "\n".join([*head, *("| " + " | ".join(row) + " |" for row in rows)])


def title(entry):
    return entry["name"] + ("" if entry["of_each_run"] else ", of all runs")


def shown(estimated, form):
    if estimated["low"] is None:
        return format(estimated["mean"], form)
    return f"{estimated['mean']:{form}} [{estimated['low']:{form}}, {estimated['high']:{form}}]"


def draw(results):
    """Return the picture: Pass@K against Pass@1. The names stand in a column, so that none lies on another."""
    last = results["ks"][-1]
    drawing = Figure(figsize=(8.6, 5.6), layout="constrained")
    axes = drawing.subplots()
    frame(axes)
    entries = sorted(results["summary"], key=lambda entry: -entry[f"pass@{last}"]["mean"])
    for number, (entry, place) in enumerate(zip(entries, np.linspace(0.97, 0.03, len(entries)), strict=True)):
        x, y = entry["pass@1"], entry[f"pass@{last}"]
        colour = COLOURS[number % len(COLOURS)]
        look = {"color": colour, "marker": MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]}
        inside = colour if entry["of_each_run"] else "white"
        bars = {"xerr": reach(x), "yerr": reach(y), "elinewidth": 0.8}
        axes.errorbar(x["mean"], y["mean"], markersize=7, markerfacecolor=inside, **bars, **look)
        if entry["of_each_run"]:
            axes.scatter(x["by_run"], y["by_run"], s=9, alpha=0.5, **look)
        name = {"xytext": (1.06, place), "textcoords": "axes fraction", "va": "center", "fontsize": 9, "color": colour}
        arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.5, "alpha": 0.6}
        axes.annotate(title(entry), (x["mean"], y["mean"]), arrowprops=arrow, **name)
    axes.set_xlabel("Pass@1")
    axes.set_ylabel(f"Pass@{last}")
    axes.set_title(f"{results['problems']} problems by which nothing was chosen; bars: 95 % intervals", fontsize=11)
    legend = "filled: mean of the runs (small: each run); open: one model from all runs"
    axes.text(0.02, 0.02, legend, transform=axes.transAxes, fontsize=8, color=INK)
    return drawing


def reach(estimated):
    """Return how far the interval reaches below and above the mean, as matplotlib takes it."""
    if estimated["low"] is None:
        return None
    return [[estimated["mean"] - estimated["low"]], [estimated["high"] - estimated["mean"]]]


if __name__ == "__main__":
    main()
