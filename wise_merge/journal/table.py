"""What is in a folder of journals, as the table and the remarks of `wise-merge journal`."""

from collections.abc import Sequence
from typing import Any

from wise_merge import text
from wise_merge.journal.contents import UNKNOWN, Contents, KeptRun, evaluations

#: The settings that are shown, by lm-eval's and vLLM's names.
_SHOWN = (
    *("do_sample", "temperature", "top_p", "top_k", "min_p", "seed"),
    *("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"),
)
_LEFT = ("run", "task", "model", "settings")


def table(contents: Contents) -> str:
    """Return the runs as an aligned table, a line each, without blanks within a cell, so that it can be piped."""
    head = [*_LEFT, "problems", "samples", "n", "truncated", "tokens", "bytes", "damaged"]
    return "\n".join(text.table([head, *map(_row, contents.runs)], "<" * len(_LEFT) + ">"))


def remarks(contents: Contents) -> list[str]:
    """Return sentences on what the table does not show: damage, several evaluations, strange files."""
    sentences: list[str] = []
    for kept in contents.runs:
        if kept.damaged:
            files = ", ".join(path.name for path in kept.files)
            sentences.append(f"{files}: {_lines(kept.damaged)} damaged and left out, such as of a run that was killed")
        if kept.run is None:
            sentences.append(
                f"run {kept.fingerprint}: what it was drawn with stands in no line; the command that wrote it, run "
                "again, writes it anew"
            )
        count = sum(any(problem in kept.samples for problem, _ in rows) for rows in evaluations(kept))
        if count > 1:
            sentences.append(
                f"run {kept.fingerprint}: {count} evaluations with different problems, prompts or data; "
                "--out parts them"
            )
    for path, damaged in contents.strange.items():
        sentences.append(
            f"{path.name}: its name has no run's fingerprint, so no run goes on there; {_lines(damaged)} damaged"
        )
    return sentences


def _lines(count: int) -> str:
    return "1 line is" if count == 1 else f"{count} lines are"


def short_settings(kept: KeptRun) -> str:
    """Return the settings of a run that matter most, such as temperature=1,top_p=0.95,seed=1234."""
    settings = kept.run.settings if kept.run else {}
    shown = [
        f"{name}={_one_word(settings[name])}"
        for name in _SHOWN
        # do_sample=True is the rule and is not shown.
        if settings.get(name) is not None and (name, settings[name]) != ("do_sample", True)
    ]
    return ",".join(shown) or UNKNOWN


def _row(kept: KeptRun) -> list[str]:
    samples = [sample for of_problem in kept.samples.values() for sample in of_problem.values()]
    truncated = sum(sample.finish_reason == "length" for sample in samples)
    problems = {ask.problem for ask in kept.problems} | kept.samples.keys()
    return [
        kept.fingerprint,
        _one_word(kept.task),
        _one_word(kept.model),
        short_settings(kept),
        str(len(problems)),
        str(len(samples)),
        _range([len(kept.samples.get(problem, ())) for problem in problems]),
        f"{100 * truncated / len(samples):.1f}%" if samples else "-",
        str(sum(sample.tokens for sample in samples)),
        str(kept.bytes),
        str(kept.damaged),
    ]


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return str(low) if low == high else f"{low}-{high}"


def _one_word(value: Any) -> str:
    """Return the value without blanks and control characters."""
    text = "_".join(str(value).split())
    return "".join(letter if letter.isprintable() else "_" for letter in text) or UNKNOWN
