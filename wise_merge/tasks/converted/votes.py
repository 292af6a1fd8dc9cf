"""The votes of a converted task: the responses behind the task's own filters, equal where its metric calls them so."""

import numbers
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wise_merge.tasks.converted.metric import Metric

#: What lm-eval's filters `regex` and `multi_choice_regex` give where they find nothing, unless told otherwise.
_NOT_FOUND = "[invalid]"


#: Steps of a filter after which a completion is still the whole text.
_WHOLE = ("take_first", "remove_whitespace", "lowercase", "uppercase")

#: Steps that take several completions of a problem at once.
_OF_SEVERAL = ("take_first_k", "majority_vote")


def of_several(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry of a `filter_list` needs several completions of a problem, as a vote does."""
    return any(step.get("function") in _OF_SEVERAL and step.get("k", 2) != 1 for step in entry["filter"])


def described(metric: Metric, filter_list: Iterable[Mapping[str, Any]] | None) -> str:
    """Return what the completions vote with, in words.

    Args:
        metric: that says right or wrong.
        filter_list: of the task's configuration.
    """
    steps = [step for entry in filter_list or () for step in entry["filter"] if entry["name"] == metric.filter]
    if all(step.get("function") in _WHOLE for step in steps):
        return "the whole text, as no filter takes an answer out of it, so hardly any two agree"
    return f"what the filter {metric.filter} leaves"


def fallbacks(filter_list: Iterable[Mapping[str, Any]] | None) -> frozenset[str]:
    """Return what the filters of a task give for a completion without an answer.

    Args:
        filter_list: of the task's configuration.
    """
    steps = [step for entry in filter_list or () for step in entry["filter"]]
    given = {step.get("fallback", _NOT_FOUND) for step in steps if "regex" in str(step.get("function"))}
    return frozenset(text for text in given | {_NOT_FOUND} if isinstance(text, str))


def vote(response: Any, *, right: bool, no_answer: frozenset[str], equal: Mapping[str, Any]) -> str | None:
    """Return the vote that a filtered response casts, None for none.

    Args:
        response: behind the filters.
        right: the verdict on it; a right response is an answer, whatever it looks like.
        no_answer: what stands where a filter found none, see `fallbacks`.
        equal: the settings of `exact_match`, which say what makes two texts the same one; else empty.
    """
    text = as_text(response)
    if text is None:
        return None
    text = text.strip()
    if not right and (not text or text in no_answer):
        return None
    return normalised(text, equal)


def as_text(response: Any) -> str | None:
    """Return a filtered response as text: itself, a number, or the one of these in a list; None for anything else."""
    if isinstance(response, Sequence) and not isinstance(response, str) and len(response) == 1:
        (response,) = response
    return str(response) if isinstance(response, (str, numbers.Real)) else None


def normalised(text: str, equal: Mapping[str, Any]) -> str:
    """Return a text as lm-eval's `exact_match` compares it.

    >>> normalised("The Hague!", {"ignore_case": True, "ignore_punctuation": True})
    'the hague'
    """
    for pattern in equal.get("regexes_to_ignore") or ():
        text = re.sub(pattern, "", text)
    if equal.get("ignore_case"):
        text = text.lower()
    if equal.get("ignore_punctuation"):
        text = text.translate(str.maketrans("", "", string.punctuation))
    if equal.get("ignore_numbers"):
        text = text.translate(str.maketrans("", "", string.digits))
    return text


def settings_of(metric: Metric, metric_list: Iterable[Mapping[str, Any]] | None) -> Mapping[str, Any]:
    """Return the settings of the metric that says right or wrong, if it is `exact_match`; else none."""
    for entry in metric_list or ():
        if entry.get("metric") == metric.name == "exact_match":
            return entry
    return {}
