"""From a folder of journals to files that `wise-merge score` reads, with lm-eval's layout and names.

OUT/<model>-<run>/samples_<task>_<date>.jsonl, one row per problem as of `--log_samples`, with what only the
journal knows in parallel lists.
"""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.journal.contents import Contents, KeptRun, evaluations
from wise_merge.journal.evaluations import Rows
from wise_merge.journal.files import as_file_name
from wise_merge.journal.records import Ask, Problem

#: Problems that are named one by one.
_SHOWN = 10


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: of the file.
        problems: how many rows.
        most: samples of the problem that has most of them.
        fewer: number (or id) of each problem that has fewer -> how many; 0 = left out, as there is nothing of it.
        lost: samples without their problem, whose line is damaged; they are left out.
        judged_by: the metric and task of lm-eval that judge them, whose verdicts a journal does not hold; None = one
            of our benchmarks does, as `wise-merge score` will.
    """

    path: Path
    problems: int
    most: int
    fewer: dict[str, int]
    lost: int
    judged_by: str | None = None


def export(contents: Contents, out: Path) -> list[Exported]:
    """Write the samples of each run to a file of its own below `out`, and return what was written.

    Raises a `WiseMergeError`, before anything is written, if one of the files is there already or if
    there is nothing to write.
    """
    todo = [
        (kept, rows, _path(out, kept, number))
        for kept in contents.runs
        for number, rows in enumerate(evaluations(kept), start=1)
        if any(kept.samples.get(problem.id) for problem in _known(kept, rows))
    ]
    if not todo:
        raise WiseMergeError(
            "the journal holds no samples whose problem is known; the command that wrote it, run again, goes on there"
        )
    for _, _, path in todo:
        if path.exists():
            raise WiseMergeError(f"{path} is there already; give another folder to export to, or remove it")
    return [_write(kept, rows, path) for kept, rows, path in todo]


def sentence(exported: Exported) -> str:
    """Return what was written in a line or three: the file, and which problems have fewer samples than others."""
    lines = [f"{exported.path}: {exported.problems} problems, up to {exported.most} samples each"]
    if exported.fewer:
        counts = [f"{problem} ({count or 'none, left out'})" for problem, count in exported.fewer.items()]
        shown = ", ".join(counts[:_SHOWN]) + (f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else "")
        lines.append(f"  incomplete: problem {shown}; the same lm_eval command, run again, draws what is missing")
    if exported.judged_by:
        lines.append(
            f"  without verdicts, which are those of {exported.judged_by}: the same lm_eval command, run again with "
            "--log_samples, draws nothing and writes samples that wise-merge score reads"
        )
    if exported.lost:
        lines.append(
            f"  left out: {exported.lost} samples whose problem is in a damaged line; the same lm_eval command, run "
            "again, writes it anew"
        )
    return "\n".join(lines)


def _path(out: Path, kept: KeptRun, number: int) -> Path:
    date = datetime.fromtimestamp(kept.changed).isoformat(timespec="microseconds").replace(":", "-")
    again = f"-{number}" if number > 1 else ""
    folder = f"{_file_name(Path(kept.model).name)}-{kept.fingerprint}{again}"
    return out / folder / f"samples_{_file_name(kept.task)}_{date}.jsonl"


def _file_name(text: str) -> str:
    return as_file_name(text, keep_end=True) or "_"


def _known(kept: KeptRun, rows: Rows) -> list[Problem]:
    """Return the problems of an evaluation whose lines are whole."""
    asks = [Ask(problem, doc_id, facts) for (problem, doc_id), facts in rows.items()]
    return [kept.problems[ask] for ask in asks if ask in kept.problems]


def _write(kept: KeptRun, rows: Rows, path: Path) -> Exported:
    problems = _known(kept, rows)
    counts = {problem.id: len(kept.samples.get(problem.id, ())) for problem in problems}
    most = max(counts.values())
    # By number, as in lm-eval's files; problems without one come last, by their id.
    ordered = sorted(problems, key=lambda problem: (problem.doc_id is None, problem.doc_id or 0, problem.id))
    written = [problem for problem in ordered if counts[problem.id]]
    known = all(sample.logprob is not None for problem in written for sample in kept.samples[problem.id].values())
    asked = {ask.problem for share in kept.asked for ask in share.asks}
    # Samples whose problem is in no line may be of any evaluation.
    stray = kept.samples.keys() - {ask.problem for ask in kept.problems} - asked
    lost = ({problem for problem, _ in rows} | stray) - {problem.id for problem in problems}
    _write_rows(path, (_row(kept, problem, with_logprob=known) for problem in written))
    return Exported(
        path,
        len(written),
        most,
        {_number(problem): counts[problem.id] for problem in ordered if counts[problem.id] < most},
        sum(len(samples) for problem, samples in kept.samples.items() if problem in lost),
        kept.run.judged_by if kept.run else None,
    )


def _number(problem: Problem) -> str:
    return problem.id if problem.doc_id is None else str(problem.doc_id)


def _row(kept: KeptRun, problem: Problem, *, with_logprob: bool) -> dict[str, Any]:
    samples = [sample for _, sample in sorted(kept.samples[problem.id].items())]
    settings = dict(kept.run.settings) if kept.run else {}
    return {
        "doc_id": problem.id if problem.doc_id is None else problem.doc_id,
        "doc": problem.doc,
        "target": problem.target,
        "arguments": {"gen_args_0": {"arg_0": problem.prompt, "arg_1": settings}},
        "resps": [[sample.text for sample in samples]],
        "filter": "none",
        "index": [sample.index for sample in samples],
        "finish_reason": [sample.finish_reason for sample in samples],
        "tokens": [sample.tokens for sample in samples],
        # A score that is missing for some samples could not rank a problem.
        **({"logprob": [sample.logprob for sample in samples]} if with_logprob else {}),
        "seed": [sample.seed for sample in samples],
        **({"judged_by": kept.run.judged_by} if kept.run and kept.run.judged_by else {}),
    }


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows under another name and rename the file, so that no half file is ever seen."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("x", encoding="ascii") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
    except OSError as error:
        raise WiseMergeError(f"{path} cannot be written: {error.strerror or error}") from error
