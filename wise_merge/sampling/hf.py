"""`--model hf-passk`: lm-eval's `hf` with one prefill per problem and a seed for each of its K samples.

Prompts, stop strings and settings are put together as by the parent's `generate_until`, as if each
completion were a batch of its own; which rows share a batch changes nothing in what is drawn.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from lm_eval.models import utils as lm_eval_utils
from lm_eval.models.huggingface import HFLM

from wise_merge.checkpoints import fingerprint
from wise_merge.hosts import transformers_parts, versions
from wise_merge.hosts.lm_eval import parts as lm_eval_parts
from wise_merge.hosts.lm_eval.messages import TaskInputError, log
from wise_merge.hosts.lm_eval.registration import leave_process_group_at_exit
from wise_merge.hosts.part import first_fault
from wise_merge.kernels import threads
from wise_merge.sampling import decode, seeds
from wise_merge.sampling.cache_rows import NotShareableError
from wise_merge.sampling.problems import Deliver, Pending
from wise_merge.sampling.sampler import Sampler
from wise_merge.tasks.completion import Completion

#: Entries of a model's configuration that do not change what is computed.
_NOT_OF_THE_SAMPLES = {"_name_or_path", "name_or_path", "transformers_version", "_attn_implementation", "use_cache"}

#: Prompts share a batch if they differ by at most so many tokens, or a quarter of the longest.
_SLACK = 64
#: The most tokens of prompts, padding included, that are read at once where no batch size is given.
_PROMPT_TOKENS = 8192


class HFPassK(Sampler, HFLM):
    """lm-eval's `hf` that reads each prompt once for its K samples and keeps every sample as soon as it is finished.

    `--model_args` takes whatever `hf` takes, and

    - journal=DIR: keep each sample there when it is finished, and go on from what is there;
    - seed: of the run; lm-eval's --seed unless given.

    `--batch_size` is the most samples that are drawn together; at 1, which is lm-eval's default, and at
    "auto" it is `max_batch_size`, 64 unless given. Where that is more than the memory holds, it is halved.
    Prompts of very different lengths do not share a batch, nor do any of different lengths where the
    model does not mask padding to the last bit.
    """

    _host, _parent = "transformers", "hf"

    def __init__(
        self, *args: Any, journal: str | Path | None = None, seed: int | str | None = None, **kwargs: Any
    ) -> None:
        self._set_journal_and_seed(journal, seed)
        super().__init__(*args, **kwargs)
        self._spread_over_ranks(kwargs.get("tp_plan"))
        rows = self.batch_size_per_gpu
        self._modest = not (isinstance(rows, int) and rows > 1)
        self._rows = max(1, int(self.max_batch_size or 64)) if self._modest else rows
        self._padding_is_nothing: bool | None = None
        self._warned: set[str] = set()

    def _spread_over_ranks(self, tp_plan: Any) -> None:
        """Have every process that `accelerate launch` started draw a share of the problems."""
        accelerator = getattr(self, "accelerator", None)
        if accelerator is None or tp_plan is not None:
            return
        # The parent class spreads problems over the GPUs of one machine only, and counts its processes from 0.
        self._rank, self._world_size = accelerator.process_index, accelerator.num_processes
        leave_process_group_at_exit()

    def _shared(self, value: str) -> str:
        values = [value]
        if self.world_size > 1:
            broadcast_object_list(values)
        return values[0]

    def _fault(self) -> str | None:
        """Return what the hosts lack of what the loop over tokens needs, None = nothing."""
        return first_fault((*lm_eval_parts.HF, *transformers_parts.LOOP))

    def _draw(self, pending: Sequence[Pending], deliver: Deliver) -> None:
        groups: dict[str, list[Pending]] = {}
        for one in pending:
            groups.setdefault(json.dumps(one.settings, sort_keys=True, default=str), []).append(one)
        with threads.fitting(self.model):
            for group in groups.values():
                self._draw_group(group, deliver)

    def _draw_group(self, group: Sequence[Pending], deliver: Deliver) -> None:
        """Draw the missing samples of problems with one group of settings, longest prompt first as the parent does."""
        settings, until, longest = self._settings(group[0])
        stops = decode.StopStrings(self.tokenizer, until)
        # lm-eval's own name for the longest sequence, prompt included, which may be given instead.
        whole = settings.pop("max_length", None)
        asked: dict[decode.Row, tuple[Pending, int]] = {}
        for one in group:
            prompt = self._prompt(one, longest)
            limit = self._limit(one, len(prompt), longest, whole)
            for index in one.missing:
                asked[decode.Row(prompt, seeds.sample_seed(one.seed, index), limit)] = one, index

        def finished(row: decode.Row, drawn: decode.Drawn) -> None:
            one, index = asked.pop(row)
            deliver(one, index, self._completion(row, drawn, until))

        fault = first_fault(transformers_parts.SHARED_PREFILL)
        share = fault is None
        if fault is not None:
            self._warn_once(f"{versions.described('transformers')}: a prompt is read once per sample, for {fault}")
        waiting = sorted(asked, key=lambda row: (-len(row.prompt), asked[row][0].prompt))
        while waiting:
            batch = self._batch(waiting)
            try:
                self._decode(batch, finished, settings, stops, share=share)
                out_of_memory = False
            except NotShareableError as reason:
                share, out_of_memory = False, False
                self._warn_once(
                    f"{self.tokenizer_name}: a prompt is read once per sample, as by --model hf, for {reason}"
                )
            except RuntimeError as error:
                out_of_memory = isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)
                if not out_of_memory or len(batch) == 1:
                    raise
            # Outside the except clause, as the error keeps the batch in memory.
            if out_of_memory:
                clear_device_cache(garbage_collection=True)
                self._rows = (len(batch) + 1) // 2
                log.warning("%d samples at once are too many for the memory; going on with %d", len(batch), self._rows)
            waiting = [row for row in batch if row in asked] + waiting[len(batch) :]

    def _decode(
        self,
        rows: Sequence[decode.Row],
        finished: Callable[[decode.Row, decode.Drawn], None],
        settings: Mapping[str, Any],
        stops: decode.StopStrings,
        *,
        share: bool,
    ) -> None:
        """Draw rows in one batch, through the parent's call of transformers."""

        def generate(input_ids: torch.Tensor, **prepared: Any) -> Any:
            return self._model_generate(context=input_ids, stop=[], **prepared, **settings)

        decode.draw(
            generate,
            rows,
            finished,
            stops=stops,
            pad_token_id=self.tokenizer.pad_token_id,
            device=self.device,
            share=share,
            encoder_decoder=self.backend == "seq2seq",
        )

    def _batch(self, waiting: Sequence[decode.Row]) -> list[decode.Row]:
        """Return the rows to draw next: as many as fit, of prompts of similar length, as shorter ones are padded."""
        longest = len(waiting[0].prompt)
        shortest = longest - max(_SLACK, longest // 4)
        batch: list[decode.Row] = []
        prompts = 0
        for row in waiting[: self._rows]:
            prompts += not batch or row.prompt is not batch[-1].prompt
            # Without a batch size from the user, prompts must not fill the memory.
            if len(row.prompt) < shortest or (batch and self._modest and prompts * longest > _PROMPT_TOKENS):
                break
            batch.append(row)
        if len(batch[-1].prompt) < longest and not self._pads(batch[0].prompt, batch[-1].prompt):
            batch = [row for row in batch if len(row.prompt) == longest]
        return batch

    def _pads(self, longer: tuple[int, ...], shorter: tuple[int, ...]) -> bool:
        """Return whether a prompt may be padded: whether the model gives the same completion with masked padding.

        Tried once, with the first two prompts that would share a batch.
        """
        if self._padding_is_nothing is None:
            if self.backend != "causal" or _one_table_for_all(_described(self.model.config)):
                self._padding_is_nothing = False
                return False
            row = decode.Row(shorter, seed=0, limit=2)
            greedy, stops = {"do_sample": False, "temperature": 0.0}, decode.StopStrings(self.tokenizer, [])
            results: list[dict[decode.Row, decode.Drawn]] = [{}, {}]
            for rows, drawn in zip(([row], [decode.Row(longer, seed=0, limit=2), row]), results, strict=True):
                self._decode(rows, drawn.__setitem__, greedy, stops, share=False)
            alone, padded = (drawn[row] for drawn in results)
            # Up to rounding, which is some 1e-6 in float32.
            tolerance = 1e-4 if self.model.dtype in (torch.float32, torch.float64) else 0.1
            self._padding_is_nothing = (
                alone.tokens == padded.tokens and abs(alone.logprob - padded.logprob) <= tolerance
            )
        return self._padding_is_nothing

    def _settings(self, one: Pending) -> tuple[dict[str, Any], list[str], int]:
        """Return what goes to transformers, the strings that end a completion, and the most new tokens."""
        settings = dict(lm_eval_utils.normalize_gen_kwargs(one.settings, self.max_gen_toks))
        if settings.get("seed") is not None:
            raise TaskInputError(
                f"generation setting seed of task {one.task}: every sample has a seed of its own; remove it and give "
                "--seed, or seed in --model_args"
            )
        eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        until = lm_eval_utils.handle_stop_sequences(settings.pop("until"), eos=eos)
        return settings, until, settings.pop("max_gen_toks")

    def _prompt(self, one: Pending, longest: int) -> tuple[int, ...]:
        """Return the tokens of a prompt, cut on the left to leave room for the longest completion."""
        room = self.max_length if self.backend == "seq2seq" else self.max_length - longest
        if room <= 0:
            raise TaskInputError(
                f"task {one.task}: completions of up to max_gen_toks={longest} tokens leave no room for the prompt in "
                f"the model's {self.max_length}; lower it, or raise max_length in --model_args"
            )
        # Encoded alone: in a batch, the first prompt decides whether a start token is put before all of them.
        tokens, _ = self.tok_batch_encode([one.prompt], left_truncate_len=room, truncation=self.truncation)
        if not tokens.numel():
            raise TaskInputError(
                f"task {one.task} has an empty prompt, after which nothing can be drawn; give the tokenizer a start "
                "token (add_bos_token=True in --model_args), or the task a text"
            )
        return tuple(tokens[0].long().tolist())

    def _limit(self, one: Pending, prompt: int, longest: int, whole: Any) -> int:
        """Return the most new tokens after a prompt of so many tokens."""
        if whole is not None:
            self._warn_once("`max_length` in generation kwargs. Please use `max_gen_toks` instead.")
        if whole is None and longest <= 0:
            raise TaskInputError(f"task {one.task}: max_gen_toks must be at least 1; got {longest}")
        total = prompt + longest if whole is None else int(whole)
        # As the parent class counts: the sequence of an encoder-decoder model has a start token and no prompt.
        limit = total - (1 if self.backend == "seq2seq" else prompt)
        if limit <= 0:
            raise TaskInputError(
                f"task {one.task}: max_length={whole} leaves nothing for the completion of a prompt of {prompt} "
                "tokens; set max_gen_toks instead"
            )
        return limit

    def _warn_once(self, line: str) -> None:
        if line not in self._warned:
            self._warned.add(line)
            log.warning(line)

    def _completion(self, row: decode.Row, drawn: decode.Drawn, until: Sequence[str]) -> Completion:
        """Return the completion that the parent class makes of these tokens."""
        tokens = drawn.tokens
        if isinstance(self.think_end_token, int) and self.think_end_token in tokens:
            tokens = tokens[len(tokens) - tokens[::-1].index(self.think_end_token) :]
        text = self.tok_decode(tokens)
        if isinstance(self.think_end_token, int):
            text = text.lstrip()
        think_end = self.think_end_token if isinstance(self.think_end_token, str) else None
        whole = lm_eval_utils.postprocess_generated_text(text, None, think_end)
        text = lm_eval_utils.postprocess_generated_text(text, list(until), think_end)
        return Completion(
            text,
            finish_reason="stop" if drawn.stopped or text != whole else "length",
            tokens=len(drawn.tokens),
            logprob=drawn.logprob,
            seed=row.seed,
        )

    def _weights(self) -> str:
        """Return a digest of the weights."""
        return fingerprint.of_module(self.model)

    def _identity(self) -> dict[str, Any]:
        model = self.model
        return {
            "backend": "hf-passk",
            "name": str(getattr(model, "name_or_path", "")),
            "weights": self._weights(),
            "config": _digest(_described(model.config)),
            "generation_config": _digest(_described(getattr(model, "generation_config", None))),
            "adapters": _digest(_adapters(model)),
            "tokenizer": _digest(_tokenization(self.tokenizer)),
            "dtype": str(getattr(model, "dtype", None)),
            "mixed_precision_dtype": None if self.mixed_precision_dtype is None else str(self.mixed_precision_dtype),
            "max_length": self.max_length,
            "max_gen_toks": self.max_gen_toks,
            "truncation": bool(self.truncation),
            "think_end_token": self.think_end_token,
            "add_bos_token": self.add_bos_token,
        }


def _described(config: Any) -> dict[str, Any]:
    described = {} if config is None else config.to_dict()
    return {name: value for name, value in described.items() if name not in _NOT_OF_THE_SAMPLES}


def _adapters(model: Any) -> dict[str, Any]:
    """Return the configurations of adapters, as the scale of LoRA is not in its weights."""
    adapters = getattr(model, "peft_config", None)
    if not isinstance(adapters, Mapping):
        return {}
    others = {"base_model_name_or_path", "inference_mode", "peft_version", "revision"}
    return {
        name: {key: value for key, value in config.to_dict().items() if key not in others}
        for name, config in adapters.items()
    }


def _one_table_for_all(config: Any) -> bool:
    """Return whether the positions of all rows depend on the longest row of a batch, as in two kinds of RoPE."""
    if isinstance(config, Mapping):
        kinds = [config.get("rope_type"), config.get("type")]
        return "longrope" in kinds or "dynamic" in kinds or any(map(_one_table_for_all, config.values()))
    return False


def _tokenization(tokenizer: Any) -> dict[str, Any]:
    """Return what decides how this tokenizer encodes and decodes."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        rules = {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
    else:
        rules = json.loads(backend.to_str())
        # These two are left by the last call.
        rules = {name: value for name, value in rules.items() if name not in ("truncation", "padding")}
    return {
        "rules": rules,
        "special": tokenizer.special_tokens_map,
        "longest": tokenizer.model_max_length,
        "truncation_side": tokenizer.truncation_side,
        "clean_up": getattr(tokenizer, "clean_up_tokenization_spaces", None),
    }


def _digest(described: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True, default=_in_order).encode()).hexdigest()[:32]


def _in_order(value: Any) -> Any:
    # The order of a set differs between processes.
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)
