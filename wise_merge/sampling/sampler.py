"""What both model classes do around the drawing: which samples are needed, the journal, progress.

lm-eval hands over K references to one request per problem. They are put together here, what the
journal holds is taken from it, and only what is missing is drawn.
"""

import json
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from tqdm import tqdm

from wise_merge.errors import WiseMergeError, first_line
from wise_merge.hosts import versions
from wise_merge.hosts.lm_eval.registration import TaskInputError, log
from wise_merge.journal import Journal, Run, Sample, problem_id
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
class _Problem:
    """One prompt of a task under one group of settings.

    Attributes:
        requests: those of lm-eval that ask for it, one per row of the data with this prompt.
        wanted: how many samples.
        found: index -> completion.
        book: its journal.
    """

    requests: list[Any]
    wanted: int = 0
    found: dict[int, Completion] = field(default_factory=dict)
    book: Journal | None = None

    @property
    def task(self) -> str:
        return self.requests[0].task_name or ""

    @property
    def prompt(self) -> str:
        return str(self.requests[0].args[0])

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.requests[0].args[1])

    @cached_property
    def greedy(self) -> bool:
        # As lm-eval understands them: a temperature above 0 asks for sampling, unless do_sample forbids it.
        temperature, do_sample = self.settings.get("temperature"), self.settings.get("do_sample")
        return not (temperature or 0) > 0 if do_sample is None else not do_sample or temperature == 0


class Sampler:
    """Goes before lm-eval's own class of a backend: K samples of each problem, each with a seed of its own.

    The class that results says how to `_draw` samples and what the `_identity` of its model is.
    """

    cache_hook: Any
    tokenizer: Any
    max_gen_toks: int
    rank: int
    world_size: int
    barrier: Callable[[], None]
    #: task -> fingerprint of the run in the journal that the last samples of it belong to.
    runs: Mapping[str, str] = {}
    #: Seconds to wait for a journal that another process has not let go yet.
    patience = 0.0
    #: Whether the bar of an evaluation stays on the screen when it is over.
    _bar_stays = True
    #: The program whose insides `_draw` uses, and the name of lm-eval's own class for --model.
    _host = _parent = ""
    #: How many samples the parent is asked for at a time; those in work are lost with the process.
    _parents_share = 64
    #: What kept `_draw` from drawing, None = nothing has.
    _left_to_parent: str | None = None
    #: Whether the hosts have been asked and are as expected; a sweep draws many times in one process.
    _hosts_fit = False

    def _fault(self) -> str | None:
        """Return what of the hosts is not as `_draw` needs it, None = all is, or nothing is needed."""
        return None

    def _draw(self, pending: Sequence[Pending], deliver: Deliver) -> None:
        """Draw all missing samples of all problems and deliver each as soon as it exists."""
        raise NotImplementedError

    def _identity(self) -> dict[str, Any]:
        """Return what samples depend on beside task, prompt, generation settings and run seed, in JSON's types.

        `weights` is a digest; `name` is for people and takes no part in the fingerprint.
        """
        raise NotImplementedError

    def _shared(self, value: str) -> str:
        """Return the value of the first of all processes that evaluate together."""
        return value

    def _note(self, journal: str | Path | None, seed: int | str | None) -> None:
        """Take note of the two model arguments that the parent does not know, before it loads the model.

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
        # lm-eval gives torch its --seed before it evaluates.
        run_seed = torch.initial_seed() if self._run_seed is None else self._run_seed
        problems, places = _grouped(requests)
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
                pending = {_pending(problem, run_seed): problem for problem in problems}
                wanted = sum(problem.wanted for problem in problems)
                missing = sum(len(one.missing) for one in pending)
                hidden = disable_tqdm or self.rank != 0
                progress = stack.enter_context(_Progress(wanted, wanted - missing, hidden, stays=self._bar_stays))

                def deliver(one: Pending, index: int, completion: Completion) -> None:
                    problem = pending[one]
                    if problem.book is not None:
                        problem.book.append(_sample(one.prompt, index, completion))
                    problem.found[index] = completion
                    progress.add(completion.tokens)

                # In one go: problems of several tasks may share a batch.
                self._draw_somehow([one for one in pending if one.missing], deliver)
                if self.world_size > 1:
                    # Until all are done no other process may take this run for its own.
                    self.barrier()
            except WiseMergeError as error:
                raise TaskInputError(str(error)) from error
            finally:
                kept = sum(len(problem.found) for problem in problems if problem.book is not None)
                # Of a sweep, the command itself says what Ctrl-C leaves.
                told = not self._bar_stays and sys.exc_info()[0] is KeyboardInterrupt
                if kept and not told and any(len(problem.found) < problem.wanted for problem in problems):
                    log.error("journal %s: %d samples are kept; the same command goes on", self._journal, kept)
        completions = [problem.found[index] for problem, index in places]
        for request, completion in zip(requests, completions, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, completion)
        return list(completions)

    def _draw_somehow(self, pending: Sequence[Pending], deliver: Deliver) -> None:
        """Draw all missing samples: in our way, or in the parent's where the hosts have changed inside."""
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
            # Of the task, the disk, the memory or the device: the parent could do no better.
            except (WiseMergeError, OSError, MemoryError):
                raise
            # What a host that has changed inside raises. What is wrong with the model, the parent meets, too.
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
            "%s is not as expected inside (%s): going on in the way of --model %s, slower; samples are drawn as "
            "they should be, but are not the same when they are drawn again. `wise-merge doctor` tells more",
            versions.described(self._host),
            fault,
            self._parent,
        )

    def _draw_as_parent(self, one: Pending, missing: Sequence[int], deliver: Deliver) -> None:
        """Have lm-eval's own class draw samples of a problem, a share at a time."""
        generate: Callable[..., list[str]] = super().generate_until  # type: ignore[misc]
        limit = int(one.settings.get("max_gen_toks") or self.max_gen_toks)
        for start in range(0, len(missing), self._parents_share):
            indices = missing[start : start + self._parents_share]
            requests = [
                Instance("generate_until", {}, (one.prompt, self._parents_settings(one, index)), 0, (one.task, 0, 1))
                for index in indices
            ]
            # Ours alone: lm-eval's --seed is known from torch's.
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

    def _parents_settings(self, one: Pending, index: int) -> dict[str, Any]:
        """Return the generation settings with which the parent draws a sample."""
        return dict(one.settings)

    def _consult_journal(self, problems: Sequence[_Problem], run_seed: int, stack: ExitStack) -> None:
        """Give every problem its journal and what that holds of it; the journals stay open as long as `stack`."""
        if self._journal is None or not problems:
            return
        model = self._identity()
        evaluation = self._shared(uuid.uuid4().hex)
        open_book = partial(Journal.open, self._journal, rank=self.rank, evaluation=evaluation, patience=self.patience)
        books: dict[str, Journal] = {}
        asked: dict[str, list[tuple[str, int | None, Any, Any]]] = {}
        found: Counter[str] = Counter()
        for problem in problems:
            # Greedy completions depend on no seed.
            settings = {**problem.settings, "seed": None if problem.greedy else run_seed}
            run = Run(task=problem.task, model=model, settings=settings)
            if run.fingerprint not in books:
                book = stack.enter_context(open_book(run))
                books[run.fingerprint] = book
                if book.damaged:
                    log.warning(
                        "journal %s: %d damaged lines of %s are left out", self._journal, book.damaged, run.task
                    )
            problem.book = books[run.fingerprint]
            asked.setdefault(run.fingerprint, []).extend(
                (problem.prompt, request.doc_id, request.doc, None) for request in problem.requests
            )
            kept = problem.book.found.get(problem_id(problem.prompt), {})
            problem.found = {index: _completion(sample) for index, sample in kept.items() if index < problem.wanted}
            found[problem.task] += len(problem.found)
        self.runs = {problem.task: problem.book.run for problem in problems if problem.book is not None}
        for fingerprint, book in books.items():
            book.ask(asked[fingerprint])
        for task, count in found.items():
            if count:
                log.info("journal %s: %d samples of %s found", self._journal, count, task)


