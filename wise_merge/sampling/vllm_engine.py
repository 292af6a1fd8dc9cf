"""Drives vLLM's engine: one request per problem, and each sample handed over when it is finished.

`drive` steps an engine of one process, `Replicas` has several copies of a model behind vLLM's own
balancer. Both hand over a sample when it is finished, not when its whole request is.
"""

import asyncio
import itertools
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any

from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.exceptions import EngineDeadError

from wise_merge.sampling.problems import Pending

try:
    from vllm.inputs import tokens_input
except ImportError:
    # Older engines take a `TokensPrompt`, which they still process.
    from vllm import TokensPrompt as tokens_input


@dataclass(frozen=True, eq=False)
class Request:
    """What goes to the engine at once: samples of one problem with consecutive indices.

    Attributes:
        pending: the problem.
        first: index of the first of the samples.
        tokens: the prompt.
        until: the strings that end a completion, the one of the end-of-sequence token included.
        params: vLLM's sampling parameters.
    """

    pending: Pending
    first: int
    tokens: list[int]
    until: list[str]
    params: SamplingParams


#: Called with each output of a request: a whole sample, or its first token, or the rest of it.
Receive = Callable[[Request, Any], None]


def reporting(*, logprobs: bool) -> dict[str, Any]:
    """Return the sampling parameters that say what comes back, and when: a sample's first token, then its rest.

    Args:
        logprobs: whether to return log-probabilities of the tokens.
    """
    chosen: dict[str, Any] = {"output_kind": RequestOutputKind.DELTA, "logprobs": 0 if logprobs else None}
    fields = SamplingParams.__struct_fields__
    # Without this setting, as before 0.32, there is one output per token: slower, with the same result.
    if "stream_interval" in fields:
        chosen["stream_interval"] = 1 << 30
    if "flat_logprobs" in fields:
        chosen["flat_logprobs"] = True
    return chosen


def drive(engine: Any, requests: Iterable[Request], receive: Receive, lora_request: Any) -> None:
    """Hand all requests to the engine, a window of samples at a time, and what comes of them to `receive`.

    A window, as the requests of a hundred thousand samples would not fit into memory.
    """
    waiting, window = deque(requests), _window(engine.vllm_config)
    running: dict[str, Request] = {}
    unfinished = 0
    names = (f"passk-{number}" for number in itertools.count())
    try:
        with death_noticed(engine):
            while waiting or running:
                while waiting and unfinished < window:
                    request, name = waiting.popleft(), next(names)
                    running[name] = request
                    prompt = tokens_input(prompt_token_ids=request.tokens)
                    engine.add_request(name, prompt, request.params, lora_request=lora_request)
                    unfinished += request.params.n
                    _spare_token_texts(engine)
                for output in engine.step():
                    request = running[output.request_id]
                    for part in output.outputs:
                        receive(request, part)
                        unfinished -= part.finish_reason is not None
                    if output.finished:
                        del running[output.request_id]
    except EngineDeadError:
        running.clear()
        raise
    finally:
        # The engine may be used again, and must not return outputs of these requests then.
        if running:
            engine.abort_request(list(running))


@contextmanager
def death_noticed(engine: Any) -> Iterator[None]:
    """Have `step` and `collective_rpc` raise `EngineDeadError` when the process of the engine was killed.

    This happens when memory runs out. vLLM (0.32) notices, but keeps waiting for output that never comes.
    """
    client: Any = getattr(engine, "engine_core", None)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1):
            if getattr(client.resources, "engine_dead", False):
                client.outputs_queue.put_nowait(EngineDeadError())
                for result in list(getattr(client, "utility_results", {}).values()):
                    if not result.done():
                        result.set_exception(EngineDeadError())
                return

    # An engine within this process has neither.
    if hasattr(client, "outputs_queue") and hasattr(client, "resources"):
        threading.Thread(target=watch, daemon=True, name="wise-merge engine watch").start()
    try:
        yield
    finally:
        over.set()


def _settle(done: Iterable["asyncio.Task[Any]"], following: "set[asyncio.Task[Any]]") -> None:
    for task in done:
        following.discard(task)
        task.result()


def _window(config: Any) -> int:
    """Return how many samples keep an engine busy: twice as many as it runs at a time."""
    return 2 * int(config.scheduler_config.max_num_seqs)


