"""What the demo's numbers say: the table, and sentences computed from paired differences.

Pure functions over `results.json`, whose shape is described by `Sampled`.
Two models are compared problem by problem, because hard problems are hard for both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wise_merge import text
from wise_merge.estimators.pass_at_k import pass_at_k

#: A difference counts as real beyond this many standard errors.
BEYOND = 2.0


@dataclass(frozen=True)
class Sampled:
    """One model sampled at one temperature.

    Attributes:
        name: in the table.
        checkpoint: relative to the demo's directory.
        alpha: 0 = early, 1 = late.
        temperature: of sampling.
        samples: K, per problem.
        correct: how many of them solve it, for each problem in the task's order.
        metrics: as lm-eval reports them, `pass@1`, `pass@1_stderr` and so on.
    """

    name: str
    checkpoint: str
    alpha: float
    temperature: float
    samples: int
    correct: list[int]
    metrics: dict[str, float]


@dataclass(frozen=True)
class Difference:
    """`better` minus `worse` in Pass@k: the mean over problems and its standard error."""

    better: str
    worse: str
    k: int
    mean: float
    standard_error: float

    @property
    def errors(self) -> float:
        """How many standard errors the difference lies above 0."""
        return self.mean / self.standard_error if self.standard_error else float(np.sign(self.mean)) * np.inf

    @property
    def is_real(self) -> bool:
        """Whether `better` is better beyond the error bars."""
        return self.errors > BEYOND

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ± {self.standard_error:.3f}"


def paired_difference(better: Sampled, worse: Sampled, k: int) -> Difference:
    """Return by how much `better` exceeds `worse` in Pass@k on the same problems."""
    counts = zip(better.correct, worse.correct, strict=True)
    differences = np.array([pass_at_k(better.samples, b, k) - pass_at_k(worse.samples, w, k) for b, w in counts])
    error = float(differences.std(ddof=1) / np.sqrt(len(differences)))
    return Difference(better.name, worse.name, k, float(differences.mean()), error)


def table(models: Sequence[Sampled]) -> str:
    """Return one line per model: Pass@1, Pass@4 and Pass@K with standard errors over the problems."""
    columns = [f"pass@{k}" for k in shown_k(models[0].samples)]
    rows = [["", *columns]]
    for model in models:
        cells = (f"{model.metrics[c]:.3f} ± {model.metrics[c + '_stderr']:.3f}" for c in columns)
        rows.append([model.name, *cells])
    return "\n".join(text.table(rows, "<^"))


def shown_k(samples: int) -> list[int]:
    """Return the k of the table's columns."""
    return sorted({1, min(4, samples), samples})


def judge(models: Sequence[Sampled]) -> dict[str, Any]:
    """Return the WiSE-FT model that comes closest to beating all others, the differences and the sentences.

    Asked of one WiSE-FT model: more Pass@1 than both ends, and more Pass@1 and
    Pass@K than late at every temperature tried. The model is the one for which
    the least certain of these differences is the most certain.
    """
    early = next(model for model in models if model.alpha == 0)
    lates = [model for model in models if model.alpha == 1]
    late = next(model for model in lates if model.temperature == 1)
    samples = early.samples

    def asked(wise: Sampled) -> list[Difference]:
        return [
            paired_difference(wise, early, 1),
            *(paired_difference(wise, other, 1) for other in lates),
            *(paired_difference(wise, other, samples) for other in lates),
        ]

    merged = [model for model in models if 0 < model.alpha < 1]
    best = max(merged, key=lambda wise: min(difference.errors for difference in asked(wise)))
    over_early, *over_lates = asked(best)
    over_late = paired_difference(best, late, 1)
    lost = paired_difference(early, late, samples)
    pass_1 = [difference for difference in over_lates if difference.k == 1]
    pass_k = [difference for difference in over_lates if difference.k == samples]
    return {
        "best": best.name,
        "differences": [vars(difference) for difference in (lost, over_early, *over_lates)],
        "sentences": [
            _diversity_sentence(lost, early, late),
            _both_ends_sentence(best, over_early, over_late, len(merged)),
            _temperature_sentence(best, lates, pass_1, pass_k),
        ],
    }


def _diversity_sentence(lost: Difference, early: Sampled, late: Sampled) -> str:
    metric = f"pass@{lost.k}"
    return (
        f"Fine-tuning {'costs' if lost.is_real else 'does NOT clearly cost'} diversity: Pass@{lost.k} is "
        f"{early.metrics[metric]:.3f} early and {late.metrics[metric]:.3f} late (early - late: {lost})."
    )


def _both_ends_sentence(best: Sampled, over_early: Difference, over_late: Difference, tried: int) -> str:
    beats = over_early.is_real and over_late.is_real
    return (
        f"{best.name}, the best of {tried} tried, {'beats' if beats else 'does NOT clearly beat'} both ends in Pass@1: "
        f"{over_early} over early, {over_late} over late at the same temperature."
    )


def _temperature_sentence(
    best: Sampled, lates: Sequence[Sampled], pass_1: Sequence[Difference], pass_k: Sequence[Difference]
) -> str:
    beats = all(difference.is_real for difference in (*pass_1, *pass_k))
    temperatures = ", ".join(f"{model.temperature:g}" for model in lates)
    closest = [min(differences, key=lambda difference: difference.errors) for differences in (pass_1, pass_k)]
    margins = " and ".join(
        f"{difference} in Pass@{difference.k} (against {difference.worse})" for difference in closest
    )
    return (
        f"It {'beats' if beats else 'does NOT clearly beat'} late in both at every temperature tried "
        f"({temperatures}); the closest calls are {margins}."
    )
