"""One seed per sample, and the random numbers that belong to it.

The seed is derived from (run seed, task, prompt, sample index) and from nothing else, so a
sample is the same whatever else is drawn with it: batch, order, processes, interruptions. Two
checkpoints that are asked the same get the same random numbers, too, which makes their
difference sharper (common random numbers).
"""

import hashlib
import json

import numpy as np

#: Seeds lie below 2^62, so that adding a sample index never leaves the range of a signed 64-bit integer.
SEED_BITS = 62


def problem_seed(run_seed: int, task: str, prompt: str) -> int:
    """Return the seed of a problem's first sample, in [0, 2^62): a hash, so no two problems share one."""
    # Surrogates, which a prompt may hold, have no UTF-8; JSON escapes them.
    digest = hashlib.sha256(json.dumps([run_seed, task, prompt]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - SEED_BITS)


def sample_seed(problem: int, index: int) -> int:
    """Return the seed of the sample of this index (0, 1, ...) from that of its problem: s, s + 1, ..., as vLLM does."""
    return problem + index


def uniforms(seed: int, start: int, count: int) -> np.ndarray:
    """Return the random numbers start, ..., start + count - 1 of a sample: uniform on [0, 1), float64 [count].

    Those of Philox 4x64 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") keyed with the
    seed: a counter-based generator, whose streams of different keys are independent.
    """
    block, offset = divmod(start, 4)
    # numpy promises the same raw words in every version, but not the same floats.
    words: np.ndarray = np.random.Philox(key=seed, counter=block).random_raw(offset + count)[offset:]
    numbers: np.ndarray = (words >> np.uint64(11)) * 2.0**-53
    return numbers
