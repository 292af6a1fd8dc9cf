"""What W&B, Trackio and TensorBoard are told of a sweep, read back from what they wrote, and what a bad one costs."""

import json
import os
import signal
import sqlite3
import sys
import time

import pytest
from click.testing import CliRunner
from support.sweeps import TASK, sweep, write
from support.trackers import recorded
from support.wandb_files import records

from wise_merge.cli import main
from wise_merge.points import read_results
from wise_merge.points.summary import summary_of
from wise_merge.search.engines import reporting
from wise_merge.trackers.contract import TRACKERS, Curve, Run, open_run
from wise_merge.trackers.process import Order, Trackers

#: A short sweep: three points of one run, and with another alpha a fourth.
SHORT = {"temperatures": [1.0], "alphas": [0.3], "run": None, "limit": 6}
CURVES = [
    Curve("a, T 1", (1, 2, 4), (0.2, 0.3, 0.5), (0.1, 0.2, 0.3), (0.3, 0.4, 0.6)),
    Curve("b", (1,), (0.4,), (None,), (None,)),
]


def ends(place):
    return {"early": str(place / "run/checkpoint-1"), "late": str(place / "run/checkpoint-2")}


def a_run(folder, resumed=False):
    return Run("results", "0123abcd", resumed, folder, {"method": "wise_ft", "samples": 4})


def write_a_run(name, folder):
    """Two steps, curves and the page, then a later command with a third step and more curves."""
    page = folder / "report.html"
    page.write_text("<!doctype html><title>A report</title>")
    for resumed, steps in ((False, (0, 1)), (True, (2,))):
        tracker = open_run(TRACKERS[name], a_run(folder, resumed))
        for step in steps:
            tracker.log(step, f"alpha {step}", {"point/alpha": float(step), "t/pass@1": 0.25 * step})
        tracker.log_curves("t/pass@k", CURVES)
        tracker.log_page(page)
        tracker.finish()


def test_tensorboard_has_steps_and_curves_against_k(tmp_path, monkeypatch):
    """A later command adds its step to the same folder, and its curves take the place of those from before."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    write_a_run("tensorboard", tmp_path)

    def read(folder):
        found = accumulators.EventAccumulator(str(folder))
        found.Reload()
        return found

    found = read(tmp_path / "tensorboard")
    assert [(one.step, one.value) for one in found.Scalars("t/pass@1")] == [(0, 0.0), (1, 0.25), (2, 0.5)]
    assert found.Tags()["images"] == ["t/pass@k"]
    assert {tag.removesuffix("/text_summary") for tag in found.Tags()["tensors"]} == {"title", "settings", "report"}
    curves = {path.name: read(path) for path in (tmp_path / "tensorboard/curves").iterdir()}
    assert sorted(curves) == ["a_T_1", "b"]
    assert [(one.step, pytest.approx(one.value)) for one in curves["a_T_1"].Scalars("t/pass@k")] == [
        (1, 0.2), (2, 0.3), (4, 0.5),
    ]  # fmt: skip


def test_trackio_has_steps_curves_and_the_page(tmp_path, monkeypatch):
    """In one run, which a later command resumes by its name; the page is an artifact of it."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("TRACKIO_PROJECT", "sweeps")
    # It reads its folder when it is imported.
    for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)
    pytest.importorskip("trackio")
    write_a_run("trackio", tmp_path)
    with sqlite3.connect(tmp_path / "trackio/sweeps.db") as database:
        rows = [
            (*one, json.loads(told)) for *one, told in database.execute("select run_name, step, metrics from metrics")
        ]
        artifacts = list(database.execute("select name, type from artifacts"))
    assert {name for name, _, _ in rows} == {"results-0123"}
    assert [(step, told["t/pass@1"]) for _, step, told in rows if "t/pass@1" in told] == [(0, 0.0), (1, 0.25), (2, 0.5)]
    curves = [told for _, _, told in rows if "t/pass@k" in told]
    assert [one["t/pass@k"]["_type"] for one in curves] == ["trackio.html"] * 2
    assert curves[0]["t/pass@k, table"]["_value"][0] == {"model": "a, T 1", "k = 1": 0.2, "k = 2": 0.3, "k = 4": 0.5}
    assert artifacts == [("report-results-0123", "report")]


