"""Best@k within an evaluation: a scorer ranks all completions after the sampling.

A scorer with a model is loaded beside the model that sampled, so both must fit into memory. Where they do not, or
anything else fails, the run goes on without best@k, and `wise-merge score --scorer` computes it
from the samples. The scorer `logprob` costs nothing: it takes the sampling model's own log-probabilities,
where these are known.
"""

import math
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wise_merge import verifiers as scorers
from wise_merge.errors import WiseMergeError
from wise_merge.hosts.lm_eval.messages import TaskInputError, log
from wise_merge.tasks import audit

#: The scorer that is the sampling model itself.
OWN = "logprob"


class Ranking:
    """The scores of the completions of a task."""

    def __init__(self, spec: str, task: str) -> None:
        self._spec, self._task = spec, task
        #: Whether the scores are the completions' own log-probabilities.
        self.own = spec == OWN
        self._scores: dict[tuple[str, tuple[str, ...]], list[float]] = {}

    @classmethod
    def of(cls, setting: Any, task: str) -> "Ranking | None":
        """Return the ranking that the metadata ask for, None if they do not; a misspelt one ends the run here."""
        if setting is None:
            return None
        try:
            if setting != OWN:
                scorers.check_spec(str(setting))
        except WiseMergeError as error:
            raise TaskInputError(f"{task}: {error}") from error
        return cls(str(setting), task)

    def score(self, problems: Iterable[tuple[str, str, tuple[str, ...]]]) -> None:
        """Score all completions.

        Args:
            problems: the problem's own text, the whole prompt, and the completions. Log-probabilities
                are those after the prompt, rewards those for the problem.
        """
        known = list(problems)
        if self.own:
            if any(_own_scores(completions) is None for _, _, completions in known):
                log.error(
                    "%s: best@k is left out, because the model did not say how probable its completions are; "
                    "--model hf-passk and --model vllm-passk do",
                    self._task,
                )
            return
        after_prompt = self._spec.startswith("logprob:")
        try:
            with tempfile.TemporaryDirectory() as folder:
                scores = scorers.score_samples(
                    self._spec,
                    (
                        (str(i), prompt if after_prompt else problem, completions)
                        for i, (problem, prompt, completions) in enumerate(known)
                    ),
                    cache=Path(folder) / "scores.jsonl",
                )
        except Exception as error:
            # Out of memory, no such model, a bug in a user's function: none of these may end hours of sampling.
            prompts = " --field problem=arguments.gen_args_0.arg_0" if after_prompt else ""
            log.error(
                "%s: best@k is left out, because %s failed (%s: %s); the samples are whole: with --log_samples, "
                "`wise-merge score FILE --scorer %s%s` ranks them later",
                *(self._task, self._spec, type(error).__name__, error, self._spec, prompts),
            )
            return
        for i, (problem, _, completions) in enumerate(known):
            self._scores[problem, completions] = scores[str(i)]

    def scores(self, problem: str, completions: Sequence[str]) -> list[float] | None:
        """Return the scores of a problem's completions, higher is better; None if the scorer failed."""
        if self.own:
            return _own_scores(completions)
        return self._scores.get((problem, tuple(completions)))


def _own_scores(completions: Sequence[str]) -> list[float] | None:
    """Return the mean log-probability of each completion, -inf where it alone is unknown; None if all are."""
    logprobs = audit.sampling_details(completions).get("logprob", [])
    if not any(logprob is not None for logprob in logprobs):
        return None
    return [-math.inf if logprob is None else logprob for logprob in logprobs]
