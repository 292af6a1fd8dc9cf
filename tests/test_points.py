"""The points of a sweep and its folder of results: what is the same model, what files are called, what is read back."""

import dataclasses
import itertools
import json
import random

import numpy as np
import pytest

from wise_merge.answers import benchmarks
from wise_merge.errors import WiseMergeError
from wise_merge.journal import Journal, Run, Sample, problem_id, read_runs
from wise_merge.journal.export import export
from wise_merge.points import Coordinate, Fixed, Outcome, Point, PointCheckpoint, Results, on_line, read_results
from wise_merge.points.folder import point_as_json, read_outcome, read_plan, write_outcome, write_plan
from wise_merge.points.outcome import outcome_of_problem
from wise_merge.recipes.parameters import check_settings
from wise_merge.recipes.schema import check_keys
from wise_merge.results.metrics import metrics
from wise_merge.results.reading.samples import read_samples
from wise_merge.results.verdicts import judge
from wise_merge.tasks.completion import Completion

EARLY = PointCheckpoint("run/checkpoint-100", 100, "e" * 32)
LATE = PointCheckpoint("run/checkpoint-800", 800, "a" * 32)
OTHER = PointCheckpoint("run/checkpoint-900", 900, "b" * 32)
MIDDLE = on_line(EARLY, LATE, "wise_ft", 0.5, 1.0)


def at(alpha=0.5, early=EARLY, late=LATE, method="wise_ft", temperature=1.0, **dtypes):
    return on_line(early, late, method, alpha, temperature, **dtypes)


# --- one point ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"alpha": 0.5000000000000001},
        {"alpha": 0.0},
        {"alpha": 1.0},
        {"early": OTHER},
        {"late": OTHER},
        {"early": LATE, "late": EARLY},
        {"dtype": "bfloat16"},
        {"out_dtype": "bfloat16"},
        {"method": "bang"},
        {"early": dataclasses.replace(EARLY, temperature=1.5)},
        {"late": dataclasses.replace(LATE, temperature=1.5)},
    ],
    ids=str,
)
def test_whatever_changes_the_weights_is_another_model(changes):
    """Alpha to the last bit, either checkpoint, their order, dtypes, the method and temperatures that are folded in."""
    assert at(**changes).model != MIDDLE.model


@pytest.mark.parametrize("changes", [{"temperature": 0.7}, {"late": dataclasses.replace(LATE, name="copy", step=None)}])
def test_what_leaves_the_weights_alone_is_the_same_model(changes):
    """The temperature of sampling, and what a checkpoint is called."""
    assert at(**changes).model == MIDDLE.model


@pytest.mark.parametrize("changes", [{}, {"dtype": "float16", "out_dtype": "float32"}, {"method": "bang"}])
def test_an_end_is_one_model_whatever_the_other_end_is(changes):
    """Alpha 0 for all late checkpoints, alpha 1 for all early ones, and a checkpoint is the same at either end."""
    ends = [at(0.0, **changes), at(0.0, late=OTHER, **changes), at(1.0, early=OTHER, late=EARLY, **changes)]
    assert len({point.model for point in ends}) == 1
    assert at(0.0, **changes).model != at(1.0, **changes).model
    hot = dataclasses.replace(EARLY, temperature=1.5)
    assert at(0.0, early=hot, **changes).model != ends[0].model


def test_no_two_points_of_a_sweep_have_one_file():
    """Folders of one name, alphas and temperatures that look alike when short, other temperatures folded in."""
    lates = [
        LATE,
        OTHER,
        dataclasses.replace(LATE, name="other/checkpoint-800", digest="c" * 32),
        dataclasses.replace(LATE, temperature=1.2),
        dataclasses.replace(LATE, temperature=1.2000001),
    ]
    alphas = (0.0, 0.1234567, 0.1234568, 1e-7, 0.30000000000000004, 0.3, 1.0)
    points = [
        on_line(EARLY, late, "bang", alpha, temperature)
        for late, alpha, temperature in itertools.product(lates, alphas, (0.0, 0.7, 0.70000001))
    ]
    assert len({point.name for point in points}) == len(points)
    assert MIDDLE.name == f"checkpoint-800-{'a' * 8}-alpha-0.5-T-1"
    assert at(0.3, temperature=0.7).title == "checkpoint-800, alpha 0.3, T 0.7"


