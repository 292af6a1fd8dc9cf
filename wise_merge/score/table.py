"""The figures as text of at most 100 columns."""

import math
import textwrap
from collections.abc import Sequence

from wise_merge.results.cells import difference, number, with_error, with_interval
from wise_merge.results.comparison import Comparison, MetricDifference
from wise_merge.results.export import Scored
from wise_merge.results.names import cut, middle_cut
from wise_merge.results.summary import Curve, Estimate, Summary
from wise_merge.text import counted, printable, table

_WIDTH = 100
_CELL = 27  # 0.412 ± 0.011 [0.390,0.434]
_BLOCKS = 3
_DIVERSITIES = ("answer diversity", "operation diversity", "semantic diversity")


def of_file(one: Scored) -> str:
    """Return the figures of one file."""
    summary, samples = one.summary, one.samples
    n = f"{summary.n_low}" if summary.n_low == summary.n_high else f"{summary.n_low} to {summary.n_high}"
    lines = [middle_cut(one.name, _WIDTH), f"{counted(summary.problems, 'problem')}, n = {n} samples each; {_how(one)}"]
    columns = _columns(one)
    lines += [f"columns: {', '.join(columns)}"] * bool(columns)
    if samples.rejected:
        lines.append(f"note: {counted(len(samples.rejected), 'row')} rejected, and the figures are without them")
    lines += [f"note: {note}" for note in (*samples.notes, *one.verdicts.notes, *summary.notes)]
    if summary.n_low != summary.n_high:
        lines.append(
            f"note: n differs between problems, so curves end at the smallest, k = {summary.n_low}; "
            "`all` takes all samples of each problem"
        )
    lines += ["", *_curves(summary), "", *_facts(one)]
    return "\n".join(part for line in lines for part in _wrapped(printable(line)))


def overview(scored: Sequence[Scored]) -> str:
    """Return several files side by side, at the k that all of them have."""
    shared = [k for k in scored[0].summary.reported if all(k in one.summary.reported for one in scored)]
    last = max((k for k in shared if k > 1), default=None)
    shown = [("pass@k", 1)] + ([("pass@k", last), ("maj@k", last)] if last else [])
    names = cut([one.name for one in scored], 36)
    rows = [["", "problems", *(name.replace("@k", f"@{k}") for name, k in shown)]]
    for name, one in zip(names, scored, strict=True):
        cells = [_estimate(one.summary.curve(metric), k) for metric, k in shown]
        rows.append([name, str(one.summary.problems), *cells])
    return "\n".join(table(rows, "<><"))


