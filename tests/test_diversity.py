"""Diversity: counts of distinct labels, arithmetic read from text, distances of embeddings."""

import itertools
import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wise_merge.errors import WiseMergeError
from wise_merge.estimators.diversity import (
    distinct_curve,
    distinct_share,
    distinct_share_curve,
    mean_pairwise_cosine_distance,
    operations,
)

LABELS = st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=8)
VECTORS = st.integers(1, 7).flatmap(
    lambda n: st.lists(
        st.lists(st.integers(-3, 3), min_size=3, max_size=3),  # small integers: rows of zeros and equal rows occur
        min_size=n,
        max_size=n,
    )
)


def cosine_distance(a, b):
    """By the definition, with this package's convention for rows of zeros."""
    if not a.any() or not b.any():
        return float(a.any() or b.any())
    return 1 - (a @ b) / np.sqrt((a @ a) * (b @ b))


def test_samples_without_an_answer_count_as_samples_only():
    """Two distinct answers among five samples are 0.4, and no answer at all is no diversity."""
    assert distinct_share(["18", "18", "20", None, None]) == pytest.approx(2 / 5)
    assert distinct_share([None, None]) == 0
    assert distinct_share(["1", "2", "3"]) == 1
    assert distinct_share(["", "", "+"]) == pytest.approx(2 / 3)


@given(LABELS)
@settings(deadline=None)
def test_the_curve_is_the_mean_over_all_subsets(labels):
    """Each entry equals the mean share of distinct labels over every subset of that size."""
    expected = [
        np.mean([len(set(subset) - {None}) / k for subset in itertools.combinations(labels, k)])
        for k in range(1, len(labels) + 1)
    ]
    assert distinct_share_curve(labels) == pytest.approx(expected, abs=1e-12)
    assert distinct_share_curve(labels)[-1] == pytest.approx(distinct_share(labels))


def test_the_share_falls_with_n_and_the_curve_does_not():
    """One population, two numbers of samples: shares of all samples differ, the curves agree at one k."""
    rng = np.random.default_rng(0)
    few = [rng.integers(20, size=16).tolist() for _ in range(2000)]
    many = [rng.integers(20, size=64).tolist() for _ in range(2000)]
    assert np.mean([distinct_share(x) for x in few]) > 1.5 * np.mean([distinct_share(x) for x in many])
    at_16 = [np.mean([distinct_share_curve(x)[15] for x in group]) for group in (few, many)]
    assert at_16[0] == pytest.approx(at_16[1], abs=0.008)  # 4 standard errors


def test_the_curve_is_exact_for_ten_thousand_samples():
    """All distinct gives 1 at every k, one answer gives 1 / k."""
    n = 10_000
    k = np.arange(1, n + 1)
    assert distinct_curve(np.ones(n, int)) == pytest.approx(np.ones(n), rel=1e-9)
    assert distinct_curve(np.array([n])) == pytest.approx(1 / k, rel=1e-12)
    assert distinct_curve(np.arange(1, 140)).shape == (139 * 70,)


@pytest.mark.parametrize(("counts", "unlabelled"), [([], 0), ([0, 2], 0), ([1], -1)])
def test_counts_that_no_samples_have_are_refused(counts, unlabelled):
    """No samples, empty classes and negative numbers are one clear line."""
    with pytest.raises(WiseMergeError, match="diversity needs samples"):
        distinct_curve(np.array(counts, dtype=int), unlabelled=unlabelled)
    with pytest.raises(WiseMergeError, match="at least one sample"):
        distinct_share([])


