"""Every number behind the demo, in one place; a directory belongs to one recipe."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stage:
    """One stage of training with AdamW.

    Attributes:
        steps: how many.
        batch: examples per step.
        learning_rate: after a short warm-up it stays constant, so that an early
            checkpoint is not an unfinished late one.
        save: the steps after which a checkpoint is kept.
    """

    steps: int
    batch: int
    learning_rate: float
    save: tuple[int, ...]


@dataclass(frozen=True)
class Recipe:
    """What is trained, merged and sampled.

    Attributes:
        seed: of the weights, the training data and their order.
        largest: the three numbers of a problem are drawn from 1 to this.
        hidden: width of the model, a multiple of `heads`.
        layers: of the model.
        heads: of attention.
        pretraining: on random expressions; saved on the way for resuming only.
        sft: on `sft_problems` problems, each with one canonical solution.
        sft_problems: how many.
        early: step of the early checkpoint of SFT; the last step gives the late one.
        alphas: of the WiSE-FT models between the two.
        temperatures: at which all of them are sampled; table and figure show late at all, the others at 1.
        problems: held out from both stages, for the evaluation.
        problem_seed: of these problems.
        samples: completions per problem (K).
    """

    seed: int = 0
    largest: int = 12
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    pretraining: Stage = field(default=Stage(1500, 128, 3e-3, (500, 1000, 1500)))
    sft: Stage = field(default=Stage(800, 64, 1e-3, (25, 800)))
    sft_problems: int = 800
    early: int = 25
    alphas: tuple[float, ...] = (0.3, 0.5, 0.7)
    temperatures: tuple[float, ...] = (0.7, 1.0, 1.3, 1.6)
    problems: int = 500
    problem_seed: int = 0
    samples: int = 32
