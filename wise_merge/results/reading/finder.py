"""Finds which column of a file holds what: by the names that are in use, or as the user says.

Names are compared without regard to case, and looked for within objects too if nothing on top has
them. Nothing is guessed between two columns that differ: that is an error which lists the columns
there are.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.results.reading.columns import (
    JUDGED_BY,
    NAMES,
    OWN_VERDICTS,
    SCORES_PER_REPEAT,
    Columns,
    Fields,
    dig,
    is_number,
    is_verdict,
)
from wise_merge.results.reading.rows import Row
from wise_merge.results.reading.texts import are_texts, as_texts, is_missing, is_one_message, statement
from wise_merge.text import shortened

_SCORES = re.compile(r"(.*[_.-])?(scores?|rewards?|logprobs?|log_probs?)", re.IGNORECASE)


def find_columns(rows: Sequence[Row], fields: Fields, *, steps: bool = False) -> Columns:
    """Return the columns of a file, found by its first rows, of which a few may be damaged.

    Args:
        rows: a few rows, at least one.
        fields: what the user says, see `parse_fields`.
        steps: whether a list of scores per completion is of use.
    """
    lm_eval = 2 * sum("resps" in row and isinstance(row.get("doc"), dict) for row in rows) > len(rows)
    if lm_eval:
        # Another filter may have other metrics, and of each problem the first one is taken.
        first = next(row.get("filter") for row in rows if "resps" in row)
        rows = [_with_document_columns(row) for row in rows if row.get("filter") == first]
    finder = _Finder(rows, fields, lm_eval)
    roles = {
        "completions": finder.find("completions", are_texts),
        "gold": finder.find("gold", _is_gold),
        "id": finder.find("id", _is_id),
        "problem": finder.find("problem", lambda value: bool(statement(value))),
        "numbers": finder.find("numbers", lambda value: isinstance(value, list)),
        "target": finder.find("target", _is_plain),
    }
    per_problem = finder.is_listed(roles["completions"])
    if per_problem and finder.fits(roles["completions"] or "", is_one_message) and (roles["id"] or roles["problem"]):
        # As APIs give a completion: a list of one choice.
        per_problem = False
    for listed in (True, False) if per_problem is None else (per_problem,):
        fits = _listed if listed else _single
        roles["answers"] = finder.find("answers", fits(_is_plain), without=roles["gold"])
        roles["labels"] = finder.find("labels", fits(is_verdict))
        if roles["answers"] or roles["labels"]:
            per_problem = listed
            break
    if per_problem is None and (silent := finder.only_nulls("completions")) is not None:
        # A model that never answered: all its completions are null.
        roles["completions"], per_problem = silent, bool(finder.values(silent))
    if per_problem is None:
        raise WiseMergeError(
            "no completions are found (nor a model's answers, nor verdicts)"
            f"{finder.unfit.get('completions', '')}; name them with --field completions=COLUMN; "
            f"the columns are {finder.column_list()}"
        )
    roles["finish_reason"] = finder.find("finish_reason", _are_reasons)
    scores, of_steps, left_out = finder.scores(_listed if per_problem else _single, roles, steps)
    of_roles = {role: name for role, name in roles.items() if name}
    return Columns(
        per_problem, lm_eval, of_roles, scores, of_steps, left_out, finder.unfit, tuple(finder.names), finder.judged_by
    )


class _Finder:
    """The first rows of a file and what the user said about its columns."""

    def __init__(self, rows: Sequence[Row], fields: Fields, lm_eval: bool) -> None:
        self.rows, self.fields, self.lm_eval = rows, fields, lm_eval
        top = list(dict.fromkeys(name for row in rows for name in row))
        self.names = [inner for name in top for inner in (name, *self._inner(name))]
        deep = [name for groups in NAMES.values() for group in groups for name in group if "." in name]
        self.names += [name for name in deep if name not in self.names and self.values(name)]
        self.claimed = {column for columns in fields.values() for column in columns}
        self.unfit: dict[str, str] = {}
        marks = [mark for column in JUDGED_BY if lm_eval for mark in self.values(column) if isinstance(mark, str)]
        self.judged_by = marks[0] if marks else None

    def _inner(self, column: str) -> list[str]:
        """Return the columns of the object, or of the objects of the list, that a column holds."""
        values = [entry for value in self.values(column) for entry in (value if isinstance(value, list) else [value])]
        keys = dict.fromkeys(key for value in values if isinstance(value, dict) for key in value)
        return [] if self.lm_eval else [f"{column}.{key}" for key in keys]

    def column_list(self) -> str:
        """Return the names of all columns, for messages."""
        return ", ".join(self.names)

    def values(self, column: str) -> list[Any]:
        return [value for row in self.rows if not is_missing(value := dig(row, column))]

    def only_nulls(self, role: str) -> str | None:
        """Return the first column with a name of the role that holds only nulls or lists of nulls."""
        names = [name for group in NAMES[role] for accepted in group for name in self.names if name.lower() == accepted]
        lists = [name for name in names if not self._holds(name)]
        return lists[0] if lists and all(isinstance(value, list) for value in self.values(lists[0])) else None

    def fits(self, column: str, shape: Callable[[Any], bool]) -> bool:
        # Most rows, not all: a damaged row is reported by its line and must not hide the column.
        values = self.values(column)
        return 2 * sum(map(shape, values)) > len(values)

    def is_listed(self, column: str | None) -> bool | None:
        return None if column is None else self.fits(column, lambda value: isinstance(as_texts(value), list))

    def given(self, role: str) -> str | None:
        """Return the first column that the user gave for the role and that is there."""
        for column in self.fields[role]:
            # The first rows may all lack completions; a column of golds that is nowhere is a mistake.
            if self.values(column) or (role == "completions" and any(column in row for row in self.rows)):
                return column
        raise WiseMergeError(
            f"there is no column {' or '.join(self.fields[role])} for --field {role}; "
            f"the columns are {self.column_list()}"
        )

    def find(self, role: str, shape: Callable[[Any], bool], *, without: str | None = None) -> str | None:
        """Return the column of the role: the one the user named, else one by its name and the shape of its values."""
        if role in self.fields:
            return self.given(role)
        if self.judged_by is not None and role in OWN_VERDICTS:
            return OWN_VERDICTS[role] if self.values(OWN_VERDICTS["labels"]) else None
        if self.lm_eval and role in ("answers", "labels"):
            return self._metric_with_verdicts() if role == "labels" else None
        for group in self._groups(role):
            called = [
                name
                for accepted in group
                for name in self.names
                if self._is_called(name, accepted) and name != without and name not in self.claimed
            ]
            if role in ("completions", "labels"):
                called = [name for name in called if self._holds(name)]
            fitting = [name for name in called if self.fits(name, shape)]
            for name in called:
                if not fitting and self.values(name):
                    self.unfit.setdefault(role, f" ({name} holds {shortened(self.values(name)[0])})")
            if any(self.values(name) != self.values(fitting[0]) for name in fitting):
                raise WiseMergeError(
                    f"the {role} may be in {' or '.join(fitting)}; say which with --field {role}=COLUMN; "
                    f"the columns are {self.column_list()}"
                )
            if fitting:
                return fitting[0]
        return None

    def _metric_with_verdicts(self) -> str | None:
        """Return the column of lm-eval's metric with a verdict on each completion; None unless there is exactly one."""
        metrics = [name for name in self.names if name.startswith(f"{SCORES_PER_REPEAT}.") and self._holds(name)]
        metrics = [name for name in metrics if name not in self.claimed and self.fits(name, _listed(is_verdict))]
        if len(metrics) > 1:
            self.unfit["labels"] = f", which several metrics have: {', '.join(metrics)}"
        return metrics[0] if len(metrics) == 1 else None

    @staticmethod
    def _is_called(name: str, accepted: str) -> bool:
        name = name.lower()
        return name == accepted or (accepted.startswith(".") and name.endswith(accepted))

    def _groups(self, role: str) -> Iterable[Sequence[str]]:
        if role == "finish_reason":
            # Not within other objects, where several may differ: servers use the name for several things.
            return NAMES[role]
        if not self.lm_eval:
            # Columns within objects count only where no column on top has the name.
            within = [[f".{name}" for name in group] for group in NAMES[role]]
            contents = [f"{name}.content" for group in NAMES[role] for name in group] if role == "completions" else []
            return [*NAMES[role], *within, contents]
        if role in ("completions", "id"):
            return [["resps"]] if role == "completions" else [["doc_id"]]
        within = [[f"doc.{name}" for name in group] for group in NAMES[role]]
        return [*within[:-1], ["target"], within[-1]] if role == "gold" else within

    def scores(
        self,
        fits: Callable[[Callable[[Any], bool]], Callable[[Any], bool]],
        roles: Mapping[str, str | None],
        steps: bool,
    ) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Return the columns of scores, those of them with a list per completion, and which are no scores and why."""
        named = self.fields.get("scores")
        missing = [name for name in named or () if not self.values(name)]
        if missing:
            raise WiseMergeError(f"there is no column {missing[0]} for --field scores; it has {self.column_list()}")
        taken = {*roles.values()} | self.claimed
        # A tree search writes its scores as `value` beside the texts; elsewhere `value` may mean anything.
        beside = f"{(roles['completions'] or '').rpartition('.')[0]}.value"
        alike = [name for name in self.names if _SCORES.fullmatch(name) or name == beside]
        alike = [name for name in alike if name not in taken and self.values(name) and not self.lm_eval]
        if self.lm_eval:
            # A column called score would be a metric of lm-eval; our models' log-probabilities are one per sample.
            own = (f"{above}logprob" for above in ("curve.", "") if self.values(f"{above}finish_reason"))
            alike = [name for name in own if self._holds(name)][:1]
        if named is not None:
            alike = list(named)
        is_score = is_number if named is None else lambda value: isinstance(value, (int, float))
        plain = [name for name in alike if self.fits(name, fits(is_score)) and self._holds(name)]
        nested = [name for name in alike if name not in plain and self.fits(name, fits(_listed(is_score)))]
        nested = [name for name in nested if self._holds(name)]
        usable = tuple(name for name in alike if name in plain or (steps and name in nested))
        left_out = tuple(f"{name}: {self._not_scores(name, nested)}" for name in alike if name not in usable)
        if named and left_out:
            raise WiseMergeError(f"--field scores={left_out[0]}")
        return usable, tuple(name for name in usable if name in nested), left_out

    def _holds(self, column: str) -> bool:
        """Return whether the column holds anything but nulls."""

        def holds(value: Any) -> bool:
            return any(map(holds, value)) if isinstance(value, list) else not is_missing(value)

        return any(map(holds, self.values(column)))

    def _not_scores(self, column: str, nested: Collection[str]) -> str:
        if not self._holds(column):
            return "it is empty"
        if column in nested:
            return "a list per completion (of its steps?); --steps last, min or product makes each list one number"
        return f"not one number per completion but {shortened(self.values(column)[0])}"


def _with_document_columns(row: Row) -> Row:
    """Return a row of lm-eval with the columns of its document and of its metrics spelt out, and no other objects."""
    document = row["doc"] if isinstance(row.get("doc"), dict) else {}
    seen = {f"doc.{name}": value for name, value in document.items()}
    metrics = row.get(SCORES_PER_REPEAT)
    if isinstance(metrics, dict):
        seen |= {f"{SCORES_PER_REPEAT}.{name}": value for name, value in metrics.items()}
    return seen | {name: value for name, value in row.items() if name != "doc"} | {"doc": document}


def _listed(shape: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(is_missing(entry) or shape(entry) for entry in value)


def _single(shape: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return shape


def _are_reasons(value: Any) -> bool:
    return isinstance(value, str) or (bool(value) and _listed(lambda entry: isinstance(entry, str))(value))


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _is_gold(value: Any) -> bool:
    return _is_plain(value) or (isinstance(value, list) and len(value) == 1 and _is_plain(value[0]))


def _is_id(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool) and value != ""
