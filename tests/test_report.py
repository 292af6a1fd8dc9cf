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
from support.reports import make_results, make_soup

from wise_merge.cli import main
from wise_merge.errors import WiseMergeError
from wise_merge.estimators.bias_variance import bias_and_variance
from wise_merge.report.computing import numbers_of
from wise_merge.report.figures import draw
from wise_merge.report.page import page
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


@pytest.mark.parametrize("steps", [(25, 400, 800), (None, None, None)], ids=["steps", "no steps"])
def test_without_an_alpha_no_picture_speaks_of_one(steps, tmp_path):
    """Marks with names; a line only along training, where the steps are known."""
    results = make_soup(tmp_path / "results", steps=steps, temperatures=(0.7, 1.0))
    paths = [path for path in draw(numbers_of(results), tmp_path / "figures") if path.suffix == ".svg"]
    training = ["along-training"] if steps[0] else []
    kinds = [f"{kind}-T-{t}" for t in ("0.7", "1") for kind in ["curves", "by-model", *training, "histogram"]]
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