@pytest.mark.parametrize("name", ["../up", "/", "a b/ü:*?", ".hidden", "x" * 300, "org/model@main", "..", "."])
def test_the_name_of_a_point_is_a_file_name_everywhere(name):
    """Whatever the checkpoint is called: no folders, nothing hidden, not too long."""
    found = at(0.3, late=dataclasses.replace(LATE, name=name)).name
    assert not set(found) & set('/\\:*?"<>| ')
    assert not found.startswith(".")
    assert len(found.encode()) < 200


@pytest.mark.parametrize("method", ["wise_ft", "bang"])
def test_the_recipe_of_a_point_is_one_for_mergekit(method):
    """Checked as a recipe that a user writes is, and it says no more than the point does."""
    point = on_line(EARLY, dataclasses.replace(LATE, temperature=1.5), method, 0.3, 0.7, "float32", "bfloat16")
    recipe = point.recipe()
    check_keys(recipe)
    check_settings(recipe)
    assert (recipe["merge_method"], recipe["base_model"], recipe["parameters"]) == (method, EARLY.name, {"alpha": 0.3})
    assert (recipe["dtype"], recipe["out_dtype"]) == ("float32", "bfloat16")
    assert recipe["models"][-1].get("parameters") == ({"temperature": 1.5} if method == "bang" else None)
    assert "dtype" not in MIDDLE.recipe()


#: What earlier versions wrote of points without a grid: digest of the model, name of the files, what sweep.json has.
WRITTEN = {
    "wise_ft": (
        "60f9e7dc5129e7b84f92f096a2dc1cc2",
        "checkpoint-800-aaaaaaaa-balance-1.5-alpha-0.5-T-1",
        '{"early": "0", "late": "1", "method": "wise_ft", "alpha": 0.5, '
        '"temperature": 1.0, "dtype": null, "out_dtype": null}',
    ),
    "bang": (
        "221d30f7e6dddf23817a0aee4487667e",
        "checkpoint-800-aaaaaaaa-balance-1.5-alpha-0.3-T-0.7",
        '{"early": "0", "late": "1", "method": "bang", "alpha": 0.3, '
        '"temperature": 0.7, "dtype": "float32", "out_dtype": "bfloat16"}',
    ),
    "soup": (
        "c185f6a38a27162aa36e33c55f058c7c",
        "uniform_soup-of-3-c185f6a3-T-1",
        '{"checkpoints": ["0", "1", "2"], "method": "uniform_soup", "coordinates": ['
        '{"parameter": "weight", "value": 1.0, "checkpoint": 0}, '
        '{"parameter": "weight", "value": 1.0, "checkpoint": 1}, '
        '{"parameter": "weight", "value": 1.0, "checkpoint": 2}], '
        '"temperature": 1.0, "dtype": null, "out_dtype": null}',
    ),
    "one of a soup": (
        "b5e7bd3440f3adf3b2ea97228ae4f55e",
        "checkpoint-900-bbbbbbbb-T-1",
        '{"checkpoints": ["0", "1", "2"], "method": "uniform_soup", "coordinates": ['
        '{"parameter": "weight", "value": 0.0, "checkpoint": 0}, '
        '{"parameter": "weight", "value": 0.0, "checkpoint": 1}, '
        '{"parameter": "weight", "value": 1.0, "checkpoint": 2}], '
        '"temperature": 1.0, "dtype": null, "out_dtype": null}',
    ),
}


