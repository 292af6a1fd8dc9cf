"""`--model vllm-passk`: lm-eval's `vllm` with one request per problem, and a seed for each of its K samples.

A request with `n=K` and the seed s stands for K samples with the seeds s, s + 1, ...; `vllm_engine`
delivers each when it is finished. Which samples run together, on how many devices, is left to vLLM.
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.utils import maybe_truncate, postprocess_generated_text

from wise_merge.checkpoints import fingerprint
from wise_merge.errors import WiseMergeError, first_line
from wise_merge.hosts import versions, vllm_parts
from wise_merge.hosts.lm_eval import parts as lm_eval_parts
from wise_merge.hosts.lm_eval.messages import TaskInputError, log
from wise_merge.hosts.part import first_fault
from wise_merge.sampling import seeds
from wise_merge.sampling.problems import Deliver, Pending
from wise_merge.sampling.sampler import Sampler
from wise_merge.tasks.completion import Completion

try:
    from lm_eval.models import vllm_causallms
    from vllm import SamplingParams
    from vllm.platforms import current_platform
    from vllm.v1.engine.exceptions import EngineDeadError

    from wise_merge.sampling import vllm_engine
except ImportError as cause:
    remedy = 'pip install "lm-eval[vllm]"'
    if versions.installed("vllm") is not None:
        remedy = f"{versions.described('vllm')}: install a tested one, or use --model vllm"
    raise TaskInputError(f"--model vllm-passk needs vLLM, which cannot be imported ({cause}); {remedy}") from cause

#: The most samples of one request: VLLM_MAX_N_SEQUENCES is 16384 unless set.
LARGEST_REQUEST = 8192

#: Model arguments that do not change what is drawn. A run with any other one has a fingerprint of its own.
_NOT_OF_THE_SAMPLES = {
    *("model", "revision", "tokenizer", "tokenizer_revision", "dtype", "quantization", "max_model_len", "enable_lora"),
    *("max_lora_rank", "seed", "trust_remote_code", "download_dir", "disable_log_stats", "max_logprobs"),
    *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "data_parallel_backend"),
    *("data_parallel_size_local", "data_parallel_address", "data_parallel_rpc_port", "data_parallel_start_rank"),
    *("decode_context_parallel_size", "nnodes", "node_rank", "master_addr", "master_port"),
    *("distributed_executor_backend", "enable_expert_parallel", "max_parallel_loading_workers"),
    *("swap_space", "num_gpu_blocks_override", "enable_sleep_mode", "disable_cascade_attn"),
    *("gpu_memory_utilization", "kv_cache_memory_bytes", "cpu_offload_gb", "block_size", "enable_prefix_caching"),
    *("max_num_seqs", "max_num_batched_tokens", "enable_chunked_prefill", "async_scheduling", "scheduling_policy"),
    *("enforce_eager", "compilation_config", "disable_custom_all_reduce", "stream_interval", "attention_backend"),
}


class VLLMPassK(Sampler, vllm_causallms.VLLM):
    """lm-eval's `vllm` that sends one request for the K samples of a problem and has them one by one.

    `--model_args` takes whatever `vllm` takes, and

    - journal=DIR: keep each sample there when it is finished, and go on from what is there;
    - seed: of the run, beside its meaning for the engine; lm-eval's --seed unless given;
    - logprobs=false: do without the mean log-probability of each sample;
    - data_parallel_size=D: D copies of the model behind vLLM's own balancer, which stay up between
      evaluations; data_parallel_backend=ray (vLLM's own Ray backend) spreads them over several machines.
    """

    _host, _parent = "vllm", "vllm"
    _parent_draws_at_once = 1024

    def __init__(
        self,
        *args: Any,
        journal: str | Path | None = None,
        seed: int | str | None = None,
        logprobs: bool = True,
        data_parallel_size: int | str = 1,
        **kwargs: Any,
    ) -> None:
        self._set_journal_and_seed(journal, seed)
        fault = first_fault(vllm_parts.REPLICAS) if int(data_parallel_size) > 1 else None
        if fault is not None:
            raise TaskInputError(
                f"--model_args data_parallel_size={data_parallel_size}: {versions.not_as_expected('vllm', fault)}; "
                "leave it out, or use --model vllm"
            )
        if self._run_seed is not None:
            # vLLM seeds numpy too, which takes 32 bits; no sample depends on this.
            kwargs["seed"] = self._run_seed % 2**32
        if current_platform.is_cpu():
            if kwargs.get("enable_chunked_prefill"):
                raise TaskInputError(
                    "--model_args enable_chunked_prefill=True: on a CPU, vLLM's engine dies of a prompt in chunks with "
                    "a seed of its own, and here every sample has one; leave it out"
                )
            kwargs["enable_chunked_prefill"] = False
        places = [*args[:1], *(kwargs.get(name) for name in ("pretrained", "tokenizer", "lora_local_path"))]
        before = {place: _state(place) for place in places if place}
        # An engine within this process seeds torch, and lm-eval's --seed is read from torch's seed.
        with torch.random.fork_rng(devices=[]), _replicas(int(data_parallel_size)):
            super().__init__(*args, **kwargs)
        mode = getattr(self.model.llm_engine.model_config, "logprobs_mode", "raw_logprobs")
        self._logprobs = bool(logprobs) and mode == "raw_logprobs"
        if logprobs and not self._logprobs:
            log.warning("log-probabilities are those of the model only with logprobs_mode=raw_logprobs; left out")

        # Digested now, as the files may be those of another merge by the time samples are drawn.
        self._files = self._digests() if self._journal is not None else {}
        for place, state in before.items():
            if self._journal is not None and _state(place) != state:
                raise TaskInputError(f"{place} was written to while it was loaded; run the command again")

    def _digests(self) -> dict[str, str | None]:
        """Return digests of what the engine has loaded."""
        arguments, lora = self.model_args, self.lora_request
        model, tokenizer = arguments["model"], arguments["tokenizer"]
        return {
            "weights": self._weights(),
            "tokenizer": None if tokenizer in (None, model) else _digest(tokenizer, arguments["tokenizer_revision"]),
            "lora": None if lora is None else _digest(lora.lora_path, None),
        }

    def _weights(self) -> str | None:
        """Return a digest of the checkpoint that the engine has loaded."""
        return _digest(self.model_args["model"], self.model_args["revision"])

    def _fault(self) -> str | None:
        """Return what the hosts lack of what drawing sample by sample needs, None = nothing."""
        return first_fault((*lm_eval_parts.VLLM, *vllm_parts.ENGINE))

    def _settings_for_parent(self, one: Pending, index: int) -> dict[str, Any]:
        """Return the generation settings with which the parent draws a sample: with the seed that it has anyway."""
        return {**one.settings, "seed": seeds.sample_seed(one.seed, index)}

    def _draw(self, pending: Sequence[Pending], deliver: Deliver) -> None:
        parts: dict[tuple[vllm_engine.Request, int], list[Any]] = {}

        def receive(request: vllm_engine.Request, output: Any) -> None:
            key = request, output.index
            parts.setdefault(key, []).append(output)
            if output.finish_reason is not None:
                index = request.first + output.index
                deliver(request.pending, index, self._completion(request, index, parts.pop(key)))

        requests = self._requests(pending)
        with self._death_explained():
            if isinstance(self.model, vllm_engine.Replicas):
                self.model.draw(requests, receive, self.lora_request)
            else:
                vllm_engine.drive(self.model.llm_engine, requests, receive, self.lora_request)

    @contextmanager
    def _death_explained(self) -> Iterator[None]:
        try:
            yield
        except EngineDeadError as error:
            remedy = (
                "have finished samples kept with journal=DIR in --model_args"
                if self._journal is None
                else f"run the same command again: what {self._journal} holds is not drawn twice"
            )
            raise WiseMergeError(f"vLLM's engine died, its log above says of what; mend that and {remedy}") from error

    def _requests(self, pending: Sequence[Pending]) -> list[vllm_engine.Request]:
        """Return what to ask of the engine, longest prompt first as the parent does.

        Prompts, stop strings and settings are put together as by the parent's `generate_until`.
        """
        if not pending:
            return []
        eos = self.tokenizer.decode(self.eot_token_id) or getattr(self.tokenizer, "eos_token", None)
        requests = []
        for one, encoded in zip(pending, self.tok_encode([one.prompt for one in pending]), strict=True):
            for name, instead in [("seed", "give --seed, or seed in --model_args"), ("n", "set the task's repeats")]:
                if one.settings.get(name) is not None:
                    raise TaskInputError(
                        f"generation setting {name} of task {one.task}: every sample has a seed of its own, and a "
                        f"request as many samples as are missing; remove it and {instead}"
                    )
            settings, until, max_tokens = self.modify_gen_kwargs(
                one.settings, eos=eos, default_max_gen_toks=self.max_gen_toks
            )
            tokens, max_tokens = maybe_truncate(
                encoded, max_gen_toks=max_tokens, max_model_len=self.max_length, side=self.truncation_side, verbose=True
            )
            # The task's stop strings must not end a thinking model within its thoughts.
            stop = [string for string in until if string == eos] if self.think_end_token else until
            for first, count in _runs(one.missing):
                # At temperature 0, vLLM draws nothing.
                seed = None if settings["temperature"] == 0 else seeds.sample_seed(one.seed, first)
                ours = {
                    "n": count,
                    "seed": seed,
                    "max_tokens": max_tokens,
                    "stop": stop,
                    **vllm_engine.reporting(logprobs=self._logprobs),
                }
                try:
                    params = SamplingParams(**{**settings, **ours})
                # The class of the error differs between versions of vLLM.
                except Exception as error:
                    raise TaskInputError(f"generation settings of task {one.task}: {error}") from error
                requests.append(vllm_engine.Request(one, first, tokens, until, params))
        return sorted(requests, key=lambda request: (-len(request.tokens), request.pending.prompt))

    def _completion(self, request: vllm_engine.Request, index: int, parts: Sequence[Any]) -> Completion:
        """Return a finished sample from the engine's outputs for it, in order."""
        reason = str(parts[-1].finish_reason)
        if reason in ("abort", "error"):
            raise WiseMergeError(
                f"vLLM gave up a sample of task {request.pending.task} ({reason}); its log above may say why"
            )
        text = "".join(part.text for part in parts)
        whole = postprocess_generated_text(text, None, self.think_end_token)
        text = postprocess_generated_text(text, request.until, self.think_end_token)
        tokens = sum(len(part.token_ids) for part in parts)
        total = parts[-1].cumulative_logprob
        return Completion(
            text,
            # The answer of a thinking model ends at the task's stop strings, though generation does not.
            finish_reason="length" if reason == "length" and text == whole else "stop",
            tokens=tokens,
            logprob=None if total is None or not tokens else total / tokens,
            seed=seeds.sample_seed(request.pending.seed, index),
        )

    def _identity(self) -> dict[str, Any]:
        arguments, config = self.model_args, self.model.llm_engine.model_config
        identity = {
            "backend": "vllm-passk",
            "name": arguments["model"],
            **self._files,
            "dtype": str(config.dtype),
            "quantization": None if config.quantization is None else str(config.quantization),
            "max_model_len": self.max_length,
            "max_gen_toks": self.max_gen_toks,
            "truncation_side": self.truncation_side,
            "think_end_token": self.think_end_token,
            "add_bos_token": self.add_bos_token,
        }
        others = {
            name: str(value)
            for name, value in arguments.items()
            if name not in _NOT_OF_THE_SAMPLES and value is not None and (name, value) != ("tokenizer_mode", "auto")
        }
        return {**identity, "arguments": others}


@contextmanager
def _replicas(count: int) -> Iterator[None]:
    """Have lm-eval's class, while it is set up, start that many copies of the model where it would start a `vllm.LLM`.

    Its own data parallelism loads the model anew at every call, and gives nothing back before all is done.
    """
    if count <= 1:
        yield
        return
    original = vllm_causallms.LLM
    vllm_causallms.LLM = lambda **arguments: vllm_engine.Replicas(count, arguments)
    try:
        yield
    finally:
        vllm_causallms.LLM = original


def _runs(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Return (first, count) of each stretch of consecutive indices: 0 1 2 5 6 gives (0, 3) and (5, 2)."""
    for _, stretch in itertools.groupby(enumerate(indices), lambda pair: pair[1] - pair[0]):
        first, *others = (index for _, index in stretch)
        count = 1 + len(others)
        for start in range(0, count, LARGEST_REQUEST):
            yield first + start, min(LARGEST_REQUEST, count - start)


def _digest(model: str, revision: str | None) -> str:
    """Return a digest of a checkpoint: a folder, a file, or a model of the Hub, which the engine has loaded by now."""
    path = Path(model)
    if path.is_file():
        return fingerprint.of_file(path)
    try:
        if not path.is_dir():
            from huggingface_hub import snapshot_download

            path = Path(snapshot_download(model, revision=revision, local_files_only=True))
        return fingerprint.of_folder(path)
    # The Hub's library and the file system raise errors of many classes.
    except Exception as error:
        reason = first_line(error)
        raise TaskInputError(
            f"journal: the files of {model} are not found, so its weights cannot be told from others ({reason}); "
            "give a local folder, or leave journal= out"
        ) from error


def _state(place: str) -> list[tuple[str, int, int]]:
    """Return names, sizes and times of the files of a local checkpoint; an empty list if it is not local."""
    path = Path(place)
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
