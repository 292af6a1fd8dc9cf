"""Where the files of a checkpoint are, and its model, loaded: a full model, or a LoRA adapter added to its base."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.verifiers import models
from wise_merge.verifiers.models import ModelOptions


@dataclass(frozen=True)
class ModelFolders:
    """The folders of a checkpoint's files: of a full model, or of a LoRA adapter and its base.

    Attributes:
        name: as mergekit takes it, `MODEL` or `BASE+ADAPTER`.
        base: the folder of the full model; that of a model of the Hub is in the Hub's cache.
        adapter: the folder of the LoRA adapter that is to be added, None for a full model.
    """

    name: str
    base: Path
    adapter: Path | None


def find_checkpoint(role: str, argument: str, warn: Callable[[str], object]) -> ModelFolders:
    """Return where the checkpoint is that a command line names: a folder, a Hub id, BASE+ADAPTER, or an adapter alone.

    Args:
        role: early or late, for messages.
        argument: of the command line.
        warn: is given a line where the Hub does not answer and its cache is used.
    """
    from wise_merge.checkpoints.adapters import check_adapter, read_adapter
    from wise_merge.checkpoints.places import folder_of

    base, plus, adapter = (part.rstrip("/") or part for part in argument.partition("+"))
    folder = Path(base)
    if not plus and (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        base, adapter = read_adapter(folder).base or "", base
        if not base:
            raise WiseMergeError(f"{adapter} does not say which model it was trained on; name it as BASE+{adapter}")
    if not adapter:
        if plus:
            raise WiseMergeError(f"{argument!r} ends in +; name an adapter after it, as in BASE+ADAPTER")
        return ModelFolders(base, folder_of(role, base, warn), None)
    whole = folder_of(role, base, warn)
    # PEFT ignores weights that fit nothing, so the adapter of another model would give a wrong model silently.
    check_adapter(read_adapter(Path(adapter)), base, whole)
    return ModelFolders(f"{base}+{adapter}", whole, Path(adapter))


def load_config(checkpoint: ModelFolders, *, trust_remote_code: bool) -> Any:
    """Return the configuration of transformers."""
    from transformers import AutoConfig

    return models.load(AutoConfig.from_pretrained, str(checkpoint.base), trust_remote_code=trust_remote_code)


def load_tokenizer(checkpoint: ModelFolders, *, trust_remote_code: bool) -> Any:
    """Return the tokenizer: that beside the adapter if there is one, else the base model's."""
    from transformers import AutoTokenizer

    name = str(checkpoint.base)
    if checkpoint.adapter is not None and (checkpoint.adapter / "tokenizer_config.json").is_file():
        name = str(checkpoint.adapter)
    return models.load(AutoTokenizer.from_pretrained, name, trust_remote_code=trust_remote_code)


def load_model(checkpoint: ModelFolders, options: ModelOptions) -> Any:
    """Return the model for inference, an adapter added to its base as mergekit adds it."""
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar, enable_progress_bar

    # Only the progress bar of the forward pass is shown.
    disable_progress_bar()
    try:
        model = models.load_weights(AutoModelForCausalLM.from_pretrained, str(checkpoint.base), options)
    finally:
        enable_progress_bar()
    if checkpoint.adapter is None:
        return model
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(checkpoint.adapter)).merge_and_unload().eval()
