"""What averages of many checkpoints are worth, measured: soups, a moving average, Fisher averages and WIDEN.

14 minutes on two CPU cores, nothing is downloaded. A tiny Llama learns the game CountDown and is fine-tuned
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
from wise_merge.search.best.choice import ROUNDING, halves

TASK = "countdown_passk"
#: By which the best checkpoints and the greedy soups are chosen.
CHOOSING_K = (1, 8)
HALVES_SEED = 0
FISHER_PROBLEMS = 200
CORES = 2

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
    """Leave samples: by-pass-K/ has those of all checkpoints and of what greedy soups tried, sweep/ those of merges."""
    # A soup tries one mean after the other, and so has work for one core.
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(lambda k: make_soups(options, k), CHOOSING_K))
    first, *others = [merged(name, run) for name in MERGES for run in runs(options)]
    late = [text for other in others for text in ("--late", other)]
    cores = ("--processes", CORES)
    # The ends of the lines alone, which are the merges by themselves.
    call(
        "wise-merge", "sweep", "--early", first, *late, "--alphas", "0,1", "--out", "sweep", *sampling(options), *cores
    )


def make_soups(options, k):
    """Leave a soup.json of the greedy soup over all runs and of that of each, by Pass@k."""
    folder = Path(f"by-pass-{k}")
    for name, chosen in greedy_soups(options).items():
        kept = folder / name / "soup.json"
        if not kept.exists():
            names = [text for run in chosen for text in ("--run", f"sft-{run}")]
            wanted = ("--objective", f"pass@{k}", "--halves-seed", HALVES_SEED, "--out", folder)
            call("wise-merge", "soup", *names, *wanted, *sampling(options))
            # The next one takes its place.
            kept.parent.mkdir(exist_ok=True)
            write_whole(kept, (folder / "soup.json").read_bytes())


def greedy_soups(options):
    """Return name -> the runs whose checkpoints may become ingredients."""
    # All first: a folder takes further soups of checkpoints that it knows.
    return {"all": list(runs(options)), **{f"run-{run}": [run] for run in runs(options)}}


def sampling(options):
    """Return the options of a command that samples."""
    problems = {"numbers": 3, "largest": Recipe().largest, "problems": options.problems, "problem_seed": 0}
    return (
        *("--tasks", TASK, "--samples", options.samples, "--num-fewshot", 0, "--gen-kwargs", "max_gen_toks=16"),
        *("--metadata", ",".join(f"{key}={value}" for key, value in problems.items())),
        *("--batch-size", 512, "--device", "cpu"),
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
    correct, confirms = counts()

    def row(name, models, of_each_run=True):
        chosen = models if of_each_run else [models]
        titles = [" + ".join(sorted(one)) for one in chosen]
        return Row(name, of_each_run, titles, [correct[frozenset(one)][confirms].tolist() for one in chosen])

    whole = [[f"sft-{run}/checkpoint-{step}" for step in recipe_of(options).sft.save] for run in runs(options)]
    rows = [row("early checkpoint", [[one[0]] for one in whole]), row("late checkpoint", [[one[-1]] for one in whole])]
    rows += [row(name, [[merged(name, run)] for run in runs(options)]) for name in MERGES]
    rows.append(row("uniform soup", [one for run in whole for one in run], of_each_run=False))
    for k in CHOOSING_K:
        made = {name: read_soup(Path(f"by-pass-{k}", name)) for name in greedy_soups(options)}
        # A greedy soup begins with the checkpoint that is best by itself.
        best = {name: soup.steps[0].ingredients for name, soup in made.items()}
        kept = {name: soup.chosen.ingredients for name, soup in made.items()}
        for name, chosen in ((best_by(k), best), (f"greedy soup by Pass@{k}", kept)):
            rows.append(row(name, [chosen[f"run-{run}"] for run in runs(options)]))
            rows.append(row(name, chosen["all"], of_each_run=False))
    rows.sort(key=lambda one: not one.of_each_run)
    ks = sorted({1, min(8, options.samples), options.samples})
    return {
        "settings": json.loads(Path("settings.json").read_text()),
        "samples": options.samples,
        "problems": int(confirms.sum()),
        "ks": ks,
        "rows": [asdict(one) for one in rows],
        "summary": summary(rows, options.samples, ks),
    }


def best_by(k):
    return f"best checkpoint by Pass@{k}"


#: What all others are compared with.
REFERENCES = (*map(best_by, CHOOSING_K), "WiSE-FT")


def counts():
    """Return {names of checkpoints: right samples of each problem}, and which problems confirm."""
    correct, confirms = {}, None
    for folder in (*(f"by-pass-{k}" for k in CHOOSING_K), "sweep"):
        for outcome in read_results(Path(folder)).of_task(TASK):
            point = outcome.point
            names = [one.name for one in point.checkpoints]
            members = names if point.unmerged is None else [names[point.unmerged]]
            correct[frozenset(members)] = np.array([sum(problem.correct) for problem in outcome.problems])
            confirms = ~halves([(TASK, problem.id) for problem in outcome.problems], HALVES_SEED)
    return correct, confirms


def summary(rows, samples, ks):
    """Return mean and interval of Pass@k of each row, and how far it is from the references of its runs, paired."""
    entries = []
    for row in rows:
        values = {k: pass_at_k(row.correct, samples, k) for k in ks}
        entry = {"name": row.name, "of_each_run": row.of_each_run, "models": row.models}
        entries.append(entry | {f"pass@{k}": estimate(value) for k, value in values.items()})
        for other in rows:
            if other.name in REFERENCES and other.of_each_run == row.of_each_run:
                apart = {k: values[k] - pass_at_k(other.correct, samples, k) for k in ks}
                entries[-1][f"minus {other.name}"] = {f"pass@{k}": estimate(value) for k, value in apart.items()}
    return entries


def pass_at_k(correct, samples, k):
    """Return (models, problems): unbiased Pass@k."""
    return np.array([pass_at_k_curves(samples, np.array(one))[:, k - 1] for one in correct])


def estimate(values):
    """Return the mean of (runs, problems), its 95 % interval over runs and problems, and the mean of each run.

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
    mean, by_run = float(values.mean()), values.mean(axis=1).tolist()
    if variance <= ROUNDING**2:
        return {"mean": mean, "low": None, "high": None, "by_run": by_run}
    degrees = variance**2 / sum(one**2 / n for one, n in zip(variances, freedom, strict=True))
    half = float(stdtrit(degrees, 0.975) * variance**0.5)
    return {"mean": mean, "low": mean - half, "high": mean + half, "by_run": by_run}


