"""LoRA adapters: what they are, whether PEFT merges them exactly, and whether they belong to a base model.

Answered from configs and headers before a weight is read. PEFT itself passes over weights that fit nothing and
only warns of weights that are missing, so an adapter merged into the wrong base would be a wrong model.
"""

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.equality import same_weights
from wise_merge.checkpoints.files import adapter_file, read_config, read_json
from wise_merge.checkpoints.headers import TensorHeader, file_headers
from wise_merge.checkpoints.heads import separate_head
from wise_merge.errors import WiseMergeError, first_line

#: Initialisations that PEFT repeats on loading, with another result or not without its data.
_UNREPEATABLE = re.compile(r"pissa_niter.*|loftq|corda|lora_ga")

#: How quantised copies of a model are named. Adapters trained on one are meant for the model itself, too.
_QUANTISED = re.compile(r"([-_.](unsloth|bnb|gptq|awq|nf4|fp8|int[48]|[48]bit))+$", re.IGNORECASE)

#: What relative folders are called, and no organisation on the Hub that people train from.
_FOLDERS = {
    *("base", "checkpoint", "checkpoints", "ckpt", "ckpts", "data", "llm", "llms", "model", "models"),
    *("out", "output", "outputs", "pretrained", "results", "runs", "sft", "tmp", "weights", ".", ".."),
}


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter."""

    directory: Path
    #: The base model as training recorded it: a name on the Hub or a path of that time.
    base: str | None
    #: adapter_config.json.
    config: Mapping[str, Any]
    #: The header of each tensor, by name.
    headers: Mapping[str, TensorHeader]


def read_adapter(directory: Path) -> Adapter:
    """Return the LoRA adapter that a directory holds; `WiseMergeError` if it is none or not whole."""
    if not directory.is_dir():
        raise WiseMergeError(f"adapter {directory} does not exist or is not a directory")
    path = directory / "adapter_config.json"
    if not path.is_file():
        hint = "; it is a full model: name it alone, without +" if (directory / "config.json").is_file() else ""
        raise WiseMergeError(f"{directory} has no adapter_config.json, so it is not an adapter{hint}")
    config = read_json(path)
    if config.get("peft_type") != "LORA":
        raise WiseMergeError(
            f"{path} says peft_type {config.get('peft_type')}; only LORA can be merged here. Merge it into its base by "
            "PEFT's merge_and_unload, and name the result"
        )
    base = config.get("base_model_name_or_path") or None
    return Adapter(directory, base, config, file_headers(adapter_file(directory)))


def check_adapter(adapter: Adapter, base: str, base_directory: Path | None) -> list[str]:
    """Return warnings about `base` + `adapter`; raise `WiseMergeError` if their sum would be a wrong model.

    `base` is its name in the recipe; `base_directory` holds its config.json, and may be None for a model that
    is not on this machine yet. Imports transformers and PEFT; reads no weight, unless the base that training
    recorded is another folder here, which is then compared up to the first difference.
    """
    _check_exact(adapter)
    if base_directory is not None and (quantised := read_config(base_directory).get("quantization_config")):
        raise WiseMergeError(
            f"{base} is quantised ({quantised.get('quant_method', 'see its config.json')}), so nothing can be added to "
            f"its weights exactly; name the model before quantisation, to which {adapter.directory} fits as well"
        )
    doubts = _compare_bases(adapter, base, base_directory)
    if base_directory is not None:
        doubts += _check_fit(adapter, base, base_directory)
    return doubts


def _check_exact(adapter: Adapter) -> None:
    config, place = adapter.config, adapter.directory / "adapter_config.json"
    start = config.get("init_lora_weights")
    if isinstance(start, str) and _UNREPEATABLE.fullmatch(start):
        raise WiseMergeError(
            f"{place} says init_lora_weights {start}, which changed the base's weights in a way that cannot be "
            "done again; convert it by save_pretrained(path_initial_model_for_weight_conversion=...) and name that"
        )
    for key, meaning in (
        ("alora_invocation_tokens", "acts on some tokens only, so it has no dense product"),
        ("layer_replication", "adds layers, which the base's config does not have"),
    ):
        if config.get(key):
            raise WiseMergeError(f"{place} sets {key}: such an adapter {meaning}; it cannot be averaged")


def _compare_bases(adapter: Adapter, base: str, base_directory: Path | None) -> list[str]:
    if adapter.base is None:
        return []
    trained = f"{adapter.directory} was trained on {adapter.base}"
    if base_directory is not None and Path(adapter.base).is_dir():
        try:
            same = same_weights(Path(adapter.base), base_directory)
        except WiseMergeError:
            same = None  # what is there now is no model, so it says nothing
        if same is False:
            raise WiseMergeError(f"{trained}, whose weights are not those of {base}; name {adapter.base}+ before it")
        if same:
            return []
    (recorded, recorded_on_hub), (named, named_on_hub) = _name(adapter.base), _name(base)
    if _last(recorded) == _last(named):
        return []
    if recorded_on_hub and named_on_hub:
        raise WiseMergeError(
            f"{trained}, not on {base}; name {recorded}+ before it. If both are one model, correct "
            "base_model_name_or_path in its adapter_config.json"
        )
    return [f"{trained}; whether {base} is the same model cannot be told from here"]


def _name(path: str) -> tuple[str, bool]:
    """Return the name that a path stands for, and whether it is one on the Hub."""
    cached = re.search(r"(?:^|/)models--(.+?)/snapshots/", path)
    if cached:
        return cached.group(1).replace("--", "/"), True
    form = re.fullmatch(r"([\w.-]+)/[\w.-]+", path)
    return path, form is not None and form.group(1).lower() not in _FOLDERS and not Path(path).exists()


def _last(name: str) -> str:
    return _QUANTISED.sub("", name.rstrip("/").rpartition("/")[2]).casefold()


def _check_fit(adapter: Adapter, base: str, base_directory: Path) -> list[str]:
    """Do what PEFT does on loading, with tensors that have shapes and no contents."""
    import torch
    import transformers

    with warnings.catch_warnings(), _quiet_logs():
        warnings.simplefilter("ignore")
        import peft

        architecture = (read_config(base_directory).get("architectures") or ["none"])[0]
        kind = getattr(transformers, architecture, None)
        if kind is None:
            return [f"{adapter.directory} cannot be checked against {base}: transformers does not know {architecture}"]
        config = transformers.AutoConfig.from_pretrained(base_directory)
        lora = peft.PeftConfig.from_pretrained(str(adapter.directory))
        lora.init_lora_weights = False  # the others compute with weights, which are not there
        with torch.device("meta"):
            model = kind(config)
            # transformers does not tie a head that differs from the embeddings, whatever the config says.
            tied = set() if separate_head(base_directory) else _tied_modules(model)
            try:
                injected = peft.PeftModel(model, lora)
            except ValueError as error:
                reason = first_line(error)
                raise WiseMergeError(f"{adapter.directory} is not an adapter for {base} ({reason})") from error
        tensors = {name: torch.empty(header.shape, device="meta") for name, header in adapter.headers.items()}
        try:
            result: Any = peft.set_peft_model_state_dict(injected, tensors)
        except (RuntimeError, KeyError) as error:
            raise WiseMergeError(f"{adapter.directory} is not an adapter for {base}: {_first_misfit(error)}") from error
    missing = [name for name in result.missing_keys if ".lora_" in name]
    for names, fault in ((result.unexpected_keys, "fits nothing in it"), (missing, "is missing in the adapter")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            name = min(names).replace(".default", "").removeprefix("base_model.model.")
            raise WiseMergeError(f"{adapter.directory} is not an adapter for {base}: {name}{more} {fault}")
    _check_biases(adapter, base, injected)
    _check_ties(adapter, base, tied)
    return []


def _first_misfit(error: Exception) -> str:
    mismatch = re.search(
        r"size mismatch for (\S+): copying a param with shape torch\.Size\((.*?)\).*?torch\.Size\((.*?)\)", str(error)
    )
    if mismatch is None:
        return f"{error} is missing" if isinstance(error, KeyError) else first_line(error)
    name = mismatch.group(1).replace(".default", "").removeprefix("base_model.model.")
    return f"{name} has shape {mismatch.group(2)} where the base needs {mismatch.group(3)}"


def _check_biases(adapter: Adapter, base: str, injected: Any) -> None:
    if not adapter.config.get("lora_bias"):
        return
    for name, module in injected.named_modules():
        if any(getattr(module, "lora_bias", {}).values()) and getattr(module.get_base_layer(), "bias", None) is None:
            raise WiseMergeError(
                f"{adapter.directory} has biases (lora_bias) and {base} none in "
                f"{name.removeprefix('base_model.model.')}; such an adapter has no dense product in this architecture"
            )


def _tied_modules(model: Any) -> set[str]:
    """Return the names of embeddings and LM head if they share their weights."""
    if not getattr(model.config.get_text_config(), "tie_word_embeddings", False):
        return set()
    shared = [module for module in (model.get_input_embeddings(), model.get_output_embeddings()) if module is not None]
    return {name for name, module in model.named_modules() if any(module is one for one in shared)}


def _check_ties(adapter: Adapter, base: str, tied: set[str]) -> None:
    for name in adapter.headers:
        for module in tied:
            part = name.removeprefix(f"base_model.model.{module}.")
            # PEFT keeps the tie of modules_to_save if told to. With A and B it adds the product to embeddings and
            # head alike, told or not.
            kept = part == "weight" and adapter.config.get("ensure_weight_tying")
            if (part.startswith("lora_") or part == "weight") and not kept:
                raise WiseMergeError(
                    f"{adapter.directory} trains {module}, but {base} has one weight for embeddings and LM head "
                    "(tie_word_embeddings), so it has no dense product there. Save the sum as a model without "
                    "tie_word_embeddings, and average such models"
                )


@contextlib.contextmanager
def _quiet_logs() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
