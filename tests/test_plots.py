"""The pictures: which are drawn, what is in them, and that they are drawn alike twice."""

import itertools
import random
import xml.etree.ElementTree as ElementTree

import pytest

from wise_merge.figures.drawing import COLOURS, MARKERS, look, save
from wise_merge.results.metrics import check_k, metrics
from wise_merge.results.summary import summarize
from wise_merge.results.verdicts import JudgedProblem
from wise_merge.score import plots
from wise_merge.score.plots import draw


def summary(skill, n=8, problems=20, scorer=None, more=0):
    rng = random.Random(n)
    facts = []
    for i in range(problems):
        n += more * (i == problems // 2)
        answers = tuple("1" if rng.random() < skill else rng.choice("23") for _ in range(n))
        correct = tuple(answer == "1" for answer in answers)
        scores = {scorer: tuple(rng.random() for _ in range(n))} if scorer else {}
        facts.append(JudgedProblem(str(i), "1", correct, answers, scores, n, (n,)))
    reported = check_k(facts, None)
    found, notes = metrics(facts, reported)
    return summarize(facts, found, reported, notes=notes)


def texts(path):
    """Every text of an SVG."""
    root = ElementTree.parse(path).getroot()
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture
def only_curves(monkeypatch):
    """The first picture alone is drawn, for tests that look at no other."""
    monkeypatch.setattr(plots, "save", lambda pictures, directory: save(itertools.islice(pictures, 1), directory))


def test_four_pictures_are_drawn_as_png_and_svg(tmp_path):
    """And the SVG says the same twice, so that it can be kept under version control."""
    paths = draw([("late", summary(0.5))], tmp_path / "one")
    names = ["curves", "plane", "histogram", "reliability"]
    assert [path.name for path in paths] == [f"{name}.{suffix}" for name in names for suffix in ("png", "svg")]
    assert all(path.stat().st_size > 5000 for path in paths)
    again = draw([("late", summary(0.5))], tmp_path / "two")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]


def test_curves_of_one_file_name_each_metric_and_k(tmp_path):
    """The legend has the metrics, the axis the k of the table."""
    draw([("late", summary(0.5, scorer="orm"))], tmp_path)
    written = texts(tmp_path / "curves.svg")
    for text in ("late", "pass@k", "maj@k", "best@k by orm", "1", "2", "4", "8"):
        assert text in written


@pytest.mark.usefixtures("only_curves")
@pytest.mark.parametrize("count", [2, 5, 9])
def test_several_files_are_told_apart_without_colour(count, tmp_path):
    """Each is named once in the legend, and no two have colour, dashes and mark in common."""
    draw([(f"model {i}", summary(0.2 + i / 20)) for i in range(count)], tmp_path)
    written = texts(tmp_path / "curves.svg")
    assert [written.count(f"model {i}") for i in range(count)] == [1] * count
    assert [written.count(title) for title in ("pass@k", "maj@k")] == [1, 1]


def test_no_two_of_many_files_look_alike():
    """As many marks as colours: after each round the marks are shifted, so that both together never repeat."""
    looks = [look(i, 1.8) for i in range(len(COLOURS) * len(MARKERS))]
    assert len({(look["color"], look["marker"]) for look in looks}) == len(looks)
    assert {look["color"] for look in looks} == {*COLOURS}


def test_what_all_samples_give_stands_apart_from_the_curves(tmp_path):
    """Where n differs between problems, and only there."""
    draw([("late", summary(0.5, more=5)), ("early", summary(0.3))], tmp_path)
    assert texts(tmp_path / "curves.svg").count("all") == 2
    draw([("late", summary(0.5)), ("early", summary(0.3))], tmp_path)
    assert "all" not in texts(tmp_path / "curves.svg")


@pytest.mark.usefixtures("only_curves")
@pytest.mark.parametrize(
    "names",
    [
        ("early/" + "long/" * 20 + "model", "late/" + "long/" * 20 + "model"),
        ("model/" + "long/" * 20 + "early", "model/" + "long/" * 20 + "late"),
        ("long/" * 20 + "early" + "/long" * 20, "long/" * 20 + "late" + "/long" * 20),
        ("long/" * 20 + "early" + "/longer" * 20 + "x" * 40, "long/" * 20 + "early" + "/long" * 20 + "x" * 40),
        ("same", "same"),
    ],
)
def test_long_names_are_cut_where_they_differ_least(names, tmp_path):
    """At their beginning, their end, in the middle, anywhere: two files are two entries of the legend."""
    draw([(name, summary(0.5)) for name in names], tmp_path)
    shown = [text for text in texts(tmp_path / "curves.svg") if "long" in text or "same" in text]
    assert len(set(shown)) == len(shown) == 2
    assert all(len(name) < 40 for name in shown)


def test_one_sample_per_problem_has_no_curve_and_no_histogram(tmp_path):
    """A greedy run by itself is a point; beside a sampled one it stays one."""
    paths = draw([("greedy", summary(0.5, n=1))], tmp_path / "alone")
    assert [path.name for path in paths] == ["curves.png", "curves.svg"]
    files = [("greedy", summary(0.5, n=1)), *((f"sampled {i}", summary(0.1 * i)) for i in range(1, 9))]
    paths = draw(files, tmp_path / "both")
    assert len(paths) == 8
    assert "greedy" in texts(tmp_path / "both" / "curves.svg")
    assert "greedy" not in texts(tmp_path / "both" / "histogram.svg")