def _spare_token_texts(engine: Any) -> None:
    """Keep vLLM from decoding every single token for its log-probability, which took half of that time.

    Where its internals differ, nothing is changed.
    """
    states = getattr(getattr(engine, "output_processor", None), "request_states", {})
    for state in states.values():
        if getattr(getattr(state, "logprobs_processor", None), "tokenizer", None) is not None:
            state.logprobs_processor.tokenizer = None


class Replicas:
    """Several copies of the model where lm-eval has one `vllm.LLM`, which refuses data parallelism in one process.

    vLLM's own asynchronous engine starts them, hands each sample to the least busy one and streams back.

    Attributes:
        llm_engine: that engine.
    """

    def __init__(self, replicas: int, arguments: dict[str, Any]) -> None:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        # As `vllm.LLM` has it.
        arguments = {"disable_log_stats": True, **arguments, "data_parallel_size": replicas}
        self.llm_engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
        # When the interpreter shuts down, the engine can no longer end its processes.
        weakref.finalize(self, self.llm_engine.shutdown)
        # The engine's tasks belong to the loop in which it is first used.
        self._loop = asyncio.new_event_loop()
        self._names = itertools.count()

    def generate(
        self, prompts: Sequence[Any], sampling_params: Sequence[Any], use_tqdm: bool, lora_request: Any
    ) -> list[Any]:
        """Return the output of each prompt, in order, for what lm-eval asks besides completions: log-likelihoods."""

        async def last(prompt: Any, params: Any) -> Any:
            stream = self.llm_engine.generate(prompt, params, self._name(), lora_request=lora_request)
            return [output async for output in stream][-1]

        async def every() -> list[Any]:
            return await asyncio.gather(*map(last, prompts, sampling_params))

        return self._loop.run_until_complete(every())

    def collective_rpc(self, method: str, args: tuple[Any, ...]) -> list[Any]:
        """Call a method of every worker of every copy, and return what each returns."""
        # vLLM's method calls all copies and returns the result of the first.
        every = getattr(self.llm_engine.engine_core, "call_utility_all_async", None)

        async def call() -> list[Any]:
            if every is None:
                return list(await self.llm_engine.collective_rpc(method, args=args))
            return [one for copy in await every("collective_rpc", method, None, args, None) for one in copy]

        return list(self._loop.run_until_complete(self._unless_dead(call())))

    def reset_prefix_cache(self, reset_running_requests: bool) -> bool:
        """Have every copy forget the keys and values of prompts."""
        done = self.llm_engine.reset_prefix_cache(reset_running_requests)
        return bool(self._loop.run_until_complete(self._unless_dead(done)))

    async def _unless_dead(self, call: Coroutine[Any, Any, Any]) -> Any:
        task = asyncio.ensure_future(call)
        # As in `death_noticed`.
        while not (await asyncio.wait({task}, timeout=1))[0]:
            if self.llm_engine.errored:
                task.cancel()
                raise EngineDeadError()
        return task.result()

    def draw(self, requests: Iterable[Request], receive: Receive, lora_request: Any) -> None:
        """Hand all requests to the engine, a window of samples at a time, and what comes of them to `receive`."""
        self._loop.run_until_complete(self._draw(requests, receive, lora_request))

    async def _draw(self, requests: Iterable[Request], receive: Receive, lora_request: Any) -> None:
        config = self.llm_engine.vllm_config
        window = _window(config) * config.parallel_config.data_parallel_size
        running, room = 0, asyncio.Event()
        following: set[asyncio.Task[Any]] = set()

        async def follow(request: Request) -> None:
            nonlocal running
            prompt = tokens_input(prompt_token_ids=request.tokens)
            stream = self.llm_engine.generate(prompt, request.params, self._name(), lora_request=lora_request)
            # Closing a stream makes the engine drop its request.
            async with aclosing(stream):
                async for output in stream:
                    _spare_token_texts(self.llm_engine)
                    for part in output.outputs:
                        receive(request, part)
                        running -= part.finish_reason is not None
                    room.set()

        try:
            for request in requests:
                while running >= window:
                    room.clear()
                    woken = asyncio.ensure_future(room.wait())
                    done, _ = await asyncio.wait({woken, *following}, return_when=asyncio.FIRST_COMPLETED)
                    woken.cancel()
                    _settle(done & following, following)
                running += request.params.n
                following.add(asyncio.ensure_future(follow(request)))
            while following:
                done, _ = await asyncio.wait(following, return_when=asyncio.FIRST_COMPLETED)
                _settle(done, following)
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)

    def _name(self) -> str:
        return f"passk-{next(self._names)}"
