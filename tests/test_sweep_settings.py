"""What a sweep may be told: by its file, by options and by both, and the one line that each mistake gets."""

import os

import pytest
import yaml
from click.testing import CliRunner

from wise_merge.cli import main
from wise_merge.errors import WiseMergeError
from wise_merge.recipes.numbers import parse_numbers
from wise_merge.search.sweep.grid import Axis, axes_of
from wise_merge.search.sweep.reading import read_settings
from wise_merge.search.sweep.settings import KEYS, SweepSettings, numbers
from wise_merge.tasks.requests import find_tasks

#: A sweep that can be read, of checkpoints that nobody looks for here.
GOOD = {"early": "runs/one", "late": "runs/two", "alphas": "0:1:0.25", "tasks": "gsm8k_passk"}


def write(tmp_path, **changes):
    path = tmp_path / "sweep.yml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}, sort_keys=False))
    return path


def refusal(tmp_path, *arguments):
    """The line that a user gets, and nothing else: no traceback, no folder of results."""
    out = tmp_path / "refused"
    done = CliRunner().invoke(main, ["sweep", *map(str, arguments), "--out", str(out)])
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, SystemExit)
    assert not out.exists()
    (line,) = done.output.splitlines()
    return line.removeprefix("Error: ")


def test_a_file_is_read_as_it_stands(tmp_path):
    """Numbers are ascending, each there once, and without the ends, which are always sampled; the rest has defaults."""
    path = write(tmp_path, late=["runs/two/", "runs/three"], alphas=[1, 0.7, 0.3, 0.30, 0], temperatures=0.8, samples=4)
    settings = read_settings(path, {})
    assert settings == SweepSettings(
        early="runs/one",
        late=("runs/two", "runs/three"),
        alphas=(0.3, 0.7),
        temperatures=(0.8,),
        tasks=("gsm8k_passk",),
        samples=4,
    )


def test_options_win_over_the_file(tmp_path):
    """One by one, whatever else the file says."""
    settings = read_settings(write(tmp_path, samples=4, seed=7), {"samples": 8, "alphas": "0.5"})
    assert (settings.samples, settings.seed, settings.alphas) == (8, 7, (0.5,))


def test_checkpoints_that_are_named_as_options_replace_those_of_the_file(tmp_path):
    """A run takes the place of early and late, late ones that of a run; an early one goes with either."""
    by_run = read_settings(write(tmp_path), {"run": "runs"})
    assert (by_run.early, by_run.late, by_run.run) == (None, (), "runs")
    path = write(tmp_path, early=None, late=None, run="runs")
    named = read_settings(path, {"early": "a", "late": ("b",)})
    assert (named.early, named.late, named.run) == ("a", ("b",), None)
    with_early = read_settings(path, {"early": "runs/one"})
    assert (with_early.early, with_early.run) == ("runs/one", "runs")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.1:0.9:0.1", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),
        ("0:1:0.3", (0, 0.3, 0.6, 0.9)),
        ("0.5,0.25, 0.50", (0.5, 0.25)),
        ("1e-3", (0.001,)),
        ("-0", (0,)),
    ],
)
def test_lists_of_numbers_are_exact_decimals(text, expected):
    """0.1:0.9:0.1 are nine, each the number that a person would type: no 0.30000000000000004."""
    assert tuple(map(float, parse_numbers(text))) == expected
    assert not str(float(parse_numbers(text)[-1])).startswith("-")


