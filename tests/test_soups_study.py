"""The study of soups: its intervals and tables by another road, and the whole of it in a setting of a minute."""

import importlib
import itertools
import json
import os
import re
import sys
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import REPOSITORY
from matplotlib.text import Text
from scipy.stats import t as student
from support import forked

EXAMPLE = REPOSITORY / "examples" / "soups.py"
MERGES = ["WiSE-FT", "uniform soup", "last five", "moving average", "Fisher", "WIDEN"]
CHOSEN = [f"{kind} by Pass@{k}" for k in (1, 8) for kind in ("best checkpoint", "greedy soup")]
OF_EACH_RUN = ["early checkpoint", "late checkpoint", *MERGES, *CHOSEN]
OF_ALL_RUNS = ["uniform soup", *CHOSEN]


@pytest.fixture(scope="module")
def study():
    """The example as a module, which the processes of its training can import, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE.parent)
        before = dict(os.environ)
        yield importlib.import_module(EXAMPLE.stem)
        os.environ.clear()
        os.environ.update(before)


def variance(values):
    """The unbiased variance, in fractions."""
    mean = Fraction(sum(values), len(values))
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def test_an_interval_is_students_with_the_variance_of_runs_and_of_problems(study):
    """Worked out in fractions for three runs and four problems whose values are sums of both, and all else by hand."""
    runs, problems = [Fraction(0), Fraction(1, 8), Fraction(1, 2)], [Fraction(i, 4) for i in (0, 0, 1, 2)]
    values = np.array([[float(run + problem) for problem in problems] for run in runs])
    mean = sum(runs) / 3 + sum(problems) / 4
    of_runs, of_problems = variance(runs) / 3, variance(problems) / 4
    degrees = (of_runs + of_problems) ** 2 / (of_runs**2 / 2 + of_problems**2 / 3)
    half = student.ppf(0.975, float(degrees)) * float(of_runs + of_problems) ** 0.5
    found = study.estimate(values)
    assert found["mean"] == pytest.approx(float(mean))
    assert (found["low"], found["high"]) == pytest.approx((float(mean) - half, float(mean) + half))


def test_an_interval_of_one_model_is_students_over_problems(study):
    """As in any textbook."""
    values = np.array([0.0, 0.25, 0.25, 1.0, 0.5])
    low, high = student.interval(0.95, 4, values.mean(), values.std(ddof=1) / 5**0.5)
    found = study.estimate(values[None])
    assert (found["low"], found["high"]) == pytest.approx((low, high))


def test_what_never_differs_has_no_interval(study):
    """Neither runs nor problems say how far it may lie off."""
    found = study.estimate(np.full((3, 5), 0.25))
    assert found == {"mean": 0.25, "low": None, "high": None, "by_run": [0.25] * 3}


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.2])
def test_intervals_hold_the_truth_as_often_as_they_say(spread, study):
    """Of three runs, whether problems decide or runs do; there, resampling the runs is too sure of itself."""
    rng = np.random.default_rng(0)
    held = bootstrap = 0
    for _ in range(400):
        values = spread * rng.normal(size=(3, 1)) + 0.3 * rng.normal(size=100) + 0.2 * rng.normal(size=(3, 100))
        found = study.estimate(values)
        held += found["low"] < 0 < found["high"]
        means = values.mean(axis=1)
        draws = [np.mean(draw) for draw in itertools.product(means, repeat=3)]
        bootstrap += np.quantile(draws, 0.025) < 0 < np.quantile(draws, 0.975)
    # Four standard errors of such a share are 0.044.
    assert 0.95 - 0.044 < held / 400 < 0.999
    if spread == 0.2:
        assert bootstrap / 400 < 0.85


def rows(study):
    """Two runs, two problems, four samples: right samples by hand."""
    return [
        study.Row("WiSE-FT", True, ["c", "d"], [[2, 0], [1, 4]]),
        study.Row("best checkpoint by Pass@1", True, ["a", "b"], [[1, 0], [2, 4]]),
        study.Row("best checkpoint by Pass@8", True, ["a", "e"], [[1, 0], [3, 3]]),
        study.Row("best checkpoint by Pass@1", False, ["b"], [[2, 4]]),
        study.Row("best checkpoint by Pass@8", False, ["e"], [[3, 3]]),
        study.Row("greedy soup by Pass@1", False, ["b + e"], [[4, 3]]),
    ]


def by_draws(right, k):
    """Pass@k of four samples by counting all draws."""
    draws = list(itertools.combinations([True] * right + [False] * (4 - right), k))
    return Fraction(sum(map(any, draws)), len(draws))


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_summary_is_what_counting_gives(k, study):
    """Means over runs and problems, and paired differences from each reference of the same run or of all runs."""
    made = rows(study)
    entries = study.summary(made, 4, [1, 2, 4])
    values = [[[by_draws(right, k) for right in model] for model in row.correct] for row in made]
    for row, entry, value in zip(made, entries, values, strict=True):
        assert (entry["name"], entry["of_each_run"]) == (row.name, row.of_each_run)
        check(study, entry[f"pass@{k}"], value)
        places = {"best checkpoint by Pass@1": (3, 1), "best checkpoint by Pass@8": (4, 2), "WiSE-FT": (None, 0)}
        for name, (of_all, of_each) in places.items():
            place = of_each if row.of_each_run else of_all
            assert (f"minus {name}" in entry) == (place is not None)
            if place is not None:
                other = zip(value, values[place], strict=True)
                apart = [[a - b for a, b in zip(*pair, strict=True)] for pair in other]
                check(study, entry[f"minus {name}"][f"pass@{k}"], apart)


def check(study, found, value):
    """Compare an estimate with values in fractions, and its interval with that of another test."""
    of_runs = [sum(model) / 2 for model in value]
    assert found["by_run"] == pytest.approx([float(one) for one in of_runs])
    assert found["mean"] == pytest.approx(float(sum(of_runs) / len(of_runs)))
    expected = study.estimate(np.array(value, dtype=float))
    assert (found["low"], found["high"]) == pytest.approx((expected["low"], expected["high"]))


def test_the_table_shows_the_summary(study):
    """A line for each kind of model; how many runs are above is said where there are several."""
    made = rows(study)
    results = {"settings": {"runs": 2}, "samples": 4, "problems": 2, "ks": [1, 4]}
    text = study.table(results | {"summary": study.summary(made, 4, [1, 4])})
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert lines[0] == "|  | Pass@1 | Pass@4 |"
    # (2/4 + 0 + 1/4 + 1) / 4
    assert lines[1].startswith("| WiSE-FT | 0.438 [")
    assert lines[6].startswith("| greedy soup by Pass@1, of all runs | 0.875 [")
    # Of the values of the best by Pass@1, (1/4 + 0 + 2/4 + 1) / 4, too: above in one run, below in the other.
    assert re.match(r"\| WiSE-FT \| \+0\.000 \[-.*\], 1 of 2 \| \+0\.000, 0 of 2 \|", lines[8])
    assert re.match(r"\| greedy soup by Pass@1, of all runs \| \+0\.125 \[.*\] \| \+0\.000 \|", lines[11])
    assert [line.split(" | ")[0] for line in lines[13:]] == [
        "| WiSE-FT",
        "| best checkpoint by Pass@1",
        "| best checkpoint by Pass@1, of all runs",
        "| greedy soup by Pass@1, of all runs",
        "| ",
        "| best checkpoint by Pass@1",
        "| best checkpoint by Pass@8",
    ]


def test_no_name_in_the_picture_lies_on_another(study):
    """As drawn, with as many kinds of models as the study has, all at nearly the same place, and two of them one."""
    estimated = {"mean": 0.5, "low": 0.4, "high": 0.6, "by_run": [0.4, 0.6]}
    names = [(name, True) for name in OF_EACH_RUN] + [(name, False) for name in OF_ALL_RUNS]
    entries = [
        {"name": name, "of_each_run": each, "models": [str(max(1, i))], "pass@1": estimated, "pass@32": estimated}
        for i, (name, each) in enumerate(names)
    ]
    drawing = study.draw({"problems": 250, "ks": [1, 32], "summary": entries})
    drawing.draw_without_rendering()
    texts = drawing.axes[0].texts
    # One name less, and a line about the symbols.
    assert len(texts) == len(names)
    assert any(text.get_text() == "early checkpoint =\nlate checkpoint" for text in texts)
    # Of the text alone, without the line to its point.
    places = [Text.get_window_extent(text) for text in texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(places, 2))
    width, height = drawing.canvas.get_width_height()
    assert all(one.x0 >= 0 and one.x1 <= width and one.y0 >= 0 and one.y1 <= height for one in places)


@pytest.mark.slow
def test_the_whole_study_and_once_more(study, tmp_path, monkeypatch, capsys):
    """Every kind of model is judged on the confirmation half; typed again, no command runs and nothing changes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "subprocess", SimpleNamespace(run=lambda arguments, **_: forked.run(arguments)))
    settings = {
        "runs": 2, "pretraining-steps": 40, "sft-steps": 10, "early": 1, "every": 3, "problems": 12, "samples": 8,
    }  # fmt: skip
    options = [text for key, value in settings.items() for text in (f"--{key}", str(value))]
    typed = ["soups.py", "--out", str(tmp_path / "soups"), *options]
    monkeypatch.setattr(sys, "argv", typed)
    study.main()
    printed = capsys.readouterr().out
    for k in (1, 8):
        assert f"$ wise-merge soup --run sft-1 --run sft-2 --objective pass@{k}" in printed
    found = json.loads((tmp_path / "soups/results.json").read_text())
    names = [(row["name"], row["of_each_run"]) for row in found["rows"]]
    assert sorted(names) == sorted([(name, True) for name in OF_EACH_RUN] + [(name, False) for name in OF_ALL_RUNS])
    for row in found["rows"]:
        assert len(row["models"]) == len(row["correct"]) == (2 if row["of_each_run"] else 1)
        assert all(len(problems) == 6 and set(problems) <= set(range(9)) for problems in row["correct"])
    table = (tmp_path / "soups/table.md").read_text()
    assert printed.endswith(table + "\n")
    assert (tmp_path / "soups/soups.png").read_bytes().startswith(b"\x89PNG")
    study.main()
    assert capsys.readouterr().out == table + "\n"
    monkeypatch.setattr(sys, "argv", [*typed, "--samples", "16"])
    with pytest.raises(SystemExit, match="holds a study with other settings"):
        study.main()
