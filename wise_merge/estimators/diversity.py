"""Diversity of the samples of one problem: of their answers, of their arithmetic, of their meaning.

arXiv 2504.10478 (figure 4) draws these three while Pass@K falls. It gives no formulas;
the definitions here are ours and docs/diversity.md states them.
"""

import re
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.pass_at_k import pass_at_k_curves


def distinct_share(labels: Sequence[Hashable | None]) -> float:
    """Return the number of distinct labels divided by the number of samples, in [0, 1].

    Answer diversity if the labels are answer classes, operation diversity if they are
    `operations`. A sample without a label (None) counts as a sample but not as a label, so
    samples that all lack an answer have diversity 0. The share falls with the number of
    samples: compare files with different n at one k of `distinct_share_curve`.

    >>> distinct_share(["18", "18", "20", None])
    0.5
    """
    if not labels:
        raise WiseMergeError("diversity needs at least one sample; got none")
    return len(set(labels) - {None}) / len(labels)


def distinct_share_curve(labels: Sequence[Hashable | None]) -> np.ndarray:
    """Return (n,) float64: the expected `distinct_share` of k of the n samples, for k = 1, ..., n."""
    counts = Counter(label for label in labels if label is not None)
    return distinct_curve(np.fromiter(counts.values(), int), unlabelled=len(labels) - counts.total())


def distinct_curve(counts: np.ndarray, *, unlabelled: int = 0) -> np.ndarray:
    """Return the expected number of distinct labels among k samples, divided by k, for k = 1, ..., n.

    The expectation over all subsets of size k, exact ("rarefaction", Hurlbert 1971): label j
    with c_j samples is among the k with probability 1 - C(n - c_j, k) / C(n, k). At k = n it is
    `distinct_share`; at k = 1 the share of samples that have a label.

    Args:
        counts: (labels,) integers >= 1, how many samples have each label.
        unlabelled: samples that have none; n is their number plus the sum of `counts`.

    Returns:
        (n,) float64.
    """
    counts = np.asarray(counts, dtype=np.int64)
    n = int(counts.sum()) + unlabelled
    if n < 1 or unlabelled < 0 or (counts < 1).any():
        raise WiseMergeError(
            f"diversity needs samples, and counts of at least 1; got counts {counts[:5].tolist()}... "
            f"and {unlabelled} samples without a label"
        )
    # n samples have at most sqrt(2 n) different counts, so 10,000 samples need 141 rows, not 10,000.
    different, labels = np.unique(counts, return_counts=True)
    return np.asarray(labels @ pass_at_k_curves(n, different) / np.arange(1, n + 1))


def mean_pairwise_cosine_distance(embeddings: np.ndarray) -> float:
    """Return the mean of 1 - cosine over all pairs i < j of rows, in [0, 2]; NaN without a pair (n = 1).

    Semantic diversity, if the rows are sentence embeddings. Unbiased for the expected distance
    of two independent samples, hence comparable between different n. In O(n d) and float64,
    from the squared norm of the sum of the unit vectors. A row of zeros has no direction: it
    is at distance 0 from other rows of zeros and at distance 1 from the rest.

    Args:
        embeddings: (n, d) real and finite.
    """
    vectors = np.asarray(embeddings, dtype=np.float64)
    if vectors.ndim != 2 or not len(vectors) or not np.isfinite(vectors).all():
        raise WiseMergeError(f"embeddings must be finite and have the shape (n, d), n >= 1; got {vectors.shape}")
    n = len(vectors)
    if n == 1:
        return float("nan")
    # Dividing by the largest entry first keeps the squares of tiny and huge entries in range.
    largest = np.abs(vectors).max(axis=1, initial=0.0, keepdims=True)
    units = np.divide(vectors, largest, out=np.zeros_like(vectors), where=largest > 0)
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1.0)
    zeros = int(np.count_nonzero(largest == 0))
    # |sum of u|^2 is the sum of the cosines over all ordered pairs, those of a row with itself included.
    cosines = np.square(units.sum(axis=0)).sum() + zeros**2 - n
    return float(np.clip(1.0 - cosines / (n * (n - 1)), 0.0, 2.0))


