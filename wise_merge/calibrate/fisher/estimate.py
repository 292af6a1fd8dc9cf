"""The sums behind a Fisher file: one sequence after another, squared gradients added as each backward pass makes them.

One backward pass per sequence and draw is exact, and what any architecture can do. In memory are the weights, one
float32 sum per weight (two with several draws) and what one sequence needs; a gradient is dropped once it is added.
"""

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wise_merge.calibrate.data import Encoded
from wise_merge.errors import WiseMergeError
from wise_merge.estimators.fisher import drawn_log_probability
from wise_merge.sampling.seeds import problem_seed, sample_seed


@dataclass
class Sums:
    """What the sequences so far add up to, by name of the parameter.

    Attributes:
        squares: float32, the squared score of each sequence, of several draws their mean, added up.
        second_moments: the squares of these, added up over sequences and entries.
        sequences: how many have been added.
        seconds: that it took.
    """

    squares: dict[str, Tensor]
    second_moments: dict[str, float]
    sequences: int
    seconds: float


def new_sums(model: Any) -> Sums:
    """Return sums of no sequence yet."""
    parameters = trainable(model)
    return Sums(
        {name: torch.zeros_like(one, dtype=torch.float32) for name, one in parameters.items()},
        dict.fromkeys(parameters, 0.0),
        0,
        0.0,
    )


def trainable(model: Any) -> dict[str, Any]:
    """Return the parameters that have a gradient, by name; one that is tied has one of its names."""
    return {name: one for name, one in model.named_parameters() if one.is_floating_point()}


@contextlib.contextmanager
def adding(model: Any, sums: Sums, *, draws: int, seed: int) -> Iterator[Callable[[Encoded, int], None]]:
    """Yield a function that adds a sequence, given with its number, on which, with the seed, depends what is drawn.

    Within, the parameters of the model have hooks that take their gradients.

    Args:
        model: a causal language model of transformers, for inference (no dropout).
        sums: that change.
        draws: per sequence.
        seed: of the run.
    """
    parameters = trainable(model)
    # The error needs the square of a sequence's mean over draws, so that mean must be there alone for a moment.
    own = sums.squares if draws == 1 else {name: torch.zeros_like(one) for name, one in sums.squares.items()}
    norms: dict[str, Tensor] = {}
    kept = "logits_to_keep" in inspect.signature(model.forward).parameters

    def add(sequence: Encoded, number: int) -> None:
        norms.clear()
        generator = torch.Generator(device=model.device)
        logits = _logits(model, sequence, kept=kept)
        for draw in range(draws):
            generator.manual_seed(sample_seed(problem_seed(seed, "fisher", str(number)), draw))
            score = drawn_log_probability(logits, generator)
            torch.autograd.backward(score, retain_graph=draw + 1 < draws)
        if draws > 1:
            for name, total in own.items():
                total /= draws
                norms[name] = torch.linalg.vector_norm(total)
                sums.squares[name] += total
                total.zero_()
        _add_moments(sums, norms, sequence)
        sums.sequences += 1

    def taking(name: str) -> Callable[[Tensor], None]:
        def take(parameter: Tensor) -> None:
            assert parameter.grad is not None
            square = parameter.grad.float().square()
            parameter.grad = None
            own[name] += square
            if draws == 1:
                norms[name] = torch.linalg.vector_norm(square)

        return take

    hooks = [one.register_post_accumulate_grad_hook(taking(name)) for name, one in parameters.items()]
    try:
        yield add
    finally:
        for hook in hooks:
            hook.remove()


def _logits(model: Any, sequence: Encoded, *, kept: bool) -> Tensor:
    """Return the logits that predict the completion; `kept`: the model can be asked for these alone."""
    # The last token predicts nothing.
    ids = torch.tensor([sequence.ids[:-1]], device=model.device)
    count = len(sequence.ids) - sequence.first
    more = {"logits_to_keep": count} if kept else {}
    logits: Tensor = model(input_ids=ids, use_cache=False, **more).logits[0, -count:]
    # A logit may be minus infinity: that token is never drawn.
    if not bool(logits.detach().logsumexp(-1).isfinite().all()):
        raise WiseMergeError(
            f"{sequence.place}: the logits contain NaN or infinity; choose a checkpoint from before the training "
            "diverged, or a wider --dtype"
        )
    return logits


def _add_moments(sums: Sums, norms: dict[str, Tensor], sequence: Encoded) -> None:
    # One copy from the device instead of one per tensor.
    values = torch.stack(list(norms.values())).tolist() if norms else []
    for name, value in zip(norms, values, strict=True):
        if not math.isfinite(value):
            raise WiseMergeError(
                f"{sequence.place}: the gradient of {name} is not finite, or too large; choose a checkpoint from "
                "before the training diverged, or a wider --dtype"
            )
        sums.second_moments[name] += value**2
