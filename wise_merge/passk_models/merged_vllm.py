"""`vllm-passk` whose weights are replaced while it runs: by any average of an early and a late checkpoint.

No merged model is written and no engine started anew: each of vLLM's workers computes the average in place
(`vllm_worker`). Log-probabilities are those of an engine that is started on what `mergekit-yaml` writes for the recipe.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.headers import read_config
from wise_merge.errors import WiseMergeError
from wise_merge.hosts import versions, vllm_parts
from wise_merge.hosts.part import first_fault
from wise_merge.passk_models import vllm, vllm_engine, vllm_worker
from wise_merge.passk_models.sampler import Deliver, Pending
from wise_merge.recipe import Recipe

#: Model arguments under which the weights of the engine, or what it keeps of prompts, are not all replaced.
_REFUSED = {
    **dict.fromkeys(("pretrained", "worker_extension_cls"), "the sweep sets it"),
    **dict.fromkeys(("lora_local_path", "enable_lora"), "the weights are those of two whole checkpoints"),
    "quantization": "the weights are averages in floating point",
    "cpu_offload_gb": "vLLM replaces no weights outside of the device",
    "kv_transfer_config": "keys and values kept outside of the engine are those of other weights",
}


class MergedVLLM(vllm.VLLMPassK):
    """One engine that becomes one average after the other."""

    _bar_stays = False

    def __init__(self, early: Path, **model_args: Any) -> None:
        """Start the engine on the early checkpoint; `model_args` are those of `vllm-passk` but for `pretrained`."""
        for name, why in _REFUSED.items():
            if model_args.get(name):
                raise WiseMergeError(f"model_args {name} cannot be used in a sweep ({why}); leave it out")
        fault = first_fault(vllm_parts.RELOAD)
        if fault is not None:
            raise WiseMergeError(
                f"{versions.described('vllm')} is not as expected inside ({fault}), so the weights of its engine "
                "cannot be replaced; take --backend hf, or a tested version"
            )
        if read_config(early).get("quantization_config"):
            raise WiseMergeError(
                f"{early} is quantised (quantization_config in its config.json), and integers cannot be averaged; take "
                "the checkpoints that it was made from"
            )
        self._merged: tuple[str, str] | None = None
        worker = f"{vllm_worker.AveragingWorker.__module__}.{vllm_worker.AveragingWorker.__qualname__}"
        super().__init__(pretrained=str(early), worker_extension_cls=worker, **model_args)

    def become(self, early: Path, late: Path, names: tuple[str, str], recipe: Recipe, model: str) -> None:
        """Replace the weights in every worker of every engine by an average, computed anew from two checkpoints.

        Args:
            early: folder of the early checkpoint, of the model that the engine was started with.
            late: folder of the late one.
            names: as the recipe calls them.
            recipe: for mergekit, of these two.
            model: digest that tells this average from all other models; it identifies the samples in the journal.

        Raises a `WiseMergeError` for weights that are not finite; until the next success no sample can be drawn then.
        """
        self._merged = None
        # Workers may be other processes, on other machines.
        arguments = ([str(early.absolute()), str(late.absolute())], list(names), json.loads(json.dumps(recipe)))
        with self._death_explained(), vllm_engine.death_noticed(self.model.llm_engine):
            failures = self.model.collective_rpc("wise_merge_become", args=arguments)
            # Otherwise the keys and values of prompts seen before would go on to be those of other weights.
            forgotten = self.model.reset_prefix_cache(reset_running_requests=True)
        for failure in failures:
            if failure is not None:
                raise WiseMergeError(failure)
        if not forgotten:
            raise WiseMergeError("vLLM's prefix cache cannot be emptied; run the same command again")
        self._merged = (f"{names[1]}, alpha {recipe['parameters']['alpha']}", model)

    def _average(self) -> tuple[str, str]:
        if self._merged is None:
            raise WiseMergeError("the model in the engine is no average yet, so nothing can be sampled")
        return self._merged

    def _weights(self) -> str | None:
        # Not of the checkpoint that was loaded: `_identity` says which average has taken its place.
        return None

    def _draw(self, pending: Sequence[Pending], deliver: Deliver) -> None:
        self._average()
        super()._draw(pending, deliver)

    def _model_generate(self, *args: Any, **kwargs: Any) -> Any:
        # lm-eval's other questions, such as log-likelihoods.
        self._average()
        return super()._model_generate(*args, **kwargs)

    def _identity(self) -> dict[str, Any]:
        name, weights = self._average()
        identity = super()._identity()
        identity["arguments"].pop("worker_extension_cls")
        return {**identity, "name": name, "weights": weights}