@pytest.mark.parametrize(
    "text", ["", "a", "0:1", "0:1:0", "0:1:-0.1", "1:0:0.1", "0:1:1e-9", "nan", "0,inf", "0:1:1:1", ","]
)
def test_what_is_no_list_of_numbers_is_refused(text):
    """With a sentence that shows what one looks like."""
    with pytest.raises(WiseMergeError, match=r"alphas must be numbers, such as 0:1:0\.125 or \[0\.3, 0\.5\]; got"):
        numbers("alphas", text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alphas": None}, "the grid is empty: alphas names none; give such as --alphas 0:1:0.125"),
        ({"alphas": []}, "the grid is empty: alphas names none"),
        ({"temperatures": []}, "the grid is empty: temperatures names none"),
        ({"tasks": None}, "the grid is empty: tasks names none"),
        ({"tasks": []}, "tasks must be the names of tasks; got []"),
        ({"late": [3]}, "late must be the names of checkpoints; got [3]"),
        ({"late": None}, "no checkpoints to sweep: name early and late (--early, --late), or the folder of"),
        ({"early": None}, "no checkpoints to sweep"),
        ({"early": 5}, "early must be a text; got 5"),
        ({"alphas": [0.5, 1.5]}, "alpha must lie in [0, 1] (0 = early, 1 = late); got 1.5"),
        ({"alphas": "a lot"}, "alphas must be numbers, such as 0:1:0.125 or [0.3, 0.5]; got 'a lot'"),
        ({"alphas": True}, "alphas must be numbers"),
        ({"alphas": {"from": 0}}, "alphas must be numbers"),
        ({"temperatures": [-1]}, "temperatures must be at least 0 (0 = greedy) and finite; got -1"),
        ({"temperatures": [float("inf")]}, "temperatures must be numbers"),
        ({"temperatures": [0, 1]}, "temperature 0 is greedy: 32 completions of a problem would be one and the same"),
        ({"samples": 0}, "samples must be at least 1; got 0"),
        ({"samples": 2.5}, "samples must be a whole number; got 2.5"),
        ({"samples": True}, "samples must be a whole number; got True"),
        ({"limit": "all"}, "limit must be a whole number; got 'all'"),
        ({"limit": 0}, "limit must be at least 1; got 0"),
        ({"num_fewshot": -1}, "num_fewshot must be at least 0; got -1"),
        ({"seed": -1}, "seed must be at least 0; got -1"),
        ({"seed": 1 << 32}, "seed must be less than 2^32"),
        ({"method": "slerp"}, "method must be wise_ft, bang, uniform_soup"),
        ({"backend": "tgi"}, "backend must be hf or vllm; got 'tgi'"),
        ({"dtype": "int8"}, "dtype must be one of bfloat16, float16, float32, float64; got 'int8'"),
        ({"until_ci": 0}, "until_ci must lie between 0 and 1, such as 0.02; got 0"),
        ({"until_ci": "narrow"}, "until_ci must be a number; got 'narrow'"),
        ({"gpus": -1}, "gpus must be at least 0; got -1"),
        ({"successive_halving": "yes"}, "successive_halving must be true or false; got 'yes'"),
        ({"apply_chat_template": 3}, "apply_chat_template must be true, false or the name of a template; got 3"),
        ({"metadata": "a=b"}, "metadata must be a mapping; got 'a=b'"),
        ({"metadata": {1: 2}}, "metadata must map texts to texts, numbers"),
        ({"metadata": {"seed": 3}}, "metadata names seed, which is seed of the sweep; set it there alone"),
        ({"gen_kwargs": {"temperature": 1}}, "gen_kwargs names temperature, which is temperatures of the sweep"),
        ({"model_args": {"pretrained": "x"}}, "model_args names pretrained, which is early and late of the sweep"),
        ({"include_path": "nowhere"}, "include_path nowhere is no folder; name the one of your task files"),
        ({"method": "bang"}, "method bang needs calibration, a mapping from each checkpoint to its temperature"),
        ({"calibration": {"runs/one": 1.2}}, "calibration has temperatures, which wise_ft does not use"),
        (
            {"method": "bang", "calibration": {"runs/one": 0}},
            "calibration of runs/one must be a positive number; got 0",
        ),
        ({"method": "bang", "calibration": {"runs/one": "hot"}}, "must be a positive number; got 'hot'"),
        ({"method": "bang", "calibration": 1.5}, "calibration must be a mapping; got 1.5"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_meant_is_named(changes, message, tmp_path):
    """One line that says what was wrong and what was expected, for the file."""
    assert message in refusal(tmp_path, write(tmp_path, **changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alpha: [0.5]", "unknown key alpha; did you mean alphas?"),
        ("temprature: 1", "unknown key temprature; did you mean temperatures?"),
        ("zzz: 1", f"unknown key zzz; there are {', '.join(KEYS)}"),
        ("7: 1", "unknown key 7; there are"),
        ("alphas: [0.5]\nseed: 1\nalphas: [0.7]", "key alphas (line 3) stands twice in one mapping"),
        ("metadata: {a: 1, a: 2}", "key a (line 1) stands twice in one mapping"),
        ("alphas: [0.5", "is not YAML"),
        ("- alphas", "must be a mapping with early, late, alphas and tasks"),
        ("", "must be a mapping with early, late, alphas and tasks"),
    ],
)
def test_a_file_that_is_not_one_of_a_sweep_is_named(text, message, tmp_path):
    """Misspelt keys, with what is near them; keys that stand twice; what is no mapping, or no YAML at all."""
    path = tmp_path / "sweep.yml"
    path.write_text(text)
    line = refusal(tmp_path, path)
    assert str(path) in line
    assert message in line


def test_a_file_that_is_not_there_is_named(tmp_path):
    """The reason is the system's."""
    assert f"the sweep {tmp_path / 'no.yml'} cannot be read: No such file" in refusal(tmp_path, tmp_path / "no.yml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--alphas", ""], "alphas must be numbers"),
        (["--temperatures", "0,1"], "temperature 0 is greedy: 32 completions"),
        (["--tasks", ""], "tasks must be the names of tasks"),
        (["--samples", "0"], "samples must be at least 1; got 0"),
        (["--tasks", "gsm8k"], "there is no task gsm8k with K samples per problem; near it are gsm8k_passk"),
        (["--tasks", "gsm8k_pask,sudoku4_passk"], "there is no task gsm8k_pask with K samples per problem; near it"),
        (
            ["--tasks", "math500_passk,countdwn"],
            "there is no task countdwn with K samples per problem; near it are coun",
        ),
        (["--tasks", "qqqq"], "there is no task qqqq with K samples per problem; ours are aime24_passk"),
    ],
)
def test_options_are_checked_like_the_file(options, message, tmp_path):
    """With the same sentences, and tasks by name with those near them, before any checkpoint is looked at."""
    assert message in refusal(tmp_path, write(tmp_path), *options)