def operations(completion: str) -> str:
    r"""Return the arithmetic operators between numbers in a completion, in order, as a string over + - * /.

    Read: 5 x 3, 5×3, \times, \cdot, ÷, \div, \frac{a}{b}, −, "$5 * $3", (2 + 3) * 4 and numbers with
    a unit of one or two words ("5 apples + 3 apples"). Not read: powers, words ("plus"), and
    operators beside a variable. A hyphen counts between spaces, as U+2212, or within an
    expression that has another operator or an equals sign beside it, so that 5-10, 555-1234
    and 2020-01-15 hold no subtraction. A calculator annotation counts where the text before
    it lacks the expression: "16 - 3 = <<16-3=13>>13" is one subtraction. Linear in the length.

    >>> operations("She has 16 - 3 - 4 = <<16-3-4=9>>9 eggs, so 9 * $2 = $18 in 5-10 days.")
    '--*'
    """
    text = completion.replace("$", "")
    if "\\" in text:
        text = _without_latex(text)
    if not text.isascii():
        text = text.translate(_SPELLINGS)
    if "<<" in text:
        text = _ANNOTATION_OF_WRITTEN.sub("=", text)
    if _TIGHT_HYPHEN.search(text):
        text = _TIGHT_EXPRESSION.sub(_minus_or_hyphen, text)
    if "/" in text:
        text = _REST_OF_DATE.sub("", text)
    return "".join(_OPERATOR.findall(text)).translate(_CANONICAL)


_MINUS = "\N{MINUS SIGN}"
_SPELLINGS = str.maketrans(
    {
        **dict.fromkeys("\N{MULTIPLICATION SIGN}\N{DOT OPERATOR}\N{MIDDLE DOT}\N{BULLET OPERATOR}", "*"),
        **dict.fromkeys("\N{DIVISION SIGN}\N{DIVISION SLASH}", "/"),
        "\N{EN DASH}": "-",
        **dict.fromkeys("\N{EURO SIGN}\N{POUND SIGN}", ""),
    }
)
_CANONICAL = str.maketrans({"x": "*", "X": "*", _MINUS: "-"})

# "16 - 3 = <<16-3=13>>13": the text before the annotation is what it computes.
_ANNOTATION_OF_WRITTEN = re.compile(r"= {0,3}<<[^<>]{0,200}>>")
# Without the month, so that the pattern starts with a rare character: that is five times faster.
_REST_OF_DATE = re.compile(r"/[0-9]{1,2}/(?:19|20)[0-9]{2}\b")


_TIGHT_HYPHEN = re.compile(r"[0-9)%]-[0-9(.]")
_TIGHT_EXPRESSION = re.compile(r"[0-9(.][0-9(.,)%+*/xX\u2212]{0,60}-[0-9(.,)%+*/xX\u2212-]*(?: {0,2}(?==))?")
_OTHER_OPERATORS = frozenset("+*/xX" + _MINUS)

# From the last digit of a number to just before the next number, so that each number can be a
# right and a left operand. Every repetition is bounded: the time is linear.
_OPERATOR = re.compile(
    r"[0-9](?![0-9=>,.\n])[)\]%]{0,4}(?:\*\*(?= ))?"
    r"(?:[ /]{0,2}[A-Za-z]{1,15}(?![A-Za-z])(?:[ /][A-Za-z]{1,15}(?![A-Za-z]))?[)\]]{0,2})?"
    r"[ \t]{0,3}([+*/xX\u2212]|(?<= )-(?= ))"
    r"(?=[ \t]{0,3}(?:\*\*)?[(\[]{0,4}[-+\u2212]? ?[(\[]{0,4}\.?[0-9])"
)

_LATEX_SPELLINGS = {
    "\\\\": "\n",
    "\\cdots": "...",
    "\\times": "*",
    "\\cdot": "*",
    "\\div": "/",
    "\\%": "%",
    "&": "",
}
_LATEX_WORDS = re.compile(r"\\(?:text|textrm|textbf|mathrm|mathbf|mbox|boxed) ?\{([^{}]*)\}")
_LATEX_FRACTION = re.compile(r"\\[dtc]?frac ?(?:\{([^{}]*)\} ?\{([^{}]*)\}|([0-9]) ?([0-9]))")
_LATEX_REST = re.compile(r"\\(?:left|right|sqrt|quad|[,;:!()\[\] ])|[{}\\]")
# Fractions within fractions are read from the inside, so many levels deep.
_LEVELS = 4


def _without_latex(text: str) -> str:
    for latex, plain in _LATEX_SPELLINGS.items():
        text = text.replace(latex, plain)
    text = _LATEX_WORDS.sub(r"\1", text)
    for _ in range(_LEVELS):
        text, fractions = _LATEX_FRACTION.subn(_written_as_division, text)
        if not fractions:
            break
    return _LATEX_REST.sub("", text)


def _written_as_division(fraction: re.Match[str]) -> str:
    over, under, digit_over, digit_under = fraction.groups()
    return f"({over})/({under})" if digit_over is None else f"{digit_over}/{digit_under}"


def _minus_or_hyphen(run: re.Match[str]) -> str:
    expression = run.group()
    equals_beside = (
        run.string[max(run.start() - 3, 0) : run.start()].rstrip(" ").endswith("=")
        or run.string[run.end() : run.end() + 1] == "="
    )
    if equals_beside or not _OTHER_OPERATORS.isdisjoint(expression):
        return expression.replace("-", _MINUS)
    return expression
