"""The problems of a batch of lm-eval's requests, and which of their samples are still to be drawn.

lm-eval hands over K references to one request per problem. Here they become one problem of n = K samples.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from wise_merge.journal import Journal, Sample, problem_id
from wise_merge.sampling import seeds
from wise_merge.tasks.completion import Completion


@dataclass(frozen=True, eq=False)
class Pending:
    """A problem of which samples are to be drawn; compared and hashed by identity.

    Attributes:
        task: its name.
        prompt: the text.
        settings: lm-eval's generation settings (`until`, `temperature`, ...) as the task gives them.
        seed: of the sample of index 0; that of index i is seed + i.
        missing: the indices of the samples to draw, ascending.
    """

    task: str
    prompt: str
    settings: dict[str, Any]
    seed: int
    missing: tuple[int, ...]


#: Called with each sample as soon as it exists: its problem, its index and the completion.
Deliver = Callable[[Pending, int, Completion], None]


@dataclass
class Problem:
    """One prompt of a task under one group of settings.

    Attributes:
        requests: those of lm-eval that ask for it, one per row of the data with this prompt.
        n: how many samples are asked for.
        samples: index -> completion, those of the journal and those drawn since.
        journal: that keeps its samples, None = none.
    """

    requests: list[Any]
    n: int = 0
    samples: dict[int, Completion] = field(default_factory=dict)
    journal: Journal | None = None

    @property
    def task(self) -> str:
        """The name of the task."""
        return self.requests[0].task_name or ""

    @property
    def prompt(self) -> str:
        """The text that the model gets."""
        return str(self.requests[0].args[0])

    @property
    def settings(self) -> dict[str, Any]:
        """The generation settings of lm-eval."""
        return dict(self.requests[0].args[1])

    @cached_property
    def greedy(self) -> bool:
        """Whether all samples are the greedy completion."""
        # As lm-eval understands them: a temperature above 0 asks for sampling, unless do_sample forbids it.
        temperature, do_sample = self.settings.get("temperature"), self.settings.get("do_sample")
        return not (temperature or 0) > 0 if do_sample is None else not do_sample or temperature == 0


def grouped(requests: Sequence[Any]) -> tuple[list[Problem], list[tuple[Problem, int]]]:
    """Return the problems, and for each request which sample of which problem it asks for.

    The n-th reference to a request asks for sample n. Two requests of a task with one prompt are one
    problem. The padding of a data-parallel run asks for samples that are drawn anyway.
    """
    problems: dict[tuple[str, str, str], Problem] = {}
    places: list[tuple[Problem, int]] = []
    of_request: dict[int, Problem] = {}
    seen: Counter[int] = Counter()
    for request in requests:
        key = id(request)
        if key not in of_request:
            problem = Problem([request])
            settings = json.dumps(problem.settings, sort_keys=True, default=str)
            of_request[key] = problems.setdefault((problem.task, problem.prompt, settings), problem)
            if of_request[key] is not problem:
                of_request[key].requests.append(request)
        problem = of_request[key]
        index = seen[key] % (request.repeats or len(requests))
        seen[key] += 1
        if problem.greedy:
            index = 0
        problem.n = max(problem.n, index + 1)
        places.append((problem, index))
    return list(problems.values()), places


def still_to_draw(problem: Problem, run_seed: int) -> Pending:
    """Return what is still to be drawn of a problem."""
    missing = tuple(index for index in range(problem.n) if index not in problem.samples)
    seed = seeds.problem_seed(run_seed, problem.task, problem.prompt)
    return Pending(problem.task, problem.prompt, problem.settings, seed, missing)


def as_sample(prompt: str, index: int, completion: Completion) -> Sample:
    """Return a completion as the journal keeps it."""
    return Sample(
        problem=problem_id(prompt),
        index=index,
        text=str(completion),
        tokens=completion.tokens,
        finish_reason=completion.finish_reason,
        logprob=completion.logprob,
        seed=completion.seed,
    )


def as_completion(sample: Sample) -> Completion:
    """Return a sample of the journal as a task takes it."""
    return Completion(
        sample.text,
        finish_reason=sample.finish_reason,
        tokens=sample.tokens,
        logprob=sample.logprob,
        seed=sample.seed,
    )