def test_an_empty_command_says_what_to_name(tmp_path):
    """Without file and options there is nothing to sweep."""
    assert refusal(tmp_path).startswith("no checkpoints to sweep: name early and late")


@pytest.mark.parametrize("text", ["{not json", "a", "=3", "a=1,b"])
def test_mappings_on_the_command_line_are_read_or_refused(text, tmp_path):
    """As a mistake in the usage of the command, with its help."""
    done = CliRunner().invoke(main, ["sweep", str(write(tmp_path)), "--metadata", text])
    assert done.exit_code == 2
    assert "--metadata" in done.output


def test_what_came_from_the_folder_of_results_equals_what_was_told(tmp_path):
    """A mapping that JSON would change (tuples, numbers as keys, NaN) is refused rather than never equal again."""
    for value in ({"a": (1, 2)}, {1: "a"}, {"a": float("nan")}, {"a": object()}):
        with pytest.raises(WiseMergeError, match="metadata must map texts to"):
            read_settings(write(tmp_path), {"metadata": value})
    assert read_settings(write(tmp_path), {"metadata": {"a": [1, {"b": None}]}}).metadata == {"a": [1, {"b": None}]}


# --- recipes and grids ----------------------------------------------------------------------------

SOUP = {
    "merge_method": "uniform_soup",
    "models": [{"model": "a"}, {"model": "runs/b/checkpoint-8/", "parameters": {"weight": 2}}, {"model": "c"}],
}
LINE = {"merge_method": "bang", "base_model": "a", "models": [{"model": "b", "parameters": {"temperature": 1.5}}]}


def write_grid(tmp_path, **changes):
    settings = {"recipe": SOUP, "grid": {"weight": {"c": [0, 1]}}, "tasks": "gsm8k_passk", **changes}
    path = tmp_path / "sweep.yml"
    path.write_text(yaml.safe_dump({key: one for key, one in settings.items() if one is not None}, sort_keys=False))
    return path


def test_a_recipe_says_method_and_dtypes(tmp_path):
    """In the sweep's file or in a file of its own, which the command line may name, too."""
    inline = read_settings(write_grid(tmp_path, recipe={**SOUP, "dtype": "torch.float32"}), {})
    assert (inline.method, inline.dtype, inline.out_dtype) == ("uniform_soup", "float32", None)
    (tmp_path / "soup.yml").write_text(yaml.safe_dump({**SOUP, "dtype": "float32"}))
    named = read_settings(write_grid(tmp_path, recipe=str(tmp_path / "soup.yml")), {})
    assert named == inline
    assert read_settings(write_grid(tmp_path, recipe=LINE), {"recipe": str(tmp_path / "soup.yml")}) == inline


def test_a_grid_names_numbers_by_model(tmp_path):
    """In the order of the recipe, ascending and each once, spelt as alphas are; a slash or ~ does not matter."""
    home = [{"model": "~/d"}]
    recipe = {**SOUP, "models": SOUP["models"] + home}
    grid = {"weight": {"~/d/": 2, "c": "0:1:0.25", "runs/b/checkpoint-8": [0.5, "0.1,0.5", 0]}}
    settings = read_settings(write_grid(tmp_path, recipe=recipe, grid=grid), {})
    home = os.path.expanduser("~/d")
    assert axes_of(settings.recipe, settings.grid) == (
        Axis("weight", "runs/b/checkpoint-8/", (0.0, 0.1, 0.5)),
        Axis("weight", "c", (0.0, 0.25, 0.5, 0.75, 1.0)),
        Axis("weight", home, (2.0,)),
    )
    two = {"temperature": {"a": [0.8, 1]}, "alpha": "0.25"}
    settings = read_settings(write_grid(tmp_path, recipe=LINE, grid=two), {})
    assert [str(axis) for axis in axes_of(settings.recipe, settings.grid)] == ["alpha", "temperature of a"]


