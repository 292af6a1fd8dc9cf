"""`vllm-passk` whose weights are replaced while it runs: by any elementwise merge of checkpoints.

No merged model is written and no engine started anew: each of vLLM's workers computes the merge in place
(`vllm_worker`). Log-probabilities are those of an engine that is started on what `mergekit-yaml` writes for the recipe.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.files import read_config
from wise_merge.errors import WiseMergeError
from wise_merge.hosts import versions, vllm_parts
from wise_merge.hosts.part import first_fault
from wise_merge.recipes.models import Ingredients
from wise_merge.recipes.schema import Recipe
from wise_merge.sampling import vllm, vllm_engine, vllm_worker
from wise_merge.sampling.problems import Deliver, Pending

#: Model arguments under which some weights, or cached keys and values, would not be replaced.
_REFUSED = {
    **dict.fromkeys(("pretrained", "worker_extension_cls"), "the sweep sets it"),
    **dict.fromkeys(("lora_local_path", "enable_lora"), "the weights are those of whole checkpoints"),
    "quantization": "the weights are merged in floating point",
    "cpu_offload_gb": "vLLM replaces no weights outside of the device",
    "kv_transfer_config": "keys and values kept outside of the engine are those of other weights",
}


class MergedVLLM(vllm.VLLMPassK):
    """One engine whose weights are replaced by one merge after the other."""

    _bar_stays = False

    def __init__(self, first: Path, **model_args: Any) -> None:
        """Start the engine on the first checkpoint; `model_args` are those of `vllm-passk` except `pretrained`."""
        for name, why in _REFUSED.items():
            if model_args.get(name):
                raise WiseMergeError(f"model_args {name} cannot be used in a sweep ({why}); leave it out")
        fault = first_fault(vllm_parts.RELOAD)
        if fault is not None:
            raise WiseMergeError(
                f"{versions.not_as_expected('vllm', fault)}, so the weights of its engine cannot be replaced; take "
                "--backend hf, or a tested version"
            )
        if read_config(first).get("quantization_config"):
            raise WiseMergeError(
                f"{first} is quantised (quantization_config in its config.json), and integers cannot be averaged; take "
                "the checkpoints that it was made from"
            )
        self._merged: tuple[str, str] | None = None
        worker = f"{vllm_worker.MergingWorker.__module__}.{vllm_worker.MergingWorker.__qualname__}"
        super().__init__(pretrained=str(first), worker_extension_cls=worker, **model_args)

    def replace_weights(
        self, folders: Sequence[Path], ingredients: Ingredients, recipe: Recipe, name: str, digest: str
    ) -> None:
        """Replace the weights in every worker of every engine by a merge, computed anew from the checkpoints.

        Args:
            folders: of the checkpoints, in the order of `ingredients.names`; of the model that the engine was started
                with.
            ingredients: as the recipe calls them.
            recipe: for mergekit, of an elementwise method.
            name: of the merge, for people.
            digest: that tells this merge from all other models; it identifies the samples in the journal.

        Raises a `WiseMergeError` for weights that are not finite; until the next success no sample can be drawn then.
        """
        self._merged = None
        # Workers may be other processes, on other machines.
        arguments = (
            [str(folder.absolute()) for folder in folders],
            ingredients.base,
            list(ingredients.models),
            json.loads(json.dumps(recipe)),
        )
        with self._death_explained(), vllm_engine.death_noticed(self.model.llm_engine):
            failures = self.model.collective_rpc("wise_merge_replace", args=arguments)
            # Cached keys and values of earlier prompts belong to the former weights.
            forgotten = self.model.reset_prefix_cache(reset_running_requests=True)
        for failure in failures:
            if failure is not None:
                raise WiseMergeError(failure)
        if not forgotten:
            raise WiseMergeError("vLLM's prefix cache cannot be emptied; run the same command again")
        self._merged = (name, digest)

    def _current(self) -> tuple[str, str]:
        if self._merged is None:
            raise WiseMergeError("the model in the engine is no merge yet, so nothing can be sampled")
        return self._merged

    def _weights(self) -> str | None:
        # No digest of the checkpoint that was loaded: `_identity` names the merge that replaced it.
        return None

    def _draw(self, pending: Sequence[Pending], deliver: Deliver) -> None:
        self._current()
        super()._draw(pending, deliver)

    def _model_generate(self, *args: Any, **kwargs: Any) -> Any:
        # lm-eval's other kinds of requests, such as log-likelihoods.
        self._current()
        return super()._model_generate(*args, **kwargs)

    def _identity(self) -> dict[str, Any]:
        name, weights = self._current()
        identity = super()._identity()
        identity["arguments"].pop("worker_extension_cls")
        return {**identity, "name": name, "weights": weights}
