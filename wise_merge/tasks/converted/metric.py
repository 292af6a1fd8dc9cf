"""Which metric of a task says right or wrong: found by what the metrics say of made-up completions, or as asked."""

import numbers
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.metrics import mean

from wise_merge.errors import WiseMergeError
from wise_merge.text import enumeration, near

#: In the names of metrics of a share of what was right, or of likeness to the gold: these are no verdicts, even where
#: each of a few is 0 or 1. The second half begins longer words too, such as bertscore.
_SHARES = re.compile(
    r"(?<![a-z])(?:(?:f1|ter|wer|cer|similarity|recall|precision)(?![a-z])|rouge|bleu|chrf|bert|meteor)"
)


@dataclass(frozen=True, order=True)
class Metric:
    """A metric of a task behind one of its filters."""

    name: str
    filter: str

    def title(self, filters: Sequence[str]) -> str:
        """Return the name as it stands in the results, with the filter only where there are several."""
        return f"{self.name}[{self.filter}]" if len(filters) > 1 else self.name

    def __str__(self) -> str:
        return f"{self.name},{self.filter}"


#: What the metrics of a task say of one completion.
Values = Mapping[Metric, Any]


def choose(
    probed: Iterable[Values],
    *,
    asked: str | None,
    aggregations: Mapping[str, Callable[..., Any]],
    higher_is_better: Mapping[str, bool],
) -> Metric:
    """Return the metric that says right or wrong.

    Args:
        probed: what the metrics say of made-up completions, in the order in which the task has them.
        asked: `NAME` or `NAME,FILTER` if the user names it.
        aggregations: of each metric, by name.
        higher_is_better: likewise.
    """
    seen: dict[Metric, list[Any]] = {}
    for values in probed:
        for metric, value in values.items():
            seen.setdefault(metric, []).append(value)
    reasons = {
        metric: _why_no_verdict(metric, values, aggregations.get(metric.name, mean), higher_is_better)
        for metric, values in seen.items()
    }
    verdicts = [metric for metric, reason in reasons.items() if reason is None]
    if asked is None:
        likely = [metric for metric in verdicts if not _SHARES.search(metric.name.lower())]
        if likely:
            return likely[0]
        if verdicts:
            raise WiseMergeError(
                f"no metric of it says right or wrong by its name ({_listed(verdicts)}); if one does, name it with "
                f'--metadata \'{{"metric": "{verdicts[0]}"}}\''
            )
        raise WiseMergeError(f"no metric of it says right or wrong: {_explained(reasons)}")
    name, _, filter_name = asked.partition(",")
    meant = [metric for metric in seen if metric.name == name and filter_name in ("", metric.filter)]
    if not meant:
        alike = near(name, [metric.name for metric in seen])
        first = next((metric for metric in seen if metric.name in alike), None)
        raise WiseMergeError(
            f"it has no metric {asked!r}; it has {_listed(seen)}" + (f"; did you mean {first}?" if first else "")
        )
    if reasons[meant[0]] is not None:
        raise WiseMergeError(
            f"the metric {meant[0]} says not right or wrong: it {reasons[meant[0]]}; "
            + (f"those that do are {_listed(verdicts)}" if verdicts else "none of its metrics does")
        )
    return meant[0]


def verdict(metric: Metric, value: Any) -> bool:
    """Return what a metric says of a completion; raises a `WiseMergeError` if it is neither 0 nor 1."""
    if not _is_number(value) or float(value) not in (0.0, 1.0):
        raise WiseMergeError(
            f"its metric {metric} says {value!r} of a completion, which is neither right (1) nor wrong (0); "
            'name another with --metadata \'{"metric": "NAME,FILTER"}\''
        )
    return bool(value)


def is_mean(aggregation: Callable[..., Any]) -> bool:
    """Return whether an aggregation of lm-eval is the mean, whose standard error it knows."""
    return aggregation is mean


def _why_no_verdict(
    metric: Metric, values: Sequence[Any], aggregation: Callable[..., Any], higher_is_better: Mapping[str, bool]
) -> str | None:
    if not all(map(_is_number, values)):
        return "is computed from all problems at once, or has several values for one"
    others = [value for value in values if float(value) not in (0.0, 1.0)]
    if others:
        return f"gives {float(others[0]):.4g}"
    if not is_mean(aggregation):
        return "is not the mean of what it gives for each problem"
    return None if higher_is_better.get(metric.name, True) else "is better where it is lower"


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real)


def _listed(metrics: Iterable[Metric]) -> str:
    return enumeration(map(str, metrics), "and")


def _explained(reasons: Mapping[Metric, str | None]) -> str:
    return "; ".join(f"{metric} {reason}" for metric, reason in reasons.items()) or "it has none"
