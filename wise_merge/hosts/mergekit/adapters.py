"""LoRA checkpoints in mergekit: a cache of their dense products, by their contents and written whole.

mergekit has PEFT add an adapter to its base once, into the folder of --lora-merge-cache, and averages what lies
there. It finds it again by path alone: an adapter retrained at the same path gives the old model, and a process
killed in between leaves an empty folder that counts as done. Here the place depends on the contents, and appears
when it is whole.
"""

import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from mergekit.common import ModelPath, ModelReference

from wise_merge.checkpoints.files import weight_files
from wise_merge.checkpoints.fingerprint import of_folder
from wise_merge.checkpoints.headers import read_headers
from wise_merge.errors import WiseMergeError, first_line
from wise_merge.hosts.mergekit.errors import one_line_errors

#: The tokenizer that training saved beside the adapter, which is the base's with the run's chat template.
_TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "chat_template.jinja"),
)

#: mergekit's `ModelReference.merged`: model, cache folder, whether remote code is trusted, dtype of the product.
Merge = Callable[[ModelReference, str | None, bool, str | None], ModelReference]


def guard_adapters() -> None:
    """Have mergekit merge adapters by `merged_by_content`; its own cache goes by path alone."""
    merged = ModelReference.merged
    if hasattr(merged, "__wrapped__"):
        return

    @functools.wraps(merged)
    def guarded(
        self: ModelReference,
        cache_dir: str | None = None,
        trust_remote_code: bool = False,
        lora_merge_dtype: str | None = None,
    ) -> ModelReference:
        with one_line_errors():
            return merged_by_content(merged, self, cache_dir, trust_remote_code, lora_merge_dtype)

    ModelReference.merged = guarded


def merged_by_content(
    merge: Merge, model: ModelReference, cache: str | None, trust_remote_code: bool, dtype: str | None
) -> ModelReference:
    """Return a reference to base + scale * B A as a model in `cache`, made by `merge` unless it is there already.

    Its folder is named by the adapter's contents, the files of the base, and `dtype`. The tokenizer is the one
    beside the adapter, if there is one.
    """
    if model.lora is None:
        return merge(model, cache, trust_remote_code, dtype)
    if not cache:
        raise WiseMergeError(
            f"{model} is a LoRA checkpoint, whose sum with its base mergekit keeps as a model on disk; say where by "
            "--lora-merge-cache DIR"
        )
    adapter = Path(model.lora.path)
    place = Path(cache) / f"{adapter.name}-{_key(model, dtype)}"
    if not place.is_dir():
        Path(cache).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="unfinished-", dir=cache) as scratch:
            made = Path(_merged_by_peft(merge, model, scratch, trust_remote_code, dtype).model.path)
            for name in _TOKENIZER:
                if (adapter / name).is_file() and (adapter / "tokenizer_config.json").is_file():
                    shutil.copyfile(adapter / name, made / name)
            try:
                made.rename(place)
            except OSError:
                if not place.is_dir():  # else another process was faster, with the same result
                    raise
    try:
        read_headers(place)
    except WiseMergeError as error:
        raise WiseMergeError(f"the LoRA cache is damaged: {error}; delete {place}") from error
    return ModelReference(model=ModelPath(path=str(place)))


def _merged_by_peft(
    merge: Merge, model: ModelReference, scratch: str, trust_remote_code: bool, dtype: str | None
) -> ModelReference:
    try:
        return merge(model, scratch, trust_remote_code, dtype)
    except (ValueError, RuntimeError, TypeError, KeyError, NotImplementedError, ImportError) as error:
        reason = first_line(error)
        raise WiseMergeError(f"PEFT cannot add {model.lora} to {model.model}: {reason}") from error


def _key(model: ModelReference, dtype: str | None) -> str:
    """Return 16 hex digits of what the dense product depends on."""
    digest = hashlib.sha256(repr(dtype).encode())
    assert model.lora is not None
    adapter, base = Path(model.lora.path), Path(model.model.path)
    digest.update((of_folder(adapter) if adapter.is_dir() else str(model.lora)).encode())
    if not base.is_dir():
        digest.update(str(model.model).encode())
    else:
        # Size and time of the base's files rather than their contents, which may be many gigabytes.
        for file in (base / "config.json", *weight_files(base)):
            status = file.stat()
            digest.update(repr((os.path.realpath(file), status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()[:16]
