"""What both model classes have in common: which samples are needed, the journal, progress.

Samples of the `problems` that the journal holds are taken from it; only missing ones are drawn. Where the internals of
a host have changed, lm-eval's own class draws them.
"""

import sys
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance

from wise_merge.errors import WiseMergeError, first_line
from wise_merge.hosts import versions
from wise_merge.hosts.lm_eval.messages import TaskInputError, log
from wise_merge.journal import Journal, Run, problem_id
from wise_merge.sampling import seeds
from wise_merge.sampling.problems import Deliver, Pending, Problem, as_completion, as_sample, grouped, still_to_draw
from wise_merge.sampling.progress import Progress
from wise_merge.tasks.completion import Completion


class Sampler:
    """The first base class of a model, before lm-eval's: draws K samples of each problem, each with its own seed.

    A subclass says how to `_draw` samples and what the `_identity` of its model is.
    """

    cache_hook: Any
    tokenizer: Any
    max_gen_toks: int
    rank: int
    world_size: int
    barrier: Callable[[], None]
    #: task -> fingerprint of the run in the journal that the last samples of it belong to.
    runs: Mapping[str, str] = {}
    #: task -> the metric and task of lm-eval that judge its completions, where none of our benchmarks does.
    judged_by: Mapping[str, str] = {}
    #: Seconds to wait for a journal that another process still has open.
    patience = 0.0
    #: Whether the bar of an evaluation stays on the screen when it is over.
    _bar_stays = True
    #: The library whose internals `_draw` uses, and the name of lm-eval's own class for --model.
    _host = _parent = ""
    #: How many samples the parent draws at a time; those that it is drawing are lost with the process.
    _parent_draws_at_once = 64
    #: Why samples are drawn by the parent class and not by `_draw`, None = they are not.
    _left_to_parent: str | None = None
    #: Whether the hosts were checked and are as expected; a sweep draws many times in one process.
    _hosts_fit = False

    def _fault(self) -> str | None:
        """Return what the hosts lack of what `_draw` needs, None = nothing."""
        return None

    def _draw(self, pending: Sequence[Pending], deliver: Deliver) -> None:
        """Draw all missing samples of all problems and deliver each as soon as it exists."""
        raise NotImplementedError

    def _identity(self) -> dict[str, Any]:
        """Return what samples depend on besides task, prompt, generation settings and run seed, in JSON's types.

        `weights` is a digest; `name` is for people and takes no part in the fingerprint.
        """
        raise NotImplementedError

    def _shared(self, value: str) -> str:
        """Return the value that the first process has, in all processes that evaluate together."""
        return value

    def _set_journal_and_seed(self, journal: str | Path | None, seed: int | str | None) -> None:
        """Set the two model arguments that the parent class does not know, before it loads the model.

        Args:
            journal: folder of the journal, None = nothing is kept until lm-eval writes its results.
            seed: of the run; None = lm-eval's --seed.
        """
        try:
            self._run_seed = None if seed is None else int(seed)
        except ValueError:
            raise TaskInputError(f"--model_args seed must be an integer; got {seed!r}") from None
        if journal is not None and not str(journal):
            raise TaskInputError("--model_args journal= names no folder; journal=DIR does, or leave it out")
        self._journal = None if journal is None else Path(journal).expanduser()
        if self._journal is not None and self._journal.exists() and not self._journal.is_dir():
            raise TaskInputError(f"--model_args journal={journal}: that is a file; a journal is a folder of its own")

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Return one completion per request, in order; K references to one request get K different samples."""
        # lm-eval seeds torch with its --seed before it evaluates.
        run_seed = torch.initial_seed() if self._run_seed is None else self._run_seed
        problems, places = grouped(requests)
        again = sum(len(problem.requests) - 1 for problem in problems if not problem.greedy)
        if again:
            log.warning(
                "%d problems have the prompt of another one of their task and get the samples of that one, so they "
                "add nothing to what is known; is a row twice in the data?",
                again,
            )
        with ExitStack() as stack:
            try:
                self._consult_journal(problems, run_seed, stack)
                problem_of = {still_to_draw(problem, run_seed): problem for problem in problems}
                total = sum(problem.n for problem in problems)
                missing = sum(len(one.missing) for one in problem_of)
                hidden = disable_tqdm or self.rank != 0
                progress = stack.enter_context(Progress(total, total - missing, hidden, stays=self._bar_stays))

                def deliver(one: Pending, index: int, completion: Completion) -> None:
                    problem = problem_of[one]
                    if problem.journal is not None:
                        problem.journal.append(as_sample(one.prompt, index, completion))
                    problem.samples[index] = completion
                    progress.add(completion.tokens)

                # All in one call, as problems of several tasks may share a batch.
                self._draw_or_leave_to_parent([one for one in problem_of if one.missing], deliver)
                if self.world_size > 1:
                    # The journals stay locked until all processes are done.
                    self.barrier()
            except WiseMergeError as error:
                raise TaskInputError(str(error)) from error
            finally:
                kept = sum(len(problem.samples) for problem in problems if problem.journal is not None)
                # A sweep says itself what is kept after Ctrl-C.
                said_elsewhere = not self._bar_stays and sys.exc_info()[0] is KeyboardInterrupt
                if kept and not said_elsewhere and any(len(problem.samples) < problem.n for problem in problems):
                    log.error("journal %s: %d samples are kept; the same command goes on", self._journal, kept)
        completions = [problem.samples[index] for problem, index in places]
        for request, completion in zip(requests, completions, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, completion)
        return list(completions)

    def _draw_or_leave_to_parent(self, pending: Sequence[Pending], deliver: Deliver) -> None:
        """Draw all missing samples: by `_draw`, or by the parent class where the internals of a host have changed."""
        drawn: dict[Pending, set[int]] = {}

        def note(one: Pending, index: int, completion: Completion) -> None:
            deliver(one, index, completion)
            drawn.setdefault(one, set()).add(index)

        if self._left_to_parent is None:
            try:
                fault = None if self._hosts_fit else self._fault()
                if fault is None:
                    self._hosts_fit = True
                    self._draw(pending, note)
                    return
                self._leave_to_parent(fault)
            # Errors of the task, the disk, the memory or the device, which the parent would meet as well.
            except (WiseMergeError, OSError, MemoryError):
                raise
            # A host whose internals have changed raises anything; the parent meets what is wrong with the model.
            except Exception as error:
                if isinstance(error, RuntimeError) and not isinstance(error, NotImplementedError):
                    raise
                self._leave_to_parent(f"{type(error).__name__}: {first_line(error)}")
                log.debug("what was raised", exc_info=True)
        for one in pending:
            self._draw_as_parent(one, [index for index in one.missing if index not in drawn.get(one, ())], deliver)

    def _leave_to_parent(self, fault: str) -> None:
        self._left_to_parent = fault
        log.warning(
            "%s: going on in the way of --model %s, slower; samples are drawn as they should be, but are not the same "
            "when they are drawn again. `wise-merge doctor` tells more",
            versions.not_as_expected(self._host, fault),
            self._parent,
        )

    def _draw_as_parent(self, one: Pending, missing: Sequence[int], deliver: Deliver) -> None:
        """Have lm-eval's own class draw samples of a problem, a share at a time."""
        generate: Callable[..., list[str]] = super().generate_until  # type: ignore[misc]
        limit = int(one.settings.get("max_gen_toks") or self.max_gen_toks)
        for start in range(0, len(missing), self._parent_draws_at_once):
            indices = missing[start : start + self._parent_draws_at_once]
            requests = [
                Instance("generate_until", {}, (one.prompt, self._settings_for_parent(one, index)), 0, (one.task, 0, 1))
                for index in indices
            ]
            # The state of torch's generator is restored: lm-eval's --seed is read from it.
            with torch.random.fork_rng():
                torch.manual_seed(seeds.sample_seed(one.seed, indices[0]))
                texts = generate(requests, disable_tqdm=True)
            for index, text in zip(indices, texts, strict=True):
                tokens = len(self.tokenizer.encode(text, add_special_tokens=False))
                completion = Completion(
                    text,
                    finish_reason="length" if tokens >= limit else "stop",
                    tokens=tokens,
                    seed=seeds.sample_seed(one.seed, index),
                )
                deliver(one, index, completion)

    def _settings_for_parent(self, one: Pending, index: int) -> dict[str, Any]:
        """Return the generation settings with which the parent draws a sample."""
        return dict(one.settings)

    def _consult_journal(self, problems: Sequence[Problem], run_seed: int, stack: ExitStack) -> None:
        """Give every problem its journal and what that holds of it; the journals stay open as long as `stack`."""
        if self._journal is None or not problems:
            return
        model = self._identity()
        evaluation = self._shared(uuid.uuid4().hex)
        open_journal = partial(
            Journal.open, self._journal, rank=self.rank, evaluation=evaluation, patience=self.patience
        )
        journals: dict[str, Journal] = {}
        asked: dict[str, list[tuple[str, int | None, Any, Any]]] = {}
        kept: Counter[str] = Counter()
        for problem in problems:
            # Greedy completions depend on no seed.
            settings = {**problem.settings, "seed": None if problem.greedy else run_seed}
            run = Run(problem.task, model, settings, self.judged_by.get(problem.task))
            if run.fingerprint not in journals:
                journal = stack.enter_context(open_journal(run))
                journals[run.fingerprint] = journal
                if journal.damaged:
                    log.warning(
                        "journal %s: %d damaged lines of %s are left out", self._journal, journal.damaged, run.task
                    )
            problem.journal = journals[run.fingerprint]
            asked.setdefault(run.fingerprint, []).extend(
                (problem.prompt, request.doc_id, request.doc, None) for request in problem.requests
            )
            samples = problem.journal.samples.get(problem_id(problem.prompt), {})
            problem.samples = {index: as_completion(sample) for index, sample in samples.items() if index < problem.n}
            kept[problem.task] += len(problem.samples)
        self.runs = {problem.task: problem.journal.run for problem in problems if problem.journal is not None}
        for fingerprint, journal in journals.items():
            journal.ask(asked[fingerprint])
        for task, count in kept.items():
            if count:
                log.info("journal %s: %d samples of %s found", self._journal, count, task)
