"""The report of a sweep: its numbers, its texts, its page and its pictures."""

import base64
import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree
import zlib

import numpy as np
import pytest
from click.testing import CliRunner
from support.boxes import boxes_of, overlapping
from support.reports import EARLY, a_soup, late, make_grid, make_results, make_soup, make_weighted

from wise_merge.cli import main
from wise_merge.errors import WiseMergeError
from wise_merge.estimators.bias_variance import bias_and_variance
from wise_merge.figures.drawing import drawing_style, encoded
from wise_merge.points.best import BestChoice, CheckedConstraint, ChosenPoint, ComparedPoint, read_best, state_of
from wise_merge.points.folder import Results
from wise_merge.points.point import Coordinate, Point, on_line
from wise_merge.report.computing import numbers_of
from wise_merge.report.coordinates import by_coordinates
from wise_merge.report.figures import draw
from wise_merge.report.groups import grouped, label_and_mark
from wise_merge.report.opening import opening_of
from wise_merge.report.page import page
from wise_merge.report.plane import plane
from wise_merge.report.spread import along_steps
from wise_merge.report.steps import soup_steps
from wise_merge.report.texts import texts_of


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished sweep of ten points, two of which are one model."""
    return make_results(tmp_path_factory.mktemp("finished") / "results")


def unpacked(content):
    """The numbers of a page, and the texts of its problems by the id of their element."""
    text = content.decode()
    (numbers,) = re.findall(r'<script type="application/json" id="numbers">(.*?)</script>', text)
    blocks = re.findall(r'<script type="application/octet-stream" id="(.*?)">(.*?)</script>', text)
    return json.loads(numbers), {
        name: json.loads(zlib.decompress(base64.b64decode(packed)).decode("utf-8")) for name, packed in blocks
    }


def floats(value):
    """Every number with a point in a tree of results."""
    if isinstance(value, dict):
        return [found for entry in value.values() for found in floats(entry)]
    if isinstance(value, (list, tuple)):
        return [found for entry in value for found in floats(entry)]
    return [value] if isinstance(value, float) else []


def test_every_point_has_its_numbers(finished):
    """Counted anew from the outcomes: Pass@1, bias, variance, the histogram and the problems one by one."""
    (task,) = numbers_of(finished).tasks
    assert (task.name, task.k, len(task.points), task.missing) == ("countdown", 8, 10, ())
    assert [group.label for group in task.groups] == ["checkpoint-400", "checkpoint-800"]
    for point in task.points:
        outcome = next(
            one
            for one in finished.outcomes
            if one.point.late.step == task.groups[point.group].checkpoints[-1].step and one.point.alpha == point.alpha
        )
        counts = [sum(problem.correct) for problem in outcome.problems]
        assert point.correct == tuple(counts)
        assert point.drawn == (8,) * 12
        rates = [count / 8 for count in counts]
        passed = point.line("pass@k").at(1)
        assert passed.value == pytest.approx(sum(rates) / 12)
        assert passed.low < passed.value < passed.high
        assert point.bias.value == pytest.approx(1 - passed.value)
        assert point.bias.low == pytest.approx(1 - passed.high)
        assert point.variance.value == pytest.approx(bias_and_variance(8, np.array(counts)).variance)
        assert sum(point.histogram) == 12
        assert point.histogram[-1] == sum(rate >= 0.9 for rate in rates)
        assert point.audit.cut_off == pytest.approx(1 / 8)
        assert point.line("pass@k").at(8).value == pytest.approx(sum(count > 0 for count in counts) / 12)


def test_k_is_what_all_points_with_several_samples_have(tmp_path):
    """Greedy points have one sample and never lower it; points that were stopped do; what is asked for counts more."""
    results = make_results(
        tmp_path,
        lates=(800,),
        alphas=(0.0, 0.5, 1.0),
        temperatures=(0.0, 1.0),
        problems=4,
        n_of=lambda point: 1 if point.temperature == 0 else 4 if point.alpha == 0.5 else None,
        stopped=lambda point: "dominated" if point.alpha == 0.5 else None,
        journal=False,
    )
    (task,) = numbers_of(results).tasks
    assert task.k == 4
    assert {point.n for point in task.points} == {1, 4, 8}
    assert [point.stopped for point in task.points if point.alpha == 0.5] == ["dominated", "dominated"]
    assert numbers_of(results, k=8).tasks[0].k == 8
    with pytest.raises(WiseMergeError, match=r"-k must lie in \[1, 8\]"):
        numbers_of(results, k=9)


def test_long_curves_keep_the_k_that_matter(tmp_path):
    """Every k up to 16, a few per doubling beyond, and K and n in any case."""
    results = make_results(tmp_path, lates=(800,), alphas=(0.5,), problems=2, n=100, journal=False)
    (task,) = numbers_of(results, k=77).tasks
    shown = task.points[0].line("pass@k").k
    assert {*range(1, 17), 32, 64, 77, 100} <= set(shown)
    assert len(shown) < 35


def test_what_is_missing_is_named(tmp_path):
    """Points without outcome of a task, and tasks without any."""
    results = make_results(
        tmp_path,
        lates=(800,),
        tasks=("countdown", "gsm8k", "aime"),
        problems=3,
        skip=lambda point, task: task == "aime" or (task == "gsm8k" and point.alpha > 0.5),
    )
    numbers = numbers_of(results)
    assert [task.name for task in numbers.tasks] == ["countdown", "gsm8k"]
    assert numbers.unsampled == ("aime",)
    assert numbers.tasks[1].missing == ("checkpoint-800, alpha 0.75, T 1", "checkpoint-800, alpha 1, T 1")
    assert [task.name for task in numbers_of(results, tasks=("gsm8k",)).tasks] == ["gsm8k"]
    with pytest.raises(WiseMergeError, match="has no task 'math'; it has countdown, gsm8k, aime"):
        numbers_of(results, tasks=("math",))


def test_nothing_sampled_is_an_error(tmp_path):
    """An empty report would say nothing."""
    results = make_results(tmp_path, lates=(800,), skip=lambda point, task: True)
    with pytest.raises(WiseMergeError, match="has been sampled yet"):
        numbers_of(results)


@pytest.mark.parametrize(("problems", "n"), [(1, 1), (1, 4), (2, 1), (3, 2)])
def test_the_smallest_sweeps_have_a_report(problems, n, tmp_path):
    """One point, one problem, one sample: what cannot be known is None, in the page null, and nowhere NaN."""
    results = make_results(tmp_path, lates=(800,), alphas=(1.0,), problems=problems, n=n)
    numbers = numbers_of(results)
    found, _ = unpacked(page(numbers, texts_of(results.outcomes, results.journal, 4)))
    values = floats(dataclasses.asdict(numbers)) + floats(found)
    assert values
    assert not [value for value in values if value != value]
    (point,) = numbers.tasks[0].points
    assert (point.bias.low is None) == (problems == 1)
    assert (point.variance is None) == (problems == 1 or n == 1)
    assert draw(numbers, tmp_path / "figures")


def test_checkpoints_of_one_name_are_told_apart(tmp_path):
    """By their folders, where the last one is the same."""
    names = ("runs/sft/checkpoint-800", "runs/grpo/checkpoint-800")
    results = make_results(tmp_path, lates=(800, 900), names=names, problems=2, journal=False)
    assert [group.label for group in numbers_of(results).tasks[0].groups] == list(names)


def test_the_page_holds_the_samples_behind_each_number(finished):
    """The first four of each problem and point, with verdict and answer; one early model is there once."""
    numbers = numbers_of(finished)
    found, blocks = unpacked(page(numbers, texts_of(finished.outcomes, finished.journal, 4)))
    assert list(blocks) == [f"texts-0-{i}" for i in range(12)]
    assert len({point["run"] for point in found["tasks"][0]["points"]}) == 9
    for i in range(12):
        block = blocks[f"texts-0-{i}"]
        assert block["prompt"]["tail"].endswith(f"what is {i} of countdown?\nA:")
        assert len(block["behind"]) == 9
        for outcome in finished.outcomes:
            problem, behind = outcome.problems[i], block["behind"][outcome.run]
            assert behind["verdicts"] == "".join("01"[right] for right in problem.correct)
            assert [sample["correct"] for sample in behind["samples"]] == list(problem.correct[:4])
            assert [sample["answer"] for sample in behind["samples"]] == list(problem.answers[:4])
            assert [sample["cut_off"] for sample in behind["samples"]] == [True, False, False, False]
            for index, sample in enumerate(behind["samples"]):
                assert sample["text"]["head"].startswith(f"Trying {index} + 1 = {i}.")
    assert found["texts"] == {"samples": 4, "asked": 4, "whole": 9 * 12 * 4, "shortened": 0, "missing": 0}


def test_too_long_texts_lose_their_middle_and_the_page_says_so(tmp_path):
    """The short ones stay whole; all together keep to the limit; what is left out is counted."""
    results = make_results(
        tmp_path,
        lates=(800,),
        alphas=(0.0, 1.0),
        problems=3,
        text=lambda problem, index, right: f"<{index}>" if index == 0 else f"<{index}>" + "long " * 400 + "THE END",
    )
    texts = texts_of(results.outcomes, results.journal, 2, most=2_000)
    samples = [one for of in texts.of.values() for behind in of.behind.values() for one in behind.samples]
    assert len(samples) == 12
    assert (texts.whole, texts.shortened) == (6, 6)
    assert sum(len(one.text.head) + len(one.text.tail) for one in samples) <= 2_000
    for one in samples:
        if one.text.left_out:
            assert one.text.head.startswith("<1>long")
            assert one.text.tail.endswith("THE END")
            assert len(one.text.head) + one.text.left_out + len(one.text.tail) == 3 + 2_000 + 7
        else:
            assert one.text.head == "<0>"


def test_rather_fewer_samples_than_unreadable_ones(tmp_path):
    """Four of nine tokens each would have less than they need."""
    results = make_results(tmp_path, lates=(800,), alphas=(0.0, 1.0), problems=3)
    assert texts_of(results.outcomes, results.journal, 4, most=2 * 3 * 4 * 36).samples == 4
    assert texts_of(results.outcomes, results.journal, 4, most=2 * 3 * 2 * 36).samples == 2
    assert texts_of(results.outcomes, results.journal, 4, most=1).samples == 1


def test_a_lost_journal_leaves_the_verdicts(tmp_path):
    """The numbers need no texts; what is missing is counted."""
    results = make_results(tmp_path, lates=(800,), alphas=(0.0, 1.0), problems=3, journal=False)
    texts = texts_of(results.outcomes, results.journal, 4)
    assert texts.missing == 2 * 3 * 4
    assert all(behind.verdicts and not behind.samples for of in texts.of.values() for behind in of.behind.values())
    assert texts_of(results.outcomes, results.journal, 0).missing == 0


def test_no_text_can_leave_its_place(tmp_path):
    """Neither a completion nor a name ends a script; halves of surrogate pairs and line separators survive."""
    strange = "</script><img src=x onerror=alert(1)> \ud83d \u2028 <!-- é 日本"
    results = make_results(
        tmp_path, lates=(800,), alphas=(1.0,), problems=1, names=[f'a"b</script>{strange}'], text=lambda *_: strange
    )
    content = page(numbers_of(results), texts_of(results.outcomes, results.journal, 1))
    found, blocks = unpacked(content)
    assert found["tasks"][0]["groups"][0]["checkpoints"][1]["name"] == f'a"b</script>{strange}'
    (behind,) = blocks["texts-0-0"]["behind"].values()
    assert behind["samples"][0]["text"]["head"] == strange
    assert b"onerror=alert" not in content.replace(b"\\u003cimg src=x onerror=alert(1)\\u003e", b"")
    assert content.count(b"</script>") == content.count(b"<script") == 4


def test_the_page_is_the_same_twice(finished):
    """So that it can be kept under version control."""
    once, again = (page(numbers_of(finished), texts_of(finished.outcomes, finished.journal, 2)) for _ in range(2))
    assert once == again


def texts_in(path):
    """Every text of an SVG."""
    root = ElementTree.parse(path).getroot()
    return " ".join("".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text"))


def test_the_pictures_say_what_they_show(tmp_path):
    """All kinds as PNG and SVG; each names n, the number of problems and the interval; the SVG is the same twice."""
    results = make_results(tmp_path / "results", lates=(800,), alphas=(0.0, 0.5, 1.0), journal=False)
    numbers = numbers_of(results)
    paths = draw(numbers, tmp_path / "one")
    names = ["plane", "curves", "along-alpha", "along-training", "histogram"]
    assert [path.name for path in paths] == [f"{name}.{suffix}" for name in names for suffix in ("png", "svg")]
    for path in paths[1::2]:
        written = texts_in(path)
        assert "12 problems" in written
        assert "n = 8" in written
        assert ("95 % interval over problems" in written) == (path.stem != "histogram")
    assert "Pass@8" in texts_in(tmp_path / "one" / "plane.svg")
    again = draw(numbers, tmp_path / "two")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]


def test_the_command_writes_page_and_pictures(finished, tmp_path):
    """By default into the results; errors are one line."""
    run = CliRunner()
    done = run.invoke(main, ["report", str(finished.folder), "--figures", str(tmp_path / "figures"), "--samples", "1"])
    assert done.exit_code == 0, done.output
    assert (finished.folder / "report.html").stat().st_size < 6_000_000
    assert "10 points" in done.output
    assert (tmp_path / "figures" / "plane.svg").is_file()
    for arguments, message in (
        ([str(tmp_path)], "holds no sweep.json"),
        ([str(finished.folder), "--out", str(tmp_path)], "is a folder"),
        ([str(finished.folder), "-k", "99"], "-k must lie in"),
    ):
        failed = run.invoke(main, ["report", *arguments])
        assert failed.exit_code == 1
        assert message in failed.output


def test_without_an_alpha_points_go_by_their_names(tmp_path):
    """The checkpoints in their order, then their mean; none of them is early or late."""
    (task,) = numbers_of(make_soup(tmp_path)).tasks
    assert not task.on_line
    assert [group.label for group in task.groups] == ["uniform_soup of 3"]
    assert [checkpoint.step for checkpoint in task.groups[0].checkpoints] == [25, 400, 800]
    assert [point.label for point in task.points] == ["one", "two", "three", "uniform_soup of 3"]
    assert [point.unmerged for point in task.points] == [0, 1, 2, None]
    assert {point.alpha for point in task.points} == {None}


@pytest.mark.parametrize(
    ("steps", "temperatures", "endings"),
    [((25, 400, 800), (0.7, 1.0), ("-T-0.7", "-T-1")), ((None, None, None), (1.0,), ("",))],
    ids=["steps", "no steps"],
)
def test_without_an_alpha_no_picture_speaks_of_one(steps, temperatures, endings, tmp_path):
    """Marks with names; a line only along training, where the steps are known."""
    results = make_soup(tmp_path / "results", steps=steps, temperatures=temperatures)
    paths = [path for path in draw(numbers_of(results), tmp_path / "figures") if path.suffix == ".svg"]
    training = ["along-training"] if steps[0] else []
    kinds = [f"{kind}{ending}" for ending in endings for kind in ["curves", "by-model", *training, "histogram"]]
    assert [path.stem for path in paths] == ["plane", *kinds]
    for path in paths:
        written = texts_in(path)
        assert not re.search(r"\b(alpha|early|late)\b", written), written
        if not path.stem.startswith("along"):
            assert all(re.search(rf"\b{name}\b", written) for name in ("one", "two", "three", "uniform_soup of 3"))


def test_a_point_that_several_paths_share_is_named_once(finished, tmp_path):
    """Early is one point of both late checkpoints, whose own points have their names each."""
    draw(numbers_of(finished), tmp_path)
    texts = ElementTree.parse(tmp_path / "plane.svg").getroot().iter("{http://www.w3.org/2000/svg}text")
    marks = ["".join(node.itertext()) for node in texts]
    assert (marks.count("early"), marks.count("late")) == (1, 2)


@pytest.mark.parametrize(
    ("lates", "alphas", "temperatures", "ends"),
    [
        pytest.param((800,), (0.0, 0.3, 0.5, 0.7, 1.0), (0.7, 1.0, 1.3, 1.6), 1, id="demo"),
        pytest.param((800,), tuple(i / 20 for i in range(21)), (0.7, 1.0), 1, id="dense"),
        pytest.param((200, 400, 800), (0.0, 0.5, 1.0), (1.0,), 3, id="three late"),
    ],
)
def test_no_label_of_the_plane_lies_on_another(lates, alphas, temperatures, ends, tmp_path):
    """As it is saved: each model is named once, whatever its temperature, and no two names have a place in common."""
    results = make_results(
        tmp_path, lates=lates, alphas=alphas, temperatures=temperatures, problems=40, n=4, journal=False
    )
    (task,) = numbers_of(results).tasks
    with drawing_style():
        drawn = plane(task)
        encoded(drawn, "png")
        boxes = boxes_of(drawn, drawn.axes[0])
    texts = [text for text, _ in boxes]
    assert (texts.count("early"), texts.count("late")) == (1, ends)
    between = [text for text in texts if text not in ("early", "late")]
    assert len(between) == len(set(between))
    assert overlapping(boxes) == []


def test_two_coordinates_are_a_plane(tmp_path):
    """Points lie there by their coordinates, the first checkpoint too; the others are models beside it."""
    (task,) = numbers_of(make_grid(tmp_path)).tasks
    assert not task.on_line
    assert [group.axes for group in task.groups] == [("weight of two", "weight of three")]
    placed = {point.place: point for point in task.points}
    assert set(placed) == {None, (0.0, 0.0), *((two, three) for two in (0, 0.5, 1, 2) for three in (0.5, 1, 4))}
    assert placed[0.0, 0.0].label == "one"
    point = placed[0.5, 4.0]
    assert (point.label, point.mark) == ("weight of two 0.5, weight of three 4", "0.5, 4")
    assert point.title == "weight of two 0.5, weight of three 4, T 1"
    assert [point.label for point in task.points if point.place is None] == ["two", "three"]
    # Lines lead along the first coordinate.
    assert [point.place[0] for point in task.points if point.place and point.place[1] == 1.0] == [0, 0.5, 1, 2]


def test_one_coordinate_is_a_line_of_its_name(tmp_path):
    """That of the weight that varies; a parameter of the whole merge would have its name alone."""
    (task,) = numbers_of(make_grid(tmp_path, third=(1.0,))).tasks
    assert [group.axes for group in task.groups] == [("weight of two",)]
    assert [point.place for point in task.points] == [None, None, None, (0.0,), (0.5,), (1.0,), (2.0,)]
    assert [point.mark for point in task.points] == ["one", "two", "three", "0", "0.5", "1", "2"]


def test_weights_of_0_and_1_are_ingredients_and_no_coordinates(tmp_path):
    """So a greedy soup is told by what it is made of, whether its points name all checkpoints or only their own."""
    weights = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 1.0), (0.0, 1.0, 1.0)]
    whole = make_weighted(tmp_path / "whole", weights)
    outcomes = [dataclasses.replace(one, point=only_its_own(one.point)) for one in whole.outcomes]
    own = dataclasses.replace(whole, points=tuple(one.point for one in outcomes), outcomes=tuple(outcomes))
    for results in (whole, own):
        (task,) = numbers_of(results, soup=a_soup()).tasks
        assert [group.axes for group in task.groups] == [()]
        assert sorted(point.label for point in task.points) == ["one", "one + three", "three", "two", "two + three"]
        assert [point.label for point in task.points if point.chosen] == ["one + three"]
        names = [checkpoint.name for checkpoint in task.groups[0].checkpoints]
        for point in task.points:
            assert [names[place].removeprefix("runs/") for place in point.ingredients] == point.label.split(" + ")


def test_soups_of_many_ingredients_have_short_names_and_no_two_alike():
    """Two of 30 checkpoints each that differ in one in the middle."""
    checkpoints = [late(step) for step in range(100, 3200, 100)]
    soups = [[one for one in checkpoints if one.step != left_out] for left_out in (1500, 1600)]
    points = [
        Point(tuple(some), "uniform_soup", tuple(Coordinate("weight", 1.0, i) for i in range(len(some))), 1.0)
        for some in soups
    ]
    (group,) = grouped(points)
    labels = [label_and_mark(point, group)[0] for point in points]
    assert len(set(labels)) == 2
    assert max(map(len, labels)) <= 72


def only_its_own(point):
    """The same model as a point that names only the checkpoints it is made of."""
    own = [place for place, one in enumerate(point.coordinates) if one.value]
    coordinates = tuple(dataclasses.replace(point.coordinates[place], checkpoint=i) for i, place in enumerate(own))
    return dataclasses.replace(
        point, checkpoints=tuple(point.checkpoints[place] for place in own), coordinates=coordinates
    )


@pytest.mark.parametrize(("steps", "along"), [((25, 400, 800), [25, 400, 800]), ((400, 400, 800), [])])
def test_checkpoints_of_several_runs_are_no_line_along_training(steps, along, tmp_path):
    """Two of one step do not come after each other; those of one run do."""
    (task,) = numbers_of(make_soup(tmp_path, steps=steps)).tasks
    assert [step for step, _ in along_steps(task, task.points)] == along


def test_the_pictures_of_a_grid_name_its_coordinates(tmp_path):
    """In a plane of two of them every figure is written in its cell; nothing speaks of alpha."""
    numbers = numbers_of(make_grid(tmp_path / "results", second=(0.5, 1.0), third=(0.5, 1.0)))
    draw(numbers, tmp_path)
    texts = {path.stem: texts_in(path) for path in tmp_path.glob("*.svg")}
    assert {"plane", "coordinates", "along-coordinate", "curves", "histogram"} < set(texts)
    assert not any(re.search(r"\b(alpha|early|late)\b", text) for text in texts.values())
    assert "weight of two" in texts["along-coordinate"]
    for text in ("Pass@1", "Pass@4", "weight of two", "weight of three"):
        assert text in texts["coordinates"]
    for point in numbers.tasks[0].points:
        assert f"{point.at('pass@k', 1).value:.3f}" in texts["coordinates"]


def test_one_coordinate_is_drawn_along_its_name(tmp_path):
    """Pass@1 and Pass@K, each a line of the merges, with every checkpoint as a level."""
    (task,) = numbers_of(make_grid(tmp_path, second=(0.5, 1.0, 2.0), third=(1.0,))).tasks
    panels = by_coordinates(task, task.points).axes
    assert [(panel.get_title(), panel.get_xlabel()) for panel in panels] == [
        ("Pass@1", "weight of two"),
        ("Pass@4", "weight of two"),
    ]
    for k, panel in zip((1, 4), panels, strict=True):
        lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in panel.get_lines()}
        values = {point.place or point.label: point.at("pass@k", k).value for point in task.points}
        assert lines["merged"] == ([0.5, 1.0, 2.0], [values[x,] for x in (0.5, 1.0, 2.0)])
        for name in ("one", "two", "three"):
            assert set(lines[name][1]) == {values[name]}


def test_a_greedy_soup_has_a_picture_of_its_steps():
    """Which checkpoint each step tried; what was kept, what was refused, and the value of the soup after each step."""
    figure = soup_steps(a_soup())
    (panel,) = figure.axes
    assert [label.get_text() for label in panel.get_xticklabels()] == ["three", "one", "two"]
    drawn = {line.get_label(): list(line.get_ydata()) for line in panel.get_lines()}
    assert drawn == {"the soup": [0.5, 0.56, 0.56], "kept": [0.5, 0.56], "refused": [0.53]}


def a_choice(results, **changes):
    """A choice from results, as `wise-merge best` keeps it: alpha 0.5, better than late and no better than early."""
    point = next(point for point in results.points if point.alpha == 0.5)
    chosen = ChosenPoint(point.title, point.model, 1.0, False, 0.55, 0.512, 0.46, 0.5649)
    late_best = ComparedPoint(
        ("late at its best temperature",),
        "checkpoint-800 itself, T 0.7",
        False,
        False,
        0.4,
        0.112,
        0.05,
        0.17,
        0.0004,
        0.08,
    )
    early = ComparedPoint(
        ("early at its best temperature", "the best unmerged model"),
        "checkpoint-25 itself, T 1",
        True,
        True,
        0.5,
        0.012,
        -0.02,
        0.044,
        0.4712,
        0.046,
    )
    choice = BestChoice(
        objective="pass@1",
        constraints=("pass@8 >= late",),
        sought="pass@1 with pass@8 >= late (late at T 1)",
        reference_temperature=1.0,
        seed=0,
        tasks=("countdown",),
        points=10,
        selection_problems=6,
        confirmation_problems=6,
        of=state_of(results, ("countdown",)),
        chosen=chosen,
        nearest=None,
        against=(late_best, early),
        checked=(CheckedConstraint("pass@8 >= late", (0.8, 0.75), (0.7, 0.7777), False),),
        recipe="results/best.yml",
    )
    return dataclasses.replace(choice, **changes)


def test_the_opening_says_what_the_choice_is_worth(finished):
    """Each comparison with its interval and p, in 3 decimals; what is not shown is not claimed; then what to type."""
    swept, chosen = opening_of(finished, a_choice(finished), None)
    assert swept.text == (
        "WiSE-FT from early checkpoint-25 (step 25) to each of 2 late checkpoints, checkpoint-400 (step 400) and "
        "checkpoint-800 (step 800), was swept: 5 values of alpha at temperature 1, on 12 problems of countdown, 8 "
        "samples of each."
    )
    assert chosen.text == (
        "`wise-merge best` chose checkpoint-400, alpha 0.5, T 1: of 10 points it has the largest pass@1 with pass@8 "
        ">= late (late at T 1) on 6 problems, the selection half. On the other 6, the confirmation half, its pass@1 "
        "is 0.512 [0.460, 0.565] (brackets: 95 % intervals over problems): 0.112 [0.050, 0.170] more than late at its"
        " best temperature (checkpoint-800 itself, T 0.7, which does not meet the constraints; p < 0.001); not told "
        "from early at its best temperature, the best unmerged model (checkpoint-25 itself, T 1; difference +0.012 "
        "[\N{MINUS SIGN}0.020, +0.044], p = 0.471). pass@8 >= late does not hold there: 0.750 against 0.778. That "
        "merging helps here is not shown: the difference to the best unmerged model is not told from 0; so many "
        "problems would show one of 0.046. To merge it all the same, and sample it at temperature 1:"
    )
    assert chosen.command == "wise-merge merge results/best.yml merged"


def opening(results, **changes):
    """What is said of a choice, and the command."""
    said = opening_of(results, a_choice(results, **changes), None)[-1]
    return said.text, said.command


def test_the_opening_says_where_merging_does_not_help(finished):
    """Where a checkpoint won, or the best one is better on the half that confirms; nothing is merged then."""
    choice = a_choice(finished)
    late_best, early = choice.against
    text, command = opening(finished, chosen=dataclasses.replace(choice.chosen, unmerged=True, title="X itself, T 1"))
    assert "chose X itself, T 1: of" in text
    assert text.endswith(
        "Merging does not help here: the best point is a checkpoint as it is; sample it at temperature 1."
    )
    assert command is None
    worse = dataclasses.replace(early, difference=-0.04, low=-0.07, high=-0.01, p=0.02)
    text, command = opening(finished, against=(late_best, worse))
    assert "0.040 [0.010, 0.070] less than early at its best temperature, the best unmerged model" in text
    assert "Merging does not help here: the best unmerged model, checkpoint-25 itself, T 1, is better." in text
    assert command is None
    better = dataclasses.replace(early, difference=0.04, low=None, high=None, p=0.02)
    text, command = opening(finished, against=(late_best, better))
    assert "0.040 more than early" in text
    assert "not shown" not in text
    assert command == "wise-merge merge results/best.yml merged"
    text, command = opening(finished, against=(late_best,))
    assert "No unmerged model of the sweep meets the constraints. To merge it" in text


def test_the_opening_says_which_choice_is_none_or_out_of_date(finished):
    """Without one it names the command and invents no objective; from earlier results it says how to choose again."""
    said = opening_of(finished, None, None)[-1]
    assert said.text.startswith("No point has been chosen yet.")
    assert said.command == f"wise-merge best {finished.folder} --objective SUM"
    text, command = opening(finished, of="0" * 32, seed=3, recipe="other.yml")
    assert "from earlier results: points or samples have changed since" in text
    assert command == (
        f"wise-merge best {finished.folder} --objective pass@1 --subject-to 'pass@8 >= late' --reference-temperature 1 "
        "--seed 3 --out other.yml"
    )
    text, _ = opening(finished, tasks=("countdown", "gsm8k"), of=state_of(finished, ("countdown", "gsm8k")))
    assert (
        "the largest pass@1 with pass@8 >= late (late at T 1), the mean of countdown and gsm8k, on 6 problems" in text
    )
    text, command = opening(finished, chosen=None, nearest="X, T 1", against=(), recipe=None)
    assert "found no point that meets pass@8 >= late on 6 problems, the selection half. The nearest is X, T 1" in text
    assert command is None
    stale = numbers_of(finished, best=a_choice(finished, of="0" * 32))
    assert not any(point.chosen for point in stale.tasks[0].points)


def test_the_opening_counts_in_words_that_fit(tmp_path):
    """One of a thing is no plural; several tasks, many checkpoints, an unfinished sweep."""
    one = make_results(tmp_path / "one", lates=(800,), alphas=(1.0,), problems=1, n=1, journal=False)
    assert opening_of(one, None, None)[0].text == (
        "WiSE-FT from early checkpoint-25 (step 25) to late checkpoint-800 (step 800) was swept: 1 value of alpha at "
        "temperature 1, on 1 problem of countdown, 1 sample of each."
    )
    points = [
        on_line(EARLY, late(step), "bang", alpha, t)
        for step in range(100, 700, 100)
        for alpha in (0.0, 1.0)
        for t in (0.7, 1.0)
    ]
    many = Results(tmp_path, {}, 4, ("a", "b"), tuple(points))
    outcomes = [
        dataclasses.replace(one.outcomes[0], point=points[0], task="a"),
        dataclasses.replace(one.outcomes[0], point=points[0], task="b", problems=one.outcomes[0].problems * 2),
    ]
    said = opening_of(dataclasses.replace(many, outcomes=tuple(outcomes)), None, None)[0].text
    assert said.endswith(
        "to each of 6 late checkpoints from checkpoint-100 (step 100) to checkpoint-600 (step 600) was swept: 2 "
        "values of alpha at 2 temperatures (0.7 and 1), on 1 problem of a and 2 problems of b, 1 sample of each. 1 of"
        " 24 points is sampled so far."
    )


def test_the_opening_tells_of_a_greedy_soup(tmp_path):
    """How many ingredients, and what it is worth beside each rival; a soup of one checkpoint is called so."""
    results = make_soup(tmp_path)
    swept, made = opening_of(results, None, a_soup())
    assert swept.text.startswith(
        "For a greedy soup of one (step 25), two (step 400) and three (step 800), 4 models were"
    )
    assert made.text == (
        "The greedy soup has 2 ingredients of the 3 checkpoints tried for the largest pass@4 with pass@1 >= best on 3"
        " problems, the selection half: three and one. On the other 3, the confirmation half, its pass@4 is 0.520: "
        "0.070 [0.010, 0.130] more than the best single checkpoint (three; p = 0.030); not told from the uniform soup"
        " (uniform_soup of 3; difference +0.010 [\N{MINUS SIGN}0.030, +0.050], p = 0.600). To merge it:"
    )
    assert made.command == f"wise-merge merge {tmp_path / 'soup.yml'} merged"
    soup = a_soup()
    single = dataclasses.replace(
        soup,
        steps=(soup.steps[0], dataclasses.replace(soup.steps[1], kept=False)),
        chosen=dataclasses.replace(soup.chosen, ingredients=("runs/three",)),
        against=soup.against[1:],
        recipe=None,
    )
    made = opening_of(results, None, single)[-1]
    assert made.text.startswith("The greedy soup is one model, three: no other of the 2 checkpoints tried")
    assert made.text.endswith("There is nothing to merge.")
    assert made.command is None


def test_a_report_after_best_opens_with_its_choice(finished):
    """The figures of choice.json, and the ring around the point that was chosen; after further samples it says so."""
    run = CliRunner()
    done = run.invoke(main, ["best", str(finished.folder), "--objective", "pass@1"])
    assert done.exit_code == 0, done.output
    try:
        assert run.invoke(main, ["report", str(finished.folder), "--samples", "0"]).exit_code == 0
        found, _ = unpacked((finished.folder / "report.html").read_bytes())
        kept = read_best(finished.folder)
        _, said = found["opening"]
        assert (
            f"its pass@1 is {kept.chosen.confirmation:.3f} [{kept.chosen.low:.3f}, {kept.chosen.high:.3f}]"
            in said["text"]
        )
        assert f"chose {kept.chosen.title}: of" in said["text"]
        of_choice = {one.point.title for one in finished.outcomes if one.point.model == kept.chosen.model}
        assert {point["title"] for point in found["tasks"][0]["points"] if point["chosen"]} == of_choice
    finally:
        (finished.folder / "choice.json").unlink()