@pytest.mark.parametrize("what", WRITTEN)
def test_results_of_earlier_versions_keep_their_meaning(what):
    """Digests, names and sweep.json of points without a grid, to the byte: nothing of them is sampled again."""
    hot = dataclasses.replace(LATE, temperature=1.5)
    point = {
        "wise_ft": on_line(EARLY, hot, "wise_ft", 0.5, 1.0),
        "bang": on_line(EARLY, hot, "bang", 0.3, 0.7, "float32", "bfloat16"),
        "soup": Point((EARLY, hot, OTHER), "uniform_soup", soup(1.0, 1.0, 1.0).coordinates, 1.0),
        "one of a soup": Point((EARLY, hot, OTHER), "uniform_soup", soup(0.0, 0.0, 1.0).coordinates, 1.0),
    }[what]
    plain = tuple(dataclasses.replace(one, varies=False) for one in point.coordinates)
    point = dataclasses.replace(point, coordinates=plain)
    keys = {checkpoint: str(place) for place, checkpoint in enumerate(point.checkpoints)}
    assert (point.model, point.name, json.dumps(point_as_json(point, keys))) == WRITTEN[what]


# --- points of a grid -----------------------------------------------------------------------------


def soup(*weights, varies=(1, 2), temperature=1.0, **more):
    """A soup of the three checkpoints, of which a grid varies the weights of some."""
    coordinates = [Coordinate("weight", weight, place, place in varies) for place, weight in enumerate(weights)]
    return Point((EARLY, LATE, OTHER), "uniform_soup", tuple(coordinates), temperature, **more)


def test_titles_name_what_is_varied_alone():
    """By the shortest name that tells whose weight it is; a checkpoint by itself goes by its name."""
    assert soup(1, 0.5, 2).title == "weight of checkpoint-800 0.5, weight of checkpoint-900 2, T 1"
    assert soup(1, 0.5, 2, varies=(2,)).title == "weight of checkpoint-900 2, T 1"
    assert soup(1, 0.5, 2, varies=()).title == "uniform_soup of 3, T 1"
    assert soup(0, 0.5, 0).title == "checkpoint-800, T 1"
    long = soup(1, 0.1 + 0.2, 2).merge_title(short=False)
    assert long == "weight of run/checkpoint-800 0.30000000000000004, weight of run/checkpoint-900 2"
    names = [f"runs/{seed}/checkpoint-800" for seed in "abc"]
    runs = tuple(PointCheckpoint(name, 800, name) for name in names)
    assert dataclasses.replace(soup(1, 0.5, 2), checkpoints=runs).title == "weight of b 0.5, weight of c 2, T 1"
    folded = at(0.3, method="bang")
    further = (*folded.coordinates, Coordinate("temperature", 0.9, 0, varies=True))
    title = "checkpoint-800, alpha 0.3, temperature of checkpoint-100 0.9, T 1"
    assert dataclasses.replace(folded, coordinates=further).title == title


def test_no_two_points_of_a_grid_have_one_file():
    """Weights that look alike when short, negative numbers, and names that are too long for a file."""
    weights = (0.0, 0.1234567, 0.12345671, 1e-7, 1.0)
    points = [soup(1, a, b, temperature=t) for a, b, t in itertools.product(weights, weights, (0.7, 0.70000001))]
    long = tuple(dataclasses.replace(one, name=f"{one.name}/{'x' * 300}{one.step}") for one in (EARLY, LATE, OTHER))
    for checkpoints in ((EARLY, LATE, OTHER), long):
        names = {dataclasses.replace(one, checkpoints=checkpoints).name for one in points}
        assert len(names) == len(points)
        assert max(len(name.encode()) for name in names) < 200
        assert not set("".join(names)) & set('/\\:*?"<>| ')
    assert soup(1, 0.5, 2).name.startswith("uniform_soup-weight_of_checkpoint-800_0.5_weight_of_checkpoint-900_2-")