def test_wandb_has_steps_a_chart_of_curves_and_the_page(tmp_path, monkeypatch):
    """Offline; a later command writes another folder of the same run, and `wandb sync` puts them together."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_PROJECT", "sweeps")
    write_a_run("wandb", tmp_path)
    # As at the end of a process: what writes the files is one of its own.
    wandb.teardown()
    rows, artifacts = [], []
    for path in sorted(tmp_path.glob("wandb/offline-run-*/run-0123abcd.wandb")):
        for record in records(path):
            if record.WhichOneof("record_type") == "run":
                assert (record.run.project, record.run.display_name) == ("sweeps", "results")
            rows += [record.history] if record.WhichOneof("record_type") == "history" else []
            artifacts += [record.artifact] if record.WhichOneof("record_type") == "artifact" else []
    told = [
        (row.step.num, {"/".join(item.nested_key) or item.key: item.value_json for item in row.item}) for row in rows
    ]
    assert [(step, float(row["t/pass@1"])) for step, row in told if "t/pass@1" in row] == [
        (0, 0.0),
        (1, 0.25),
        (2, 0.5),
    ]
    assert [row["t/pass@k_table/nrows"] for _, row in told if "t/pass@k_table/nrows" in row] == ["4", "4"]
    assert [one.name for one in artifacts if one.type == "report"] == ["report-0123abcd"] * 2


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Where the tracker that stands in for TensorBoard writes what a sweep tells it."""
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("RECORDED", str(tmp_path / "told"))
    monkeypatch.setitem(TRACKERS, "tensorboard", "support.trackers:Recording")
    return tmp_path / "told"


def test_a_sweep_tells_of_each_point_once(place, told, tmp_path):
    """The figures of the results, the curves of all points and the page; a later command goes on in the same run."""
    out = tmp_path / "results"
    sweep(place, out, "--report-to", "tensorboard", **{**SHORT, **ends(place)})
    first = recorded(told)
    outcomes = {one.point.title: one for one in read_results(out).outcomes}
    assert [(step, title) for step, title, _ in first["log"]] == list(enumerate(outcomes))
    for _, title, figures in first["log"]:
        passed = summary_of(outcomes[title]).curve("pass@k")
        assert figures["point/alpha"] == outcomes[title].point.alpha
        assert [figures[f"{TASK}/pass@{k}"] for k in (1, 2, 4, 6)] == [passed.at(k).value for k in (1, 2, 4, 6)]
        assert figures[f"{TASK}/pass@1 low"] <= figures[f"{TASK}/pass@1"] <= figures[f"{TASK}/pass@1 high"]
        assert {f"{TASK}/{name}" for name in ("maj@6", "unanswered", "cut off", "answer diversity@6")} <= set(figures)
    assert [[name, [label for label, _, _ in curves]] for name, curves in first["curves"]] == [
        [f"{TASK}/pass@k", list(outcomes)]
    ]
    assert first["page"] == [[str(out / "report.html")]]
    assert len(first["finish"]) == 1

    said = sweep(place, out, "--report-to", "tensorboard", **{**SHORT, **ends(place), "alphas": [0.3, 0.7]})
    second = recorded(told)
    assert "Reported to tensorboard." in said
    assert [(key, resumed) for key, resumed, _ in second["run"]] == [(first["run"][0][0], bool(n)) for n in (0, 1)]
    assert [(step, title) for step, title, _ in second["log"][3:]] == [(3, "checkpoint-2, alpha 0.7, T 1")]
    assert [label for label, _, _ in second["curves"][1][1]] == [one.point.title for one in read_results(out).outcomes]


def test_a_point_that_is_stopped_early_is_told_when_that_is_known(place, told, tmp_path):
    """A sweep in rounds tells of a point once, with the samples that it has in the end."""
    out = tmp_path / "results"
    changes = {**SHORT, **ends(place), "samples": 8, "until_ci": 0.2}
    sweep(place, out, "--report-to", "tensorboard", **changes)
    outcomes = {one.point.title: one for one in read_results(out).outcomes}
    assert {one.stopped for one in outcomes.values()} & {"interval"}
    steps = recorded(told)["log"]
    assert sorted(title for _, title, _ in steps) == sorted(outcomes)
    for _, title, figures in steps:
        assert (f"{TASK}/pass@8" in figures) == (outcomes[title].n == 8)


