"""The seeds of samples and the random numbers that belong to them."""

import itertools

import numpy as np
import pytest

from wise_merge.sampling.seeds import problem_seed, sample_seed, uniforms


def test_the_seed_of_a_problem_depends_on_run_task_and_prompt():
    """And on nothing else: the same three give the same seed in every process and version of Python."""
    assert problem_seed(1234, "gsm8k_passk", "Question: 1 + 1?") == 1412983701274834259
    names = list(itertools.product([0, 1, -1, 2**64], ["a", "ab"], ["bc", "c", "\ud800", ""]))
    seeds = {problem_seed(*name) for name in names}
    assert len(seeds) == len(names)
    assert all(0 <= seed < 2**62 for seed in seeds)


def test_samples_of_a_problem_have_consecutive_seeds():
    """As vLLM derives those of the n completions of one request."""
    assert [sample_seed(2**62 - 1, index) for index in range(3)] == [2**62 - 1, 2**62, 2**62 + 1]


@pytest.mark.parametrize("start", range(9))
def test_random_numbers_can_be_had_in_any_pieces(start):
    """Those from `start` on are the same as if all had been drawn at once."""
    np.testing.assert_array_equal(uniforms(7, start, 20), uniforms(7, 0, 40)[start : start + 20])


def philox(key, counter):
    """One block of Philox 4x64 with ten rounds, after Salmon et al. 2011, in integers of any size."""
    words, keys, mask = [counter, 0, 0, 0], [key, 0], 2**64 - 1
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * words[0], 0xCA5A826395121157 * words[2]
        words = [second >> 64 ^ words[1] ^ keys[0], second & mask, first >> 64 ^ words[3] ^ keys[1], first & mask]
        keys = [keys[0] + 0x9E3779B97F4A7C15 & mask, keys[1] + 0xBB67AE8584CAA73B & mask]
    return words


def test_the_random_numbers_are_those_of_philox():
    """In every version of numpy: samples of today must be found again next year."""
    # The known answer of the authors' library for key and counter 0.
    assert philox(0, 0)[0] == 0x16554D9ECA36314C
    words = philox(42, 1) + philox(42, 2)
    np.testing.assert_array_equal(uniforms(42, 0, 8) * 2.0**53, [word >> 11 for word in words])


def test_neighbouring_seeds_give_independent_uniform_numbers():
    """Mean, variance and correlations of 1,000 consecutive seeds are those of independent uniform numbers."""
    numbers = np.stack([uniforms(sample_seed(problem_seed(1, "t", "p"), i), 0, 256) for i in range(1000)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    # Five standard errors each.
    assert numbers.mean() == pytest.approx(1 / 2, abs=5 * (1 / 12 / numbers.size) ** 0.5)
    assert numbers.var() == pytest.approx(1 / 12, abs=5 * (1 / 180 / numbers.size) ** 0.5)
    between_samples = np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]
    between_tokens = np.corrcoef(numbers[:, :-1].ravel(), numbers[:, 1:].ravel())[0, 1]
    assert abs(between_samples) < 5 / numbers.size**0.5
    assert abs(between_tokens) < 5 / numbers.size**0.5
