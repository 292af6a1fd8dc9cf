"""Is a model whole? Whoever loads it will not find out otherwise before it answers nonsense."""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.headers import COMPUTED, read_config, read_headers, weight_files
from wise_merge.errors import WiseMergeError

#: Of a tensor that is looked at in one go, in elements.
_BLOCK = 1 << 24


def check_whole(folder: Path, *, watch: Callable[[Iterable[Path]], Iterable[Path]] = lambda paths: paths) -> None:
    """Raise `WiseMergeError` unless every weight of a model is there and finite, and its tokenizer loads.

    Args:
        folder: of the model.
        watch: sees the weight files pass as they are read.
    """
    config = read_config(folder)
    read_headers(folder)
    _check_tokenizer(folder, own_code="auto_map" in config)
    if "auto_map" not in config:
        _check_complete(folder)
    for path in watch(weight_files(folder)):
        for name, tensor in _tensors(path):
            _check_finite(path, name, tensor)


def _check_tokenizer(folder: Path, *, own_code: bool) -> None:
    from transformers import AutoTokenizer

    names = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "tekken.json")
    if not any((folder / name).is_file() for name in names) and not any(folder.glob("*.tiktoken")):
        raise WiseMergeError(f"{folder} has no tokenizer; copy that of one of its checkpoints there")
    if own_code:
        return  # code of a model runs where its user has said so, and not here
    try:
        with _quiet():
            AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever a broken tokenizer raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WiseMergeError(
            f"the tokenizer of {folder} does not load ({reason}); copy that of one of its checkpoints there again"
        ) from error


def _check_complete(folder: Path) -> None:
    """Raise if the architecture has a weight that is not there: transformers would start it at random."""
    from transformers import AutoModelForCausalLM

    try:
        with _quiet():
            _, found = AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, device_map="meta", output_loading_info=True
            )
    except Exception as error:  # whatever a broken config raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WiseMergeError(f"{folder} does not load with transformers: {reason}") from error
    missing = sorted(name for name in found["missing_keys"] if not COMPUTED.search(name))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise WiseMergeError(
            f"the weights of {folder} lack {missing[0]}{more}, which its architecture has, and which would start at "
            "random; merge it again"
        )


def _tensors(path: Path) -> Iterator[tuple[str, Any]]:
    import torch

    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                yield name, file.get_tensor(name)
    else:
        yield from torch.load(path, map_location="cpu", weights_only=True, mmap=True).items()


def _check_finite(path: Path, name: str, tensor: Any) -> None:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return
    for block in tensor.reshape(-1).split(_BLOCK):
        # Some dtypes of 8 bits know no other arithmetic.
        finite = (block.float() if block.element_size() == 1 else block).isfinite()
        if not finite.all():
            raise WiseMergeError(
                f"{path}: {name} holds NaN or infinity, so the model answers nothing; look at its checkpoints and "
                "merge it again"
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what transformers says of a model that is only looked at out of the output."""
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
        if bars:
            transformers_logging.enable_progress_bar()
