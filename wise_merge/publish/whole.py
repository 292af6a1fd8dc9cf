"""Whether a model is whole: transformers loads one with missing or non-finite weights without an error."""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.files import read_config, read_json, weight_files
from wise_merge.checkpoints.headers import COMPUTED, load_pickled, read_headers
from wise_merge.errors import WiseMergeError, first_line

#: Elements of a tensor that are checked at once.
_BLOCK = 1 << 24
#: Files of which a tokenizer has one at least; a few, of bytes, need none.
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "tekken.json", "*.model", "*.tiktoken")


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
        _check_complete(folder, config)
    for path in watch(weight_files(folder)):
        for name, tensor in _tensors(path):
            _check_finite(path, name, tensor)


def _check_tokenizer(folder: Path, *, own_code: bool) -> None:
    from transformers import AutoTokenizer

    settings = folder / "tokenizer_config.json"
    if not settings.is_file() and not _has(folder, *_VOCABULARIES):
        raise WiseMergeError(f"{folder} has no tokenizer; copy that of one of its checkpoints there")
    if own_code or (settings.is_file() and "auto_map" in read_json(settings)):
        return  # code that a model brings is not run here
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever a broken tokenizer raises
        reason = _reason(error)
        raise WiseMergeError(
            f"the tokenizer of {folder} does not load ({reason}); copy that of one of its checkpoints there again"
        ) from error
    # Many tokenizer classes load without a vocabulary and encode every text as nothing.
    files = tokenizer.vocab_files_names.values()
    if files and not any((folder / name).is_file() for name in files) and not _has(folder, *_VOCABULARIES):
        raise WiseMergeError(
            f"the tokenizer of {folder} lacks its vocabulary ({' or '.join(files)}); copy the tokenizer of one of its "
            "checkpoints there again"
        )


def _has(folder: Path, *patterns: str) -> bool:
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def _check_complete(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise if the architecture has a weight that is not there: transformers would start it at random."""
    import transformers

    # The class that the config names: AutoModelForCausalLM refuses models with a vision tower.
    name = str((config.get("architectures") or ["AutoModelForCausalLM"])[0])
    model: Any = getattr(transformers, name, None)
    if not (isinstance(model, type) and issubclass(model, transformers.PreTrainedModel)):
        model = transformers.AutoModelForCausalLM
    try:
        with _quiet():
            _, loading = model.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, device_map="meta", output_loading_info=True
            )
    except Exception as error:  # whatever a broken config raises
        reason = _reason(error)
        raise WiseMergeError(f"{folder} does not load with transformers: {reason}") from error
    missing = sorted(name for name in loading["missing_keys"] if not COMPUTED.search(name))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise WiseMergeError(
            f"the weights of {folder} lack {missing[0]}{more}, which its architecture has, and which would start at "
            "random; merge it again"
        )


def _reason(error: Exception) -> str:
    """Return the first line of an error; the text of some is a name alone."""
    text = str(error).strip()
    return f"{type(error).__name__} {text}".strip() if " " not in text else first_line(error)


def _tensors(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                yield name, file.get_tensor(name)
    else:
        yield from load_pickled(path, "cpu").items()


def _check_finite(path: Path, name: str, tensor: Any) -> None:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return
    for block in tensor.reshape(-1).split(_BLOCK):
        # Some 8-bit dtypes support no other operation.
        finite = (block.float() if block.element_size() == 1 else block).isfinite()
        if not finite.all():
            raise WiseMergeError(
                f"{path}: {name} holds NaN or infinity, so the model answers nothing; look at its checkpoints and "
                "merge it again"
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Switch off the messages and bars of transformers, as the model is only checked."""
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