def test_a_bad_tracker_is_named_once_and_stalls_nobody(tmp_path, monkeypatch):
    """One hangs from the start, one loses its network and one is killed: what a fourth is told is whole."""
    monkeypatch.setenv("RECORDED", str(tmp_path / "told"))
    warned, said = [], []
    kinds = ("Hanging", "Failing", "Recording", "Hanging")
    orders = [Order(f"{kind} {n}", f"support.trackers:{kind}", tmp_path, "r", {}, 4.0) for n, kind in enumerate(kinds)]
    trackers = Trackers(orders, warned.append)
    killed = trackers._children[3].process
    os.kill(killed.pid, signal.SIGKILL)
    started = time.monotonic()
    for number in range(4):
        trackers.log(f"key {number}", f"point {number}", {"pass@1": 0.5})
    # Far more than a pipe holds.
    trackers.log_curves("pass@k", [Curve("a" * 100, tuple(range(9999)), (0.5,) * 9999, (None,) * 9999, (None,) * 9999)])
    # One that waited for the hanging one would wait for an hour.
    assert time.monotonic() - started < 30
    # The two that listen have heard everything before the rest of it is waited for, however busy the machine is.
    while len(recorded(tmp_path / "told").get("curves", ())) < 2 and time.monotonic() - started < 60:
        time.sleep(0.05)
    assert trackers.close(1.0, said.append) == ["Recording 2"]
    assert [one.partition(":")[0] for one in sorted(warned)] == [f"report to {kinds[n]} {n}" for n in (1, 0, 3)]
    assert any("ConnectionError: the network is gone; everything else goes on" in one for one in warned)
    assert not any("long story" in one for one in warned)
    assert said == ["Waiting for Hanging 0 to take the rest, 1 s at most ..."]
    steps = recorded(tmp_path / "told")["log"]
    assert [step for step, title, _ in steps if title != "point 0"] == [1, 2, 3]
    assert [step for step, title, _ in steps if title == "point 0"] == [0, 0]  # of two trackers


@pytest.mark.parametrize(
    ("report_to", "line"),
    [
        ("wandbb", "report_to: there is no tracker 'wandbb'; did you mean wandb?"),
        ("wandb,nonsense", "report_to: there is no tracker 'nonsense'; there are wandb, trackio, tensorboard"),
    ],
)
def test_an_unknown_tracker_is_named_before_anything_is_sampled(place, tmp_path, report_to, line):
    """On the command line as in the file."""
    out = tmp_path / "refused"
    for options, changes in ((["--report-to", report_to], {}), ([], {"report_to": report_to.split(",")})):
        done = CliRunner().invoke(main, ["sweep", str(write(place, **changes)), "--out", str(out), *options])
        assert done.exit_code == 1
        assert done.output == f"Error: {line}\n"
    assert not out.exists()


def test_a_missing_library_is_named_before_anything_is_sampled(place, tmp_path, monkeypatch):
    """With what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = CliRunner().invoke(
        main, ["sweep", str(write(place)), "--out", str(tmp_path / "refused"), "--report-to", "trackio"]
    )
    assert done.exit_code == 1
    assert done.output == (
        "Error: --report-to trackio needs the package trackio: pip install 'wise-merge[trackers]', or trackio alone\n"
    )


def test_a_report_that_cannot_be_made_costs_a_warning(place, told, tmp_path, monkeypatch):
    """The results and the curves are there all the same."""
    monkeypatch.setattr(reporting, "PATIENCE", 10.0)
    (tmp_path / "results/report.html").mkdir(parents=True)
    out = tmp_path / "results"
    (out / "report.html").rmdir()
    monkeypatch.setattr("wise_merge.report.pipeline.write_report", lambda *_, **__: 1 / 0)
    sweep(place, out, "--report-to", "tensorboard", **{**SHORT, **ends(place)})
    assert "page" not in recorded(told)
    assert len(recorded(told)["curves"]) == 1