def test_a_range_in_a_grid_needs_no_quotes(tmp_path):
    """As in alphas, also within the mapping of models."""
    path = tmp_path / "sweep.yml"
    path.write_text(f"recipe: {SOUP}\ntasks: t\ngrid:\n  weight: {{a: 0:2:0.5, c: 1:2:1}}\n")
    settings = read_settings(path, {})
    assert [axis.values for axis in axes_of(settings.recipe, settings.grid)] == [(0, 0.5, 1, 1.5, 2), (1, 2)]


ZERO = {**SOUP, "models": [{"model": name, "parameters": {"weight": 0}} for name in "abc"]}
FISHER = {**SOUP, "merge_method": "fisher", "parameters": {"fisher": "x.safetensors"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {"wieght": {"c": [0, 1]}}}, "grid: uniform_soup has no parameter wieght; did you mean weight?"),
        ({"grid": {"alpha": [0, 1]}}, "grid: uniform_soup has no parameter alpha; there are weight"),
        ({"grid": {"weight": [0, 1]}}, "grid: each model has its own weight; say whose, such as weight: {c: [0.5, 1]}"),
        (
            {"grid": {"weight": {"runs/b/checkpoint-9": 1}}},
            "grid: weight names runs/b/checkpoint-9, which is none of the recipe's models; did you mean runs/b/check",
        ),
        ({"grid": {"weight": {"c": [1, -1]}}}, "grid: weight of c must be a number that is not negative"),
        (
            {"grid": {"weight": {"c": "some"}}},
            "grid: weight of c must be numbers, such as 0:1:0.25 or [0, 0.5, 2]; got",
        ),
        ({"grid": {"weight": {"c": [True]}}}, "grid: weight of c must be numbers"),
        ({"grid": {"weight": {"c": {"from": 0}}}}, "grid: weight of c must be numbers"),
        ({"grid": {"weight": {"c": []}}}, "the grid is empty: weight of c names no value; give such as 0:1:0.25"),
        ({"grid": {"weight": {}}}, "the grid is empty: weight names no model; give such as weight: {c: [0.5, 1]}"),
        ({"grid": {}}, "the grid is empty: it names no parameter; give such as weight: {c: [0.5, 1]}"),
        ({"grid": None}, "the grid is empty: name parameters of the recipe, such as grid: {alpha: 0:1:0.25}"),
        ({"grid": [1]}, "grid must be a mapping; got [1]"),
        ({"grid": {"weight": {"c": 1, "c/": 2}}}, "grid: weight of c stands there twice; name it once"),
        ({"recipe": None}, "grid is of parameters of a recipe, and none is named; add such as recipe: soup.yml"),
        ({"recipe": 3}, "recipe must be the path of a recipe, or a recipe as a mapping; got 3"),
        ({"recipe": "nowhere.yml"}, "the recipe nowhere.yml cannot be read: No such file"),
        ({"recipe": {**SOUP, "dtpe": "float32"}}, "recipe: unknown key dtpe in the recipe; did you mean dtype?"),
        ({"recipe": {**SOUP, "merge_method": "linear"}}, "merge_method must be wise_ft, bang, uniform_soup"),
        ({"recipe": {**SOUP, "models": SOUP["models"][:1]}}, "uniform_soup merges at least 2 models"),
        (
            {"recipe": {**SOUP, "parameters": {"wieght": 1}}},
            "unknown parameter wieght in parameters; did you mean weigh",
        ),
        ({"recipe": {**SOUP, "tokenizer_source": "union"}}, "the recipe has tokenizer_source, and a sweep takes whole"),
        ({"recipe": {**SOUP, "models": None, "slices": [{"sources": []}]}}, "the recipe has slices, and a sweep takes"),
        ({"recipe": ZERO}, "grid: at weight of c 0: the weights sum to 0; give at least one model a positive weight"),
        (
            {"recipe": LINE, "grid": {"alpha": {"b": [0, 1]}}},
            "grid: alpha is one number for the whole merge, and has no",
        ),
        (
            {"recipe": LINE, "grid": {"alpha": [0.5, 1.5]}},
            "grid: alpha must lie in [0, 1] (0 = early, 1 = late); got 1.5",
        ),
        ({"recipe": LINE, "grid": {"temperature": {"b": [1, 0]}}}, "grid: temperature of b must be a positive number"),
        ({"recipe": LINE, "grid": {"temperature": {"b": 1}}}, "alpha is missing; set it from 0 (early) to 1 (late)"),
        (
            {"recipe": {**LINE, "parameters": {"alpha": [0, 1]}}, "grid": {"temperature": {"b": 1}}},
            "alpha of the recipe varies by layer or tensor; give it values in the grid, or one number",
        ),
        (
            {"recipe": FISHER, "grid": {"fisher": {"a": 1}}},
            "grid: fisher is no number; set it in the recipe, and vary w",
        ),
        (
            {"recipe": FISHER, "grid": {"floor": {"a": 0, "c": "0,0.1", "runs/b/checkpoint-8": 0}}},
            "grid: at floor of a 0, floor of runs/b/checkpoint-8/ 0, floor of c 0: every model with a weight has",
        ),
        (
            {"grid": {"weight": {"a": "0:1:0.001", "c": "0:1:0.01"}}},
            "the grid has 101,101 combinations of weight of a and",
        ),
        (
            {"early": "a"},
            "recipe stands beside early; a recipe says itself which checkpoints are merged, and how: leave",
        ),
        ({"method": "uniform_soup", "alphas": [0.5]}, "recipe stands beside alphas and method;"),
        ({"dtype": "float32"}, "recipe stands beside dtype;"),
    ],
    ids=str,
)
def test_a_grid_that_cannot_be_meant_is_named(changes, message, tmp_path):
    """One line that says what was wrong and what was expected, before any checkpoint is looked for."""
    assert message in refusal(tmp_path, write_grid(tmp_path, **changes))