@given(VECTORS)
@settings(deadline=None)
def test_the_mean_distance_is_that_of_all_pairs(rows):
    """The identity over the norm of the sum equals a loop over pairs, rows of zeros included."""
    vectors = np.array(rows, dtype=float)
    pairs = [cosine_distance(a, b) for a, b in itertools.combinations(vectors, 2)]
    expected = np.mean(pairs) if pairs else np.nan
    assert mean_pairwise_cosine_distance(vectors) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_the_distance_needs_no_scale_and_no_order():
    """Lengths of vectors, from 1e-200 to 1e200, and their order change nothing; nor is the input changed."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(50, 8))
    kept = vectors.copy()
    expected = np.mean([cosine_distance(a, b) for a, b in itertools.combinations(vectors, 2)])
    scales = 10.0 ** rng.integers(-200, 200, size=(50, 1))
    assert mean_pairwise_cosine_distance((vectors * scales)[rng.permutation(50)]) == pytest.approx(expected, rel=1e-12)
    assert mean_pairwise_cosine_distance(vectors.astype(np.float32)) == pytest.approx(expected, rel=1e-6)
    assert np.array_equal(vectors, kept)


def test_the_mean_distance_does_not_depend_on_n():
    """Subsets of any size have on average the distance of all samples: the measure is unbiased."""
    vectors = np.random.default_rng(2).normal(size=(7, 4)) + 0.5
    for k in range(2, 7):
        of_subsets = [mean_pairwise_cosine_distance(vectors[list(s)]) for s in itertools.combinations(range(7), k)]
        assert np.mean(of_subsets) == pytest.approx(mean_pairwise_cosine_distance(vectors), rel=1e-12)


def test_equal_and_opposite_vectors_are_the_ends_of_the_scale():
    """A thousand equal rows have distance 0, not a rounding error below it; two opposite ones have 2."""
    assert mean_pairwise_cosine_distance(np.full((1000, 3), 0.1)) == pytest.approx(0, abs=1e-12)
    assert mean_pairwise_cosine_distance(np.full((1000, 3), 0.1)) >= 0
    assert mean_pairwise_cosine_distance(np.array([[1.0, 2.0], [-2.0, -4.0]])) == pytest.approx(2)


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((0, 3)), np.array([[np.nan]])])
def test_embeddings_of_another_shape_are_refused(bad):
    """A vector, no rows and NaN are one clear line."""
    with pytest.raises(WiseMergeError, match="embeddings must be finite"):
        mean_pairwise_cosine_distance(bad)


SPELLINGS = {
    "-": ["5 - 3 = 2", "16-3=13", "x = 16-3", "16 \N{EN DASH} 3", "5\N{MINUS SIGN}3", "1,000 - 250.50"],
    "*": ["$5 * $3", "5 x 3", "5x3", "5\N{MULTIPLICATION SIGN}3", r"5 \times 3", r"5\cdot3", "20% * 50", "8*.5"],
    "/": ["6 / 2", "6/2", "6 \N{DIVISION SIGN} 2", r"6 \div 2", r"\frac{6}{2}", r"\dfrac 12", r"\tfrac{6}{2}"],
    "+": ["5 apples + 3 pears", r"5 \text{ apples} + 3", r"\$5 + \$3", "**5** + **3**", r"\(5 + 3\)", "2x + 3"],
    "": ["", "5-10 days", "2020-01-15", "555-1234", "1/2/2020", "a 3-day trip", "- 5\n- 3", "* 5\n* 3", "2**3", "7//2"],
    "--": ["16 - 3 - 4 = 9", "16-3-4=9", "16-3 = 13, then 13-2 = 11", "10 - (5 - 2)", "1 - \\cdots - 8 - 3 - 2"],
    "+*": ["(2 + 3) * 4", r"\left(2+3\right)\times 4", "2 + 3 apples/day * 4 days"],
    "-/": [r"\frac{16 - 3}{2}", "(16 - 3)/2", "(16-3)/2"],
    "//": [r"\frac{\frac{1}{2}}{3}", "1/2/3"],
    "*-": ["5 * 3 = <<5*3=15>>15, 15 - 2 = $<<15-2=13>>13", "a fifth <<20*.2=4>>4, leaves 20-4=<<20-4=16>>16"],
    "+-": [r"5 &+ 3 &= 8 \\ 8 - 1", "2+3 = 10-5.", "5 + -3 = 1 - 3"],
}


@pytest.mark.parametrize(("expected", "text"), [(ops, text) for ops, texts in SPELLINGS.items() for text in texts])
def test_operations_are_read_in_their_common_spellings(expected, text):
    """Each spelling gives its operators in order; ranges, dates, lists, powers and telephone numbers give none."""
    assert operations(text) == expected


@given(st.lists(st.tuples(st.sampled_from("+*/-"), st.integers(0, 999)), max_size=8), st.sampled_from([" ", ""]))
@settings(deadline=None)
def test_the_operators_of_a_chain_are_read_back(steps, space):
    """An equation gives its operators, spaced or not; its numbers are too small to make a date."""
    text = "7" + "".join(f"{space}{operator}{space}{number}" for operator, number in steps) + " = 7"
    assert operations(text) == "".join(operator for operator, _ in steps)


@given(st.text("0123456789+-*/x=().,$%<>{}\\ frac\ntext", max_size=200))
@settings(deadline=None)
def test_operations_of_any_text_are_a_string_of_four_letters(text):
    """Nothing raises, and nothing else than + - * / comes back."""
    assert set(operations(text)) <= set("+-*/")


@pytest.mark.parametrize(
    "unit",
    [
        "1",
        "1+",
        "1-",
        "1-1   ",
        r"\frac{",
        r"\frac{}{",
        r"\text{",
        "<<",
        "= <<1",
        "1)) ",
        "(",
        "1/1/",
        " ",
        "1aaaaaaa aaaaa",
    ],
)
def test_operations_take_linear_time_on_hostile_text(unit):
    """A megabyte of one fragment costs less than what quadratic time would need for a hundredth of it."""
    started = time.process_time()  # of this process alone, however busy the machine is
    operations(unit * (1_000_000 // len(unit)))
    assert time.process_time() - started < 3


def test_operations_read_calculator_annotations_of_real_completions_once(shared_data):
    """On real completions full of annotations, deleting each one that repeats its text changes nothing."""
    rows = [json.loads(line) for line in (shared_data / "completions" / "gpt3_gsm8k.jsonl").open()]
    texts = [text for row in rows for text in row["completions"] if "= <<" in text or "=<<" in text or "= $<<" in text]
    assert len(texts) > 3000
    # By splitting, not by a pattern: what stands between "<<" and ">>" of annotations after "=".
    for text in texts:
        pieces = text.split("<<")
        if all(piece.rstrip("$ ").endswith("=") and ">>" in after for piece, after in itertools.pairwise(pieces)):
            bare = pieces[0] + "".join(piece.split(">>", 1)[1] for piece in pieces[1:])
            assert operations(bare) == operations(text)
