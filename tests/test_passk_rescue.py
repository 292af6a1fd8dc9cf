"""What is left of an evaluation that ends by an error after the sampling, in the real lm-eval."""

import json
import tempfile

import pytest
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from support.tasks import Scripted, Telling, evaluate

from wise_merge.errors import WiseMergeError
from wise_merge.results.reading.rows import task_of
from wise_merge.tasks import tasks_directory
from wise_merge.tasks.rescue import save


def rescued(folder, task):
    """Return the rows of the one file of a task."""
    (path,) = folder.glob(f"samples_{task}_*.jsonl")
    return path, [json.loads(line) for line in path.read_text().splitlines()]


def test_completions_are_kept_when_a_backend_lost_some(two_problems, tmp_path, monkeypatch, caplog):
    """The error names the problem, the log the file, and `wise-merge score` reads it; all tasks of the run are kept."""
    from wise_merge.results.reading.samples import read_samples

    class Forgetful(Scripted):
        """Gives lm-eval one completion of the first problem only."""

        def generate_until(self, requests, disable_tqdm=False):
            answers = super().generate_until(requests)
            first = requests[0]
            first.resps = _AtMost(1)
            return answers

    monkeypatch.chdir(tmp_path)
    manager = TaskManager(
        include_defaults=False,
        include_path=tasks_directory(),
        metadata={"repeats": 2, "data_file": {"countdown_passk": two_problems}, "problems": 3},
    )
    with pytest.raises(WiseMergeError, match="countdown_passk: problem 0 has 1 completions where 2 were asked for"):
        simple_evaluate(
            Forgetful(lambda prompt: ["(9-5)*6", None]),
            tasks=["countdown_passk", "sudoku4_passk"],
            task_manager=manager,
        )
    path, rows = rescued(tmp_path, "countdown_passk")
    assert [row["resps"] for row in rows] == [[["(9-5)*6"]], [["(9-5)*6", ""]]]
    assert len(rescued(tmp_path, "sudoku4_passk")[1]) == 3
    assert f"all that was sampled is in {path}, which `wise-merge score` reads" in caplog.text
    samples = read_samples(path)
    assert (samples.benchmark.name, samples.rejected) == ("countdown", ())
    assert [problem.answers for problem in samples.problems] == [("(9-5)*6",), ("(9-5)*6", None)]


class _AtMost(list):
    """A list that drops what is more than so many."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def append(self, entry):
        if len(self) < self.most:
            super().append(entry)


@pytest.fixture
def judging_fails(tmp_path, monkeypatch):
    """Judging runs out of memory on completions with a 9 in them; files of an evaluation land in `tmp_path`."""
    from wise_merge.answers import benchmarks

    original = benchmarks.judge

    def judge(benchmark, problems, **settings):
        if any("9" in text for _, texts in problems for text in texts):
            raise MemoryError
        return original(benchmark, problems, **settings)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(benchmarks, "judge", judge)


def test_completions_are_kept_when_judging_fails(two_problems, tmp_path, judging_fails):
    """Whatever the error is; what other errors write, such as those before the sampling, is nothing."""
    with pytest.raises(MemoryError):
        evaluate(Scripted(lambda prompt: ["9", "8"]), repeats=2, data_file=two_problems)
    path, rows = rescued(tmp_path, "countdown_passk")
    assert [row["resps"] for row in rows] == [[["9", "8"]]] * 2
    path.unlink()
    with pytest.raises(WiseMergeError, match="greedy"):
        evaluate(Scripted(lambda prompt: ["9", "8"]), repeats=2, data_file=two_problems, gen_kwargs={"temperature": 0})
    assert not list(tmp_path.glob("samples_*"))


def test_what_the_model_told_is_kept_too(two_problems, tmp_path, judging_fails):
    """How each completion ended and how probable it was, as in the samples of a run that came to its end."""
    from wise_merge.results.reading.samples import read_samples

    drawn = [("9", "length", -0.5), ("8", "stop", -1.5)]
    with pytest.raises(MemoryError):
        evaluate(Telling(lambda prompt: drawn), repeats=2, data_file=two_problems)
    path, rows = rescued(tmp_path, "countdown_passk")
    assert rows[0]["curve"] == {"finish_reason": ["length", "stop"], "tokens": [1, 1], "logprob": [-0.5, -1.5]}
    assert [(problem.cut_off, problem.scores) for problem in read_samples(path).problems] == [
        (1, {"curve.logprob": (-0.5, -1.5)})
    ] * 2


def test_a_file_is_never_written_over(tmp_path, monkeypatch):
    """Each has a name of its own, also those of several processes, and all are called like lm-eval's samples."""
    monkeypatch.chdir(tmp_path)
    paths = [save("gsm8k_passk", [{"doc_id": 1}], rank) for rank in (0, 0, 1, 2)]
    assert len(set(paths)) == 4
    assert {task_of(path) for path in paths} == {"gsm8k_passk"}
    assert all(path.parent == tmp_path and json.loads(path.read_text()) == {"doc_id": 1} for path in paths)


def test_there_is_another_folder_if_the_current_one_is_gone(tmp_path, monkeypatch, caplog):
    """The one for temporary files; if that fails too, the log says so and no further error is raised."""
    (tmp_path / "gone").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    path = save("gsm8k_passk", [{"doc_id": 1}], 0)
    assert path.parent == tmp_path / "temporary"
    path.unlink()
    path.parent.rmdir()
    assert save("gsm8k_passk", [{"doc_id": 1}], 0) is None
    assert "cannot be written" in caplog.text