def table(results):
    """Return tables in Markdown: Pass@k of each kind of model, and how far that is from each reference."""
    ks, count = results["ks"], results["settings"]["runs"]
    values = [[title(entry), *(shown(entry[f"pass@{k}"], ".3f") for k in ks)] for entry in results["summary"]]
    text = (
        f"{results['problems']} problems by which nothing was chosen; K = {results['samples']}, T = 1. Means of "
        f"{count} runs, in brackets 95 % intervals over runs and problems; of one model from all runs, over problems."
        f"\n\n{markdown(ks, values)}\n"
    )
    for name in REFERENCES:
        differences = []
        for entry in [one for one in results["summary"] if one["name"] != name and f"minus {name}" in one]:
            apart = [entry[f"minus {name}"][f"pass@{k}"] for k in ks]
            above = [f", {sum(one > ROUNDING for one in each['by_run'])} of {count}" for each in apart]
            beside = above if entry["of_each_run"] else [""] * len(ks)
            cells = [shown(each, "+.3f") + more for each, more in zip(apart, beside, strict=True)]
            differences.append([title(entry), *cells])
        text += f"\nMinus the {name} of the same run, or of all runs, on the same problems; in how many runs above."
        text += f"\n\n{markdown(ks, differences)}\n"
    return text


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
    drawing = Figure(figsize=(9.6, 6), layout="constrained")
    axes = drawing.subplots()
    frame(axes)
    # What is one and the same model is one point.
    alike = {}
    for entry in sorted(results["summary"], key=lambda entry: -entry[f"pass@{last}"]["mean"]):
        alike.setdefault(tuple(entry["models"]), []).append(entry)
    for number, (some, place) in enumerate(zip(alike.values(), np.linspace(0.97, 0.03, len(alike)), strict=True)):
        x, y, each = some[0]["pass@1"], some[0][f"pass@{last}"], some[0]["of_each_run"]
        colour = COLOURS[number % len(COLOURS)]
        look = {"color": colour, "marker": MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]}
        bars = {"xerr": reach(x), "yerr": reach(y), "elinewidth": 0.6}
        axes.errorbar(x["mean"], y["mean"], markersize=7, markerfacecolor=colour if each else "white", **bars, **look)
        if each:
            axes.scatter(x["by_run"], y["by_run"], s=9, alpha=0.5, **look)
        called = " =\n".join(title(one) for one in some)
        arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.5, "alpha": 0.6, "relpos": (0, 0.5)}
        name = {
            "xytext": (1.06, place),
            "textcoords": "axes fraction",
            "va": "center",
            "fontsize": 8.5,
            "color": colour,
        }
        axes.annotate(called, (x["mean"], y["mean"]), arrowprops=arrow, **name)
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