def test_methods_with_files_are_swept_by_their_recipe(tmp_path):
    """Which names the files; early and late cannot."""
    line = refusal(tmp_path, write(tmp_path, method="fisher", alphas=None))
    assert "method fisher takes files, which a recipe names; give recipe and grid in place of checkpoints" in line


# --- names of tasks -------------------------------------------------------------------------------


def test_a_group_stands_for_its_tasks():
    """In its place, and a task that is named again is there once: outcomes are kept by the names of tasks."""
    assert find_tasks(["sudoku9_passk", "passk"]).names[:2] == ("sudoku9_passk", "gsm8k_passk")
    assert len(find_tasks(["passk", "gsm8k_passk"]).names) == len(set(find_tasks(["passk"]).names)) == 8


def test_further_tasks_come_from_a_folder(tmp_path):
    """Groups and tags of the user's own, and a task without verdicts on K samples is refused by name."""
    ours = "output_type: generate_until\nclass: !function wise_merge.tasks.PassKTask\nbenchmark: gsm8k\n"
    (tmp_path / "mine.yaml").write_text(f"task: mine_passk\ntag: drawer\n{ours}")
    (tmp_path / "other.yaml").write_text(f"task: other_passk\ntag: [drawer]\n{ours}")
    (tmp_path / "plain.yaml").write_text("task: plain\noutput_type: generate_until\ndataset_path: x\n")
    (tmp_path / "group.yaml").write_text("group: shelf\ntask:\n  - other_passk\n  - passk\n")
    folder = str(tmp_path)
    assert set(find_tasks(["drawer"], folder).names) == {"mine_passk", "other_passk"}
    assert find_tasks(["shelf"], folder).names[:2] == ("other_passk", "gsm8k_passk")
    with pytest.raises(WiseMergeError, match="task plain has no verdict on each of K samples"):
        find_tasks(["mine_passk", "plain"], folder)
    with pytest.raises(WiseMergeError, match=r"near it are .*mine_passk"):
        find_tasks(["mine_pass"], folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:1:0.5", (0.5,)),
        ("0:1:0.125", tuple(eighth / 8 for eighth in range(1, 8))),
        ("[0.3, .5, 5e-1, 1]", (0.3, 0.5)),
        ("0.25", (0.25,)),
    ],
)
def test_a_range_in_a_file_needs_no_quotes(text, expected, tmp_path):
    """YAML 1.1 would make minutes and seconds of it; other numbers are read as ever."""
    path = tmp_path / "sweep.yml"
    path.write_text(f"early: a\nlate: b\ntasks: t\nalphas: {text}\nsamples: 8\nuntil_ci: 0.02\n")
    settings = read_settings(path, {})
    assert settings.alphas == expected
    assert (settings.samples, settings.until_ci) == (8, 0.02)
