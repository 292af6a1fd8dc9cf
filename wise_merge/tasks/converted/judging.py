"""What a task of lm-eval says of single completions: each goes through all its filters and metrics, alone.

This is what lm-eval does where it draws one completion per problem, so the verdicts are its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance

from wise_merge.answers.benchmarks import Document, Judged
from wise_merge.tasks.converted.metric import Metric, Values

#: From a problem and what the filters made of its completion to the metrics, as `process_results` of a task.
ProcessResults = Callable[[Document, Sequence[Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class Scored:
    """A completion as a task sees it.

    Attributes:
        responses: by filter, what it made of the completion.
        values: of the metrics behind each filter.
    """

    responses: Mapping[str, Any]
    values: Values


@dataclass(frozen=True)
class JudgedByTask(Judged):
    """The judged samples of a problem, with what the other metrics of the task say of each."""

    others: Mapping[Metric, tuple[Any, ...]]


def score(
    pairs: Sequence[tuple[Document, str]], *, filters: Sequence[Any], process_results: ProcessResults
) -> list[Scored | Exception]:
    """Return what a task says of completions, of each that its code fails on the error.

    Args:
        pairs: of a problem and one completion.
        filters: the filter pipelines of the task.
        process_results: of the task.
    """
    instances = [
        # Without what a completion knows of its sampling: lm-eval makes other texts of its class.
        Instance("generate_until", doc=dict(doc), arguments=("", {}), idx=0, resps=[str(text)])
        for doc, text in pairs
    ]
    errors = _filter(instances, filters)
    return [errors.get(id(instance)) or _score(instance, process_results) for instance in instances]


def _filter(instances: Sequence[Any], filters: Sequence[Any]) -> dict[int, Exception]:
    """Have the filters set `filtered_resps`; return the errors of those they fail on, by `id`.

    All at once, as some filters take long to be made; where they fail, on either half.
    """
    if not instances:
        return {}
    try:
        for pipeline in filters:
            pipeline.apply(instances)
    except Exception as error:
        if len(instances) == 1:
            return {id(instances[0]): error}
        middle = len(instances) // 2
        return _filter(instances[:middle], filters) | _filter(instances[middle:], filters)
    return {}


def _score(instance: Any, process_results: ProcessResults) -> Scored | Exception:
    values: dict[Metric, Any] = {}
    try:
        for name, response in instance.filtered_resps.items():
            # A copy, as metrics may change what they are given.
            metrics = process_results(dict(instance.doc), [response])
            values |= {Metric(metric, name): value for metric, value in metrics.items()}
    except Exception as error:
        return error
    return Scored(dict(instance.filtered_resps), values)