@pytest.mark.parametrize(
    "changes",
    [
        {"coordinates": soup(1, 0.5, 2.0000000000000004).coordinates},
        {"coordinates": soup(2, 0.5, 2).coordinates},
        {"checkpoints": (LATE, EARLY, OTHER)},
        {"dtype": "float32"},
        {"fixed": (Fixed("floor", "[0.1, 0.9]", 0),)},
        {"fixed": (Fixed("fisher", '"a.safetensors"', 0, "f" * 32),)},
    ],
    ids=str,
)
def test_every_setting_of_a_merge_makes_another_model(changes):
    """Also those that no grid varies; which of them are varied makes none, and a file counts by its content."""
    assert dataclasses.replace(soup(1, 0.5, 2), **changes).model != soup(1, 0.5, 2).model
    assert soup(1, 0.5, 2, varies=(0,)).model == soup(1, 0.5, 2).model
    files = [
        dataclasses.replace(soup(1, 0.5, 2), fixed=(Fixed("fisher", f'"{path}"', 0, digest),)).model
        for path, digest in (("a", "e" * 32), ("b", "e" * 32), ("a", "f" * 32))
    ]
    assert files[0] == files[1] != files[2]


def test_each_checkpoint_of_a_grid_is_one_model():
    """Whatever is given to the others; also where its weight varies by layer, and there are weights beside numbers."""
    by_layer = dataclasses.replace(soup(1, 0.5, 2), fixed=(Fixed("weight", "[0, 1]", 0),))
    by_layer = dataclasses.replace(by_layer, coordinates=by_layer.coordinates[1:])
    assert by_layer.unmerged is None
    for place in range(3):
        alone = by_layer.alone(place)
        assert alone == soup(*(float(place == other) for other in range(3)))
        assert (alone.unmerged, alone.model) == (place, soup(3, 4, 5).alone(place).model)
        assert [model["parameters"]["weight"] for model in alone.recipe()["models"]] == [
            float(place == other) for other in range(3)
        ]
    assert (by_layer.at_reference("early"), by_layer.at_reference("late")) == (soup(1, 0, 0), soup(0, 0, 1))
    assert soup(0, 0, 0).unmerged is None
    single = Point((LATE,), "uniform_soup", (Coordinate("weight", 1.0, 0),), 1.0)
    assert (single.unmerged, single.model) == (0, soup(0, 1, 0).model)


def test_a_temperature_is_folded_in_wherever_it_stands():
    """As a coordinate it makes the model that it makes as the checkpoint's own."""
    fixed = on_line(dataclasses.replace(EARLY, temperature=0.9), LATE, "bang", 0.3, 1.0)
    varied = dataclasses.replace(at(0.3, method="bang"))
    varied = dataclasses.replace(
        varied, coordinates=(*varied.coordinates, Coordinate("temperature", 0.9, 0, varies=True))
    )
    assert varied.model == fixed.model
    assert varied.recipe() == fixed.recipe()
    assert varied.alone(0).model == fixed.alone(0).model != at(0.0, method="bang").model
    assert varied.alone(1).model == at(1.0, method="bang").model


def test_the_recipe_of_a_point_of_a_grid_says_all(tmp_path):
    """Every weight, also one by layer, what holds for the whole merge, and files by their paths."""
    point = dataclasses.replace(
        soup(1, 0.5, 2),
        method="fisher",
        fixed=(
            *(Fixed("fisher", f'"{name}.safetensors"', place, name * 32) for place, name in enumerate("abc")),
            Fixed("floor", '[{"filter": "mlp", "value": [0.1, 0.9]}, {"value": 1e-06}]', 1),
            Fixed("normalize", "false"),
        ),
    )
    recipe = point.recipe()
    check_keys(recipe)
    check_settings(recipe)
    own = [model["parameters"] for model in recipe["models"]]
    assert [(one["fisher"], one["weight"]) for one in own] == [
        ("a.safetensors", 1),
        ("b.safetensors", 0.5),
        ("c.safetensors", 2),
    ]
    assert own[1]["floor"] == [{"filter": "mlp", "value": [0.1, 0.9]}, {"value": 1e-06}]
    assert recipe["parameters"] == {"normalize": False}
    results = Results(tmp_path, {}, 1, ("countdown_passk",), (point, point.alone(2), soup(1, 0.5, 2)))
    write_plan(results)
    read = read_plan(tmp_path)
    assert read == results
    assert [one.title for one in read.points] == [one.title for one in results.points]


# --- the folder of results ------------------------------------------------------------------------


