"""The diagonal of the Fisher information of a language model, by Monte Carlo.

With next tokens y drawn from the model after each prefix of a sequence x, the score s is the gradient of the sum of
their log-probabilities, and the Fisher information of theta_j is E_x E_y s_j^2. Given the prefixes, the tokens are
independent and the score of each has mean 0, so products of different positions vanish in the mean: E_y s_j^2 is the
sum over positions and over all next tokens of p(y) (d log p(y) / d theta_j)^2, the diagonal of Merging Models with
Fisher-Weighted Averaging (arXiv 2111.09832) with a sequence as x. The score of several sequences together, squared,
would be one number of the same spread, relative to its mean, as that of one sequence: so each is squared by itself.
"""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor


def drawn_log_probability(logits: "Tensor", generator: "Generator") -> "Tensor":
    """Return the sum of the log-probabilities of tokens that are drawn from the logits; its gradient is the score.

    Args:
        logits: (positions, vocabulary), at least one position.
        generator: on the device of the logits.
    """
    import torch

    log_probabilities = logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    drawn = torch.multinomial(log_probabilities.detach().exp(), 1, generator=generator)
    return log_probabilities.gather(1, drawn).sum()


def relative_error(squared_norm: float, second_moment: float, n: int) -> float:
    """Return the expected |estimate - Fisher| / |Fisher| of a mean over n sequences; NaN where they do not tell.

    The squared error is the sum over entries of their sample variances by n, and a variance is a mean square less a
    squared mean: sums over all entries are enough. It is part of the squared norm of the estimate, not of the Fisher's.

    Args:
        squared_norm: of the estimate, the mean over sequences of their squared scores.
        second_moment: mean over sequences of the squared norm of their squared scores.
        n: number of sequences.
    """
    if n < 2:
        return math.nan
    error = max(second_moment - squared_norm, 0.0) / (n - 1)
    return math.sqrt(error / (squared_norm - error)) if squared_norm > error else math.nan
