"""From the parameters of a model in memory to the tensors of its checkpoint's files, which may have other names.

transformers may load several tensors into one (the experts of a layer) or under another name. What it does on loading
it undoes on saving, for a Fisher file as for weights: it only takes tensors apart, joins and reorders them.
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from wise_merge.checkpoints.headers import COMPUTED, FLOATING, TensorHeader
from wise_merge.errors import WiseMergeError


def floating(headers: Mapping[str, TensorHeader]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor that a Fisher file has."""
    return {
        name: header.shape for name, header in headers.items() if header.dtype in FLOATING and not COMPUTED.search(name)
    }


def as_stored(
    model: Any, by_parameter: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], beside: Path, called: str
) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint's files, those that stand in no parameter of the model left out.

    Args:
        model: of transformers.
        by_parameter: a tensor for each of its floating parameters; a tied one has one of its names.
        shapes: of the tensors in the files (`floating`).
        beside: a file next to which there is room for as much as `by_parameter` takes.
        called: the checkpoint, for messages.

    Raises a `WiseMergeError` if a parameter does not come to stand in the files.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    parameters = dict(model.named_parameters())
    prefix = f"{model.base_model_prefix}."
    named: dict[str, Tensor] = {}
    known: dict[str, Tensor] = {}
    converted = False
    for name, tensor in by_parameter.items():
        aliases = names[id(parameters[name])]
        named |= dict.fromkeys(aliases, tensor)
        # transformers also reads what was saved without its head, such as GPT-2 of the Hub.
        aliases = [*aliases, *(one.removeprefix(prefix) for one in aliases if one.startswith(prefix))]
        known |= dict.fromkeys(aliases, tensor)
        converted |= not any(shapes.get(alias) == tuple(tensor.shape) for alias in aliases)
    if converted:
        saved = _saved(model, named, beside)
        lost = sorted(name for name, tensor in saved.items() if shapes.get(name) != tuple(tensor.shape))
        if lost:
            raise WiseMergeError(
                f"transformers makes {lost[0]} of the weights of {called}, and its files have no such tensor of that "
                "shape: save the checkpoint again by its save_pretrained, and fit that"
            )
        # What is tied is saved once, and may be in the files twice.
        known |= saved
    return {
        name: known[name].cpu().contiguous()
        for name, shape in shapes.items()
        if name in known and tuple(known[name].shape) == shape
    }


def _saved(model: Any, tensors: Mapping[str, Tensor], beside: Path) -> dict[str, Tensor]:
    """Return the tensors as transformers saves them in the place of weights."""
    from safetensors.torch import load_file
    from transformers import GenerationConfig
    from transformers.utils.logging import disable_progress_bar, enable_progress_bar

    beside.parent.mkdir(parents=True, exist_ok=True)
    # Saved, too, where it is not refused.
    model.generation_config = GenerationConfig()
    folder = Path(tempfile.mkdtemp(prefix=f".{beside.name}.", dir=beside.parent))
    disable_progress_bar()
    try:
        model.save_pretrained(folder, state_dict=dict(tensors))
        return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
    finally:
        enable_progress_bar()
        shutil.rmtree(folder, ignore_errors=True)
