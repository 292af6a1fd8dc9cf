"""Maj@k: the correctness of the most frequent answer among k samples.

Exact for every k from 1 to n: the expectation over all subsets of size k of the n
samples, not the vote of the first k. The most frequent answer is right with the share
of right answers among the tied ones; samples without an answer do not vote; a subset
without any answer is wrong. The way it is computed is ours.
"""

import functools
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from wise_merge.errors import WiseMergeError

#: Probabilities below this are left out: twelve digits remain of the smallest that they are divided by.
_NEGLIGIBLE = 1e-18


class Votes(NamedTuple):
    """The vote of one problem: samples per right answer and per wrong answer, descending, and `abstentions`.

    `mixed` has (samples, right ones among them) of the answers whose samples have different verdicts.
    """

    right: tuple[int, ...]
    wrong: tuple[int, ...]
    abstentions: int
    mixed: tuple[tuple[int, int], ...] = ()

    @property
    def n(self) -> int:
        """How many samples there are."""
        return sum(self.right) + sum(self.wrong) + self.abstentions + sum(count for count, _ in self.mixed)

    @property
    def options(self) -> list[tuple[int, float]]:
        """Each answer's samples and the credit in [0, 1] if it wins: the share of its samples that are right."""
        decided = [(count, credit) for counts, credit in ((self.right, 1.0), (self.wrong, 0.0)) for count in counts]
        return decided + [(count, right / count) for count, right in self.mixed]


def count_votes(answers: Sequence[Hashable | None], correct: Sequence[bool]) -> Votes:
    """Return the vote over samples: equal answers are one vote's option, None does not vote.

    Verdicts of one answer are usually the same. Where they are not, as in files of other graders,
    the answer earns the share of its samples that are right.
    """
    if len(answers) != len(correct):
        raise WiseMergeError(f"there are {len(answers)} answers but {len(correct)} verdicts")
    if not answers:
        raise WiseMergeError("a vote needs at least one sample")
    cast = Counter(answers)
    of_right = Counter(answer for answer, verdict in zip(answers, correct, strict=True) if verdict)
    abstentions = cast.pop(None, 0)
    right = [count for answer, count in cast.items() if of_right[answer] == count]
    wrong = [count for answer, count in cast.items() if not of_right[answer]]
    mixed = [(count, of_right[answer]) for answer, count in cast.items() if 0 < of_right[answer] < count]
    right.sort(reverse=True)
    wrong.sort(reverse=True)
    return Votes(tuple(right), tuple(wrong), abstentions, tuple(sorted(mixed)))


def majority_at_n(answers: Sequence[Hashable | None], correct: Sequence[bool]) -> float:
    """Return the score in [0, 1] of the vote of all n samples; see `count_votes` for the arguments."""
    options = count_votes(answers, correct).options
    most = max((count for count, _ in options), default=0)
    credits = [credit for count, credit in options if count == most]
    return sum(credits) / len(credits) if credits else 0.0


def majority_curve(answers: Sequence[Hashable | None], correct: Sequence[bool]) -> np.ndarray:
    """Return Maj@k of one problem for k = 1, ..., n as (n,) float64, exact to about 1e-11.

    `answers` are hashable classes: equal means the same vote; None, a sample without
    an answer, does not vote. For verdicts see `count_votes`.
    """
    return vote_curve(count_votes(answers, correct))


def majority_curves(problems: Iterable[tuple[Sequence[Hashable | None], Sequence[bool]]]) -> np.ndarray:
    """Return (problems, n) float64: column k - 1 is Maj@k. All problems must have the same n."""
    votes = [count_votes(answers, correct) for answers, correct in problems]
    sizes = sorted({vote.n for vote in votes})
    if len(sizes) != 1:
        raise WiseMergeError(f"all problems must have the same number of samples; got {sizes or 'no problem'}")
    # Many problems have the same votes: easy ones, and all where n is small.
    curves = {vote: vote_curve(vote) for vote in set(votes)}
    return np.stack([curves[vote] for vote in votes])