def problems(seed=0, *, unknown=False, n=6):
    """Prompt, gold and samples of some problems of grade school: right, wrong, without answer, equal, cut off."""
    draw = random.Random(seed)
    for number in range(9):
        gold = 2 * number + 1
        texts = [
            draw.choice(
                [
                    f"{number} + {number + 1} = {gold}. The answer is {gold}.",
                    f"{number} * 2 = {2 * number}, and {2 * number} + 1 = {gold}. The answer is {gold}.00.",
                    f"The answer is {gold + 1}.",
                    f"Let me see: {number} - ",
                    "",
                ]
            )
            for _ in range(n)
        ]
        yield (
            f"How much is {number} and the next?",
            str(gold),
            [
                Completion(
                    text,
                    finish_reason=draw.choice(["stop", "length"]),
                    tokens=len(text) + 1,
                    logprob=None if unknown and draw.random() < 0.2 else -draw.random() / 3,
                    seed=index,
                )
                for index, text in enumerate(texts)
            ],
        )


def outcome(point=MIDDLE, seed=0, *, run="f" * 32, task="gsm8k_passk", stopped=None, limit=None, **changes):
    made = list(problems(seed, **changes))
    verdicts = benchmarks.judge(benchmarks.find("gsm8k"), [(gold, texts) for _, gold, texts in made])
    found = [
        outcome_of_problem(str(number), problem_id(prompt), gold, texts, judged)
        for number, ((prompt, gold, texts), judged) in enumerate(zip(made, verdicts, strict=True))
    ]
    return Outcome(point, task, run, 512, stopped, tuple(found), limit)


@pytest.fixture
def results(tmp_path):
    """A sweep of two late checkpoints, of which one point has not been sampled."""
    points = tuple(
        on_line(EARLY, late, "bang", alpha, temperature, "float32")
        for late in (LATE, dataclasses.replace(OTHER, temperature=0.1 + 0.2, step=None))
        for alpha in (0.0, 1 / 3, 1.0)
        for temperature in (0.7, 1.0)
    )
    tasks = ("gsm8k_passk", "math500_passk")
    outcomes = tuple(
        outcome(point, number, task=task, unknown=number % 2, stopped=("interval", None)[number % 2], limit=9)
        for number, point in enumerate(points[:-1])
        for task in tasks
    )
    return Results(tmp_path / "results", {"seed": 1, "metadata": {"a": [1, None]}}, 6, tasks, points, outcomes)


def test_results_are_read_as_they_were_written(results):
    """To the last bit of every number, in the order of the points, whatever order the outcomes came in."""
    write_plan(results)
    for one in random.Random(0).sample(results.outcomes, len(results.outcomes)):
        write_outcome(results.folder, one)
    found = read_results(results.folder)
    assert found == results
    assert found.outcome(results.points[0], "gsm8k_passk") == results.outcomes[0]
    assert found.outcome(results.points[-1], "gsm8k_passk") is None
    assert found.of_task("math500_passk") == results.outcomes[1::2]
    assert read_plan(results.folder) == dataclasses.replace(results, outcomes=())
    # Nothing is left behind of how files were written.
    assert {path.suffix for path in results.folder.rglob("*") if path.is_file()} == {".json"}


def test_what_is_written_anew_takes_the_place_of_what_was_there(results):
    """A point that got further samples has one outcome."""
    write_plan(results)
    write_outcome(results.folder, outcome(results.points[0]))
    more = outcome(results.points[0], n=8)
    write_outcome(results.folder, more)
    assert read_results(results.folder).outcomes == (more,)
    assert more.n == 8