def of_comparison(comparison: Comparison) -> str:
    """Return the paired differences of two files."""
    second, first = cut([comparison.second, comparison.first], (_WIDTH - len(" minus ")) // 2)
    lines = [
        f"{second} minus {first}",
        f"{counted(comparison.problems, 'problem')}, paired: difference ± standard error [95 % interval], "
        "permutation p, detectable",
        "",
    ]
    names = list(dict.fromkeys(compared.name for compared in comparison.compared))
    lines.append(f"{'k':>5}  " + "  ".join(f"{name:44}" for name in names).rstrip())
    for k in dict.fromkeys(compared.k for compared in comparison.compared):
        row = [one for one in comparison.compared if one.k == k]
        lines.append(f"{k:5}  " + "  ".join(map(_compared, row)).rstrip())
    if comparison.problems == 1:
        lines += ["", "- unknown, as one problem does not tell how far others differ"]
    elif any(math.isnan(one.difference.low) for one in comparison.compared):
        lines += ["", "- unknown, as all problems differ by the same, which does not tell how far others do"]
    return "\n".join(lines)


def _wrapped(line: str) -> list[str]:
    """Return a sentence in lines that are no longer than those of the table."""
    return textwrap.wrap(line, _WIDTH, subsequent_indent="  ", break_on_hyphens=False) if len(line) > _WIDTH else [line]


def _how(one: Scored) -> str:
    if one.samples.benchmark is None:
        return one.samples.why
    return f"answers read as {one.samples.benchmark.name} ({one.samples.why})"


def _columns(one: Scored) -> list[str]:
    if one.samples.task:
        return []  # lm-eval's own
    columns = one.samples.columns
    named = [*columns.roles.items(), *([("scores", ", ".join(columns.scores))] if columns.scores else [])]
    return [f"{role} = {column}" for role, column in named if role != column]


def _curves(summary: Summary) -> list[str]:
    shown = [curve for curve in summary.curves if curve.name not in _DIVERSITIES]
    if summary.n_high == 1:
        # At n = 1 all of them are the share of correct samples.
        shown = shown[:1]
    lines = []
    for start in range(0, len(shown), _BLOCKS):
        block = shown[start : start + _BLOCKS]
        with_bound = start == 0 and summary.reported[-1] > 1
        heads = [[f"{'k':>5}"] + [f"{curve.name:{_CELL}}" for curve in block]]
        if any(curve.scorer for curve in block):
            by = [f"by {middle_cut(curve.scorer, _CELL - 3)}" if curve.scorer else "" for curve in block]
            heads.append([" " * 5] + [f"{scorer:{_CELL}}" for scorer in by])
        if with_bound:
            for head, word in zip(heads, ("bound", "     "), strict=False):
                head.insert(2, word)
        lines += [""] * bool(start) + ["  ".join(head).rstrip() for head in heads]
        for k in summary.reported:
            cells = [f"{k:5}"] + [_cell(curve.at(k)) for curve in block]
            if with_bound:
                bound = summary.bound[k - 1]
                cells.insert(2, "     " if math.isnan(bound) else f"{bound:5.3f}")
            lines.append("  ".join(cells).rstrip())
        if any(curve.of_all for curve in block):
            cells = ["  all"] + [_cell(curve.of_all) for curve in block]
            if with_bound:
                cells.insert(2, " " * 5)
            lines.append("  ".join(cells).rstrip())
    return lines


def _facts(one: Scored) -> list[str]:
    summary, agreement = one.summary, one.verdicts.agreement
    lines = ["± one standard error, [95 % interval], both over problems; bound on pass@k by proposition 6.1"]
    if summary.problems == 1:
        lines = ["- unknown: one problem does not tell what others give, so no standard error, interval or bound"]
    lines.append(f"bias      E[1 - rho] = {summary.bias:.4f}, Var(rho) = {_variance(summary)}")
    if summary.n_high > 1:
        lines += _diversity(summary)
    audit = []
    if summary.unanswered is not None:
        audit.append(f"{100 * summary.unanswered:.2f} % of samples without an answer")
    if summary.identical is not None and summary.n_high > 1:
        audit.append(f"{counted(summary.identical, 'problem')} whose samples are all identical")
    if audit:
        lines.append(f"audit     {', '.join(audit)}")
    if summary.cut_off is not None:
        lines.append(f"cut off   {100 * summary.cut_off:.2f} % of samples, at the longest completion allowed")
    if agreement is not None:
        same = agreement.both_right + agreement.both_wrong
        lines.append(
            f"verdicts  {same:,} of the file's {agreement.samples:,} agree; right by us alone "
            f"{agreement.only_ours_right:,}, by the file alone {agreement.only_theirs_right:,}"
        )
    if summary.detectable[0][1] > 0:
        ends = dict.fromkeys([summary.detectable[0], summary.detectable[-1]])
        sizes = ", ".join(f"{effect:.3f} in pass@{k}" for k, effect in ends)
        lines.append(f"power     detectable between two such runs: {sizes} (80 %, unpaired)")
    return lines


def _diversity(summary: Summary) -> list[str]:
    k = summary.reported[-1]
    lines = []
    shares = [curve for curve in summary.curves if curve.name in _DIVERSITIES and curve.scorer is None]
    if shares:
        values = ", ".join(f"{curve.name.removesuffix(' diversity')} {_estimate(curve, k)}" for curve in shares)
        lines.append(f"diversity {values} (distinct per sample, at k = {k})")
    for curve in summary.curves:
        if curve.name == "semantic diversity":
            lines.append(f"diversity semantic {_estimate(curve, curve.k[0])} (by {middle_cut(curve.scorer or '', 60)})")
    return lines


def _variance(summary: Summary) -> str:
    if not math.isnan(summary.variance):
        return f"{summary.variance:.4f} (unbiased)"
    return "unknown from one problem" if summary.problems == 1 else "unknown, as problems have one sample"


def _estimate(curve: Curve | None, k: int) -> str:
    return (
        f"{'':13}" if curve is None or k not in curve.k else with_error(curve.at(k).value, curve.at(k).standard_error)
    )


def _cell(of: Estimate | None) -> str:
    return " " * _CELL if of is None else with_interval(of)


def _compared(one: MetricDifference) -> str:
    p = f"p={one.difference.p_value:.3f}" if one.difference.p_value >= 0.001 else "p<0.001"
    # Without spread there is no standard error, so no detectable difference.
    detectable = math.nan if math.isnan(one.difference.low) else one.detectable
    return f"{difference(one.difference)} {p} {number(detectable, '5.3f', 5)}"