def vote_curve(votes: Votes) -> np.ndarray:
    """Return Maj@k for k = 1, ..., n as (n,) float64, exact to about 1e-11.

    Let every sample be drawn with probability theta, each by itself. The subset is then
    uniform among those of its size S, so Maj@k = E[credit; S = k] / P(S = k). The counts of
    different answers are independent under this law, hence

        E[credit; S] = sum over levels x of the integral over u in [0, 1] of
                       d/dv of the product over answers of (L + u T + v credit T), at v = 0,

    where T is "exactly x drawn of this answer" and L "fewer than x", both as transforms
    in S: the derivative picks the answer that wins, and the integral of u to the power of
    the others that are tied is 1 / (number of tied). Several theta are used, each only for
    k near its mean n theta, where P(S = k) is not small and nothing is lost in the division.
    """
    n = votes.n
    curve = np.zeros(n)
    if not votes.right and not votes.mixed:
        return curve
    # In the angle phi = arcsin sqrt(theta), S has the same standard deviation 1 / (2 sqrt n) everywhere.
    angles = np.arcsin(np.sqrt(np.arange(1, n + 1) / n))
    blocks = -(-np.pi / 2 * np.sqrt(n) // 3)  # six standard deviations wide
    block_of = np.minimum((angles / (np.pi / 2) * blocks).astype(int), blocks - 1)
    for block in np.unique(block_of):
        theta = float(np.sin((block + 0.5) / blocks * np.pi / 2) ** 2)
        k = np.flatnonzero(block_of == block) + 1
        curve[k - 1] = _curve_near(votes, theta, k)
    return np.clip(curve, 0.0, 1.0)


def weighted_majority_curve(
    answers: Sequence[Hashable | None],
    correct: Sequence[bool],
    weights: Sequence[float],
    *,
    rng: np.random.Generator,
    k: Sequence[int] | None = None,
    permutations: int = 200,
) -> tuple[np.ndarray, np.ndarray]:
    """Return Maj@k of one problem where a sample's vote counts its weight, and the Monte-Carlo standard error.

    Two (len(k),) float64 arrays. No count over all subsets is possible with weights, so subsets
    of every size are the beginnings of random orders of the samples. k = 1 and k = n are exact.
    Answers within one part in 10^9 of the heaviest are tied.

    Args:
        answers: as in `majority_curve`.
        correct: as in `majority_curve`.
        weights: one per sample, at least 0; a sample of weight 0 does not vote.
        rng: source of the random orders.
        k: at which k, ascending; None means 1, ..., n.
        permutations: how many random orders.
    """
    n = len(answers)
    count_votes(answers, correct)
    weight = np.asarray(weights, dtype=np.float64)
    if weight.shape != (n,) or not np.isfinite(weight).all() or (weight < 0).any():
        raise WiseMergeError(f"a weighted vote needs {n} finite weights of at least 0; got {list(weights)[:5]}...")
    sizes = np.arange(1, n + 1) if k is None else np.asarray(k)
    if len(sizes) and not (sizes[0] >= 1 and sizes[-1] <= n and (np.diff(sizes) > 0).all()):
        raise WiseMergeError(f"k must ascend within [1, {n}], the number of samples; got {sizes.tolist()}")
    # Option 0 is no vote at all: it can neither win nor tie.
    options = {answer: i for i, answer in enumerate(dict.fromkeys(a for a in answers if a is not None), start=1)}
    option = np.array([options[answer] if answer is not None else 0 for answer in answers])
    votes = np.where(option > 0, weight, 0.0)
    right = np.asarray(correct, dtype=np.float64)
    voters = np.bincount(option, votes > 0, len(options) + 1)
    credits = np.bincount(option, (votes > 0) * right, len(options) + 1) / np.maximum(voters, 1)

    orders = rng.permuted(np.tile(np.arange(n), (permutations, 1)), axis=1)
    totals = np.zeros((permutations, len(credits)))
    credit = np.empty((permutations, len(sizes)))
    drawn = 0
    for column, size in enumerate(sizes):
        added = orders[:, drawn:size]
        cells = option[added] + np.arange(permutations)[:, None] * len(credits)
        totals += np.bincount(cells.ravel(), votes[added].ravel(), totals.size).reshape(totals.shape)
        credit[:, column] = _winners_share(totals, credits)
        drawn = size
    curve = credit.mean(axis=0)
    error = credit.std(axis=0, ddof=1) / np.sqrt(permutations) if permutations > 1 else np.full(len(sizes), np.nan)
    everything = np.bincount(option, votes, len(credits))[None, :]
    for size, exact in ((1, np.mean((votes > 0) * right)), (n, _winners_share(everything, credits)[0])):
        curve[sizes == size], error[sizes == size] = exact, 0.0
    return curve, error


def _winners_share(totals: np.ndarray, credits: np.ndarray) -> np.ndarray:
    """Return per row of totals (rows, options) the mean credit of the heaviest options, 0 if all are 0."""
    most = totals.max(axis=1, keepdims=True)
    tied = (totals >= most * (1 - 1e-9)) & (totals > 0)
    return np.asarray((tied @ credits) / np.maximum(tied.sum(axis=1), 1))


def _curve_near(votes: Votes, theta: float, k: np.ndarray) -> np.ndarray:
    """Return Maj@k for values of k close to n * theta."""
    size = _binomial(votes.n, theta)
    possible = np.flatnonzero(size > _NEGLIGIBLE)
    # Sizes outside this window do not occur, so the transform over it does not wrap around.
    period = int(possible[-1] - possible[0]) + 1
    waves = np.exp(-2j * np.pi / period * np.arange(period))
    frequencies = np.arange(period // 2 + 1)

    groups = [(count, number, credit) for (count, credit), number in Counter(votes.options).items()]
    drawn = {count: _binomial(count, theta) for count, _, _ in groups}
    levels = _levels_that_matter(groups, drawn)
    transforms = {
        count: drawn[count][: levels[-1] + 1, None]
        * waves[np.outer(np.arange(min(count, levels[-1]) + 1), frequencies) % period]
        for count in drawn
    }
    sums = {count: np.cumsum(transform, axis=0) for count, transform in transforms.items()}
    one_sample = 1 - theta + theta * waves[frequencies]

    total = np.zeros(len(frequencies), dtype=complex)
    # Between two neighbouring counts, the same answers can reach the level.
    for below, upto in zip([0, *sorted(drawn)], sorted(drawn), strict=False):
        x = levels[(levels > below) & (levels <= upto)]
        if not len(x):
            continue
        reaching = [group for group in groups if group[0] >= upto]
        others = votes.abstentions + sum(count * number for count, number, _ in groups if count < upto)
        u, weights = _quadrature(sum(number for _, number, _ in reaching))
        u = u[:, None, None]
        # The product so far and its derivative with respect to v, each (u, levels, frequencies).
        product: np.ndarray = one_sample**others
        derivative = np.zeros(())
        for count, number, credit in reaching:
            exactly = transforms[count][x]
            factor = sums[count][x - 1] + u * exactly
            others_of_group = _power(factor, number - 1)
            derivative = derivative * factor
            if credit:
                derivative = derivative + product * (number * credit * exactly)
            derivative = derivative * others_of_group
            product = product * factor * others_of_group
        if derivative.ndim:
            total += np.einsum("u,uxf->f", weights, derivative)
    return np.asarray(np.fft.irfft(total, period)[k % period] / size[k])


def _levels_that_matter(groups: list[tuple[int, int, float]], drawn: dict[int, np.ndarray]) -> np.ndarray:
    """Return the range of levels x at which an answer of credit can win with a probability worth counting."""
    x = np.arange(1, max(count for count, _, credit in groups if credit) + 1)
    with np.errstate(divide="ignore"):
        at_most = {count: np.log(np.minimum(np.cumsum(pmf), 1.0))[np.minimum(x, count)] for count, pmf in drawn.items()}
        exactly = {
            count: np.where(x <= count, np.log(pmf)[np.minimum(x, count)], -np.inf) for count, pmf in drawn.items()
        }
    log_chance = []
    for winner in groups:
        if winner[2]:
            rivals = [(group[0], group[1] - (group == winner)) for group in groups]
            log_chance.append(exactly[winner[0]] + sum(number * at_most[count] for count, number in rivals if number))
    matters = x[np.max(log_chance, axis=0) > np.log(_NEGLIGIBLE)]
    return np.arange(matters[0], matters[-1] + 1) if len(matters) else x[:1]


def _binomial(n: int, theta: float) -> np.ndarray:
    """Return the (n + 1,) binomial probabilities, by products outwards from the mode: nothing overflows."""
    mode = min(int((n + 1) * theta), n)
    up, down = np.arange(mode, n), np.arange(mode, 0, -1)
    odds = theta / (1 - theta)
    above = np.cumprod((n - up) / (up + 1) * odds)
    below = np.cumprod(down / (n - down + 1) / odds)
    chances = np.concatenate([below[::-1], [1.0], above])
    return np.asarray(chances / chances.sum())


@functools.cache
def _quadrature(tied: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights on [0, 1] for the polynomials in u that `tied` answers make, of degree tied - 1.

    Gauss-Legendre. ceil(tied / 2) nodes are exact; such a product is no steeper than
    exp(tied * u), for which far fewer give all digits when many answers can be tied.
    """
    nodes, weights = np.polynomial.legendre.leggauss(min(-(-tied // 2), 12 + int(3 * np.sqrt(tied))))
    return (nodes + 1) / 2, weights / 2


def _power(base: np.ndarray, exponent: int) -> np.ndarray:
    """Return base ** exponent by squaring; numpy takes the logarithm of complex numbers, many times slower."""
    result = np.ones((), dtype=base.dtype)
    while exponent:
        if exponent & 1:
            result = result * base
        exponent >>= 1
        if exponent:
            base = base * base
    return np.asarray(result)