def test_a_folder_without_a_sweep_is_named(tmp_path):
    """Whether it is empty or not there."""
    assert read_plan(tmp_path) is None
    with pytest.raises(WiseMergeError, match=r"holds no sweep\.json; give the folder that `wise-merge sweep` wrote"):
        read_results(tmp_path)
    with pytest.raises(WiseMergeError, match="is no folder; give the folder"):
        read_results(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: text[: len(text) // 2], ""),
        (lambda text: "", ""),
        (lambda text: "[]", "format 1 was expected"),
        (lambda text: text.replace('"format":1', '"format":2'), "format 1 was expected"),
        (lambda text: json.dumps({"format": 1}), "is missing"),
        (lambda text: text.replace('"digest"', '"hash"').replace('"correct"', '"right"'), ""),
        (lambda text: text.replace('"points":[', '"points":["x",').replace('"problems":[', '"problems":[3,'), ""),
        (lambda text: "\udce9", ""),
    ],
)
@pytest.mark.parametrize("which", ["sweep.json", "points"])
def test_a_file_that_is_damaged_is_named_with_what_to_remove(which, damage, reason, results):
    """Torn, empty, of another form or version: one sentence, and the journal makes it again."""
    write_plan(results)
    write_outcome(results.folder, results.outcomes[0])
    (path,) = (
        path for path in results.folder.rglob("*.json") if (path.name == "sweep.json") == (which == "sweep.json")
    )
    path.write_bytes(damage(path.read_text()).encode("utf-8", "surrogateescape"))
    with pytest.raises(WiseMergeError) as refused:
        read_results(results.folder)
    message = str(refused.value)
    assert message.startswith(f"{path} cannot be read (")
    assert reason in message
    also = f" and {results.folder / 'points'}" if which == "sweep.json" else ""
    assert f"; remove {path}{also} and run the sweep again: what its journal holds is not drawn twice" in message
    if which == "points":
        path.unlink()
        assert read_outcome(results.folder, results.points[0], "gsm8k_passk") is None


def test_results_that_cannot_be_written_are_named(tmp_path):
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(WiseMergeError, match=r"sweep\.json cannot be written: "):
        write_plan(Results(tmp_path / "file", {}, 1, (), ()))


# --- figures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("unknown", [False, True], ids=["all log-probabilities", "some log-probabilities"])
def test_the_figures_are_those_of_wise_merge_score(unknown, tmp_path):
    """What `wise-merge score` makes of the same samples from a journal: every metric at every k."""
    settings = {"do_sample": True, "temperature": 1.0, "max_gen_toks": 512, "until": [], "seed": 1}
    run = Run("gsm8k_passk", {"name": "a", "weights": "1"}, settings)
    made = list(problems(unknown=unknown))
    with Journal.open(tmp_path / "journal", run) as journal:
        journal.ask(
            (prompt, number, {"question": prompt, "answer": f"#### {gold}"}, None)
            for number, (prompt, gold, _) in enumerate(made)
        )
        for prompt, _, texts in made:
            for index, one in enumerate(texts):
                ended = (one.tokens, one.finish_reason, one.logprob, one.seed)
                journal.append(Sample(problem_id(prompt), index, str(one), *ended))
    (exported,) = export(read_runs(tmp_path / "journal", texts=True), tmp_path / "out")
    theirs = sorted(judge(read_samples(exported.path)).problems, key=lambda problem: int(problem.id))
    ours = outcome(run=run.fingerprint, unknown=unknown).facts()
    assert [problem.c for problem in ours] == [problem.c for problem in theirs]
    assert len({problem.c for problem in ours}) > 2
    named = {(one.name, one.scorer): one for one in metrics(ours, [1, 6])[0]}
    expected = {(one.name, one.scorer): one for one in metrics(theirs, [1, 6])[0]}
    assert named.keys() == expected.keys()
    assert {("pass@k", None), ("maj@k", None), ("operation diversity", None)} <= named.keys()
    # With gaps they rank no problem.
    assert (("best@k", "logprob") in named) is not unknown
    for key, metric in named.items():
        np.testing.assert_array_equal(metric.values, expected[key].values, err_msg=str(key))
    assert [dataclasses.replace(one, gold="") for one in ours] == [dataclasses.replace(one, gold="") for one in theirs]


def test_without_log_probabilities_there_is_no_scorer():
    """What the engine did not say is not made up."""
    told = outcome()
    silent = [dataclasses.replace(one, logprobs=(None,) * one.n) for one in told.problems]
    assert {tuple(one.scores) for one in told.facts()} == {("logprob",)}
    assert {tuple(one.scores) for one in dataclasses.replace(told, problems=tuple(silent)).facts()} == {()}