class _Progress:
    """A bar on stderr: samples done of all, time left, tokens per second; what was found counts as done."""

    def __init__(self, total: int, found: int, disabled: bool, *, stays: bool) -> None:
        self._bar = tqdm(total=total, initial=found, disable=disabled, desc="Sampling", unit="sample", leave=stays)
        self._started, self._tokens = time.monotonic(), 0
        self._found = f"{found} from the journal, " if found else ""

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def add(self, tokens: int) -> None:
        """Count a sample of so many tokens."""
        self._tokens += tokens
        rate = self._tokens / max(time.monotonic() - self._started, 1e-9)
        self._bar.set_postfix_str(f"{self._found}{rate:.0f} tokens/s", refresh=False)
        self._bar.update()


def _grouped(requests: Sequence[Any]) -> tuple[list[_Problem], list[tuple[_Problem, int]]]:
    """Return the problems, and for each request which sample of which problem it asks for.

    The n-th reference to a request asks for sample n. Two requests of a task with one prompt are one
    problem. What a data-parallel run is padded with asks for samples that are drawn anyway.
    """
    problems: dict[tuple[str, str, str], _Problem] = {}
    places: list[tuple[_Problem, int]] = []
    of_request: dict[int, _Problem] = {}
    seen: Counter[int] = Counter()
    for request in requests:
        key = id(request)
        if key not in of_request:
            problem = _Problem([request])
            settings = json.dumps(problem.settings, sort_keys=True, default=str)
            of_request[key] = problems.setdefault((problem.task, problem.prompt, settings), problem)
            if of_request[key] is not problem:
                of_request[key].requests.append(request)
        problem = of_request[key]
        index = seen[key] % (request.repeats or len(requests))
        seen[key] += 1
        if problem.greedy:
            index = 0
        problem.wanted = max(problem.wanted, index + 1)
        places.append((problem, index))
    return list(problems.values()), places


def _pending(problem: _Problem, run_seed: int) -> Pending:
    missing = tuple(index for index in range(problem.wanted) if index not in problem.found)
    seed = seeds.problem_seed(run_seed, problem.task, problem.prompt)
    return Pending(problem.task, problem.prompt, problem.settings, seed, missing)


def _sample(prompt: str, index: int, completion: Completion) -> Sample:
    return Sample(
        problem=problem_id(prompt),
        index=index,
        text=str(completion),
        tokens=completion.tokens,
        finish_reason=completion.finish_reason,
        logprob=completion.logprob,
        seed=completion.seed,
    )


def _completion(sample: Sample) -> Completion:
    return Completion(
        sample.text,
        finish_reason=sample.finish_reason,
        tokens=sample.tokens,
        logprob=sample.logprob,
        seed=sample.seed,
    )
