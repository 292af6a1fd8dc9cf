"""What makes weights a model that loads: its config, tokenizer and generation settings, from one stated checkpoint."""

import json
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from wise_merge.checkpoints.headers import read_config
from wise_merge.checkpoints.heads import separate_head
from wise_merge.checkpoints.ties import tied, without_tie
from wise_merge.errors import WiseMergeError
from wise_merge.interpolation.layout import Tensor

_NAMES = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tekken.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
    "vocab.json",
    "vocab.txt",
)
_PATTERNS = ("*.model", "*.tiktoken", "*.py", "chat_templates/*.jinja", "additional_chat_templates/*.jinja")


def copy_companions(source: Path, folder: Path, tensors: Sequence[Tensor]) -> None:
    """Copy config, tokenizer and generation settings of `source` to `folder`, with the output's dtype in the config.

    Links are followed, so that the copy stands by itself; code of a model that is not in transformers goes along.
    """
    config = read_config(source)
    # Since version 5 transformers calls it dtype.
    keys = [key for key in ("torch_dtype", "dtype") if key in config] or ["dtype"]
    dtype = output_dtype(tensors)
    if dtype is not None:
        config.update(dict.fromkeys(keys, dtype))
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    found = {source / name for name in _NAMES} | {path for pattern in _PATTERNS for path in source.glob(pattern)}
    for path in sorted(found):
        if not path.is_file():
            continue
        target = folder / path.relative_to(source)
        target.parent.mkdir(exist_ok=True)
        try:
            shutil.copyfile(path, target)
        except OSError as error:
            raise WiseMergeError(f"{path} cannot be copied to {target}: {error.strerror or error}") from error


def untie_config(folder: Path) -> None:
    """Write tie_word_embeddings: false into the config of a model that stores a head other than its embeddings.

    transformers 5 loads such a model as it is stored, whatever the config says; others (vLLM, transformers 4) go by
    the config alone.
    """
    config = read_config(folder)
    if tied(config) is not False and separate_head(folder) is not None:
        (folder / "config.json").write_text(
            json.dumps(without_tie(config), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def output_dtype(tensors: Sequence[Tensor]) -> str | None:
    """Return the dtype that most elements of the output have; None if it has none to average."""
    counts: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.out_dtype is not None:
            counts[tensor.out_dtype] += math.prod(tensor.shape)
    return counts.most_common(1)[0][0] if counts else None


def differing_companions(early: Path, late: Path) -> list[str]:
    """Return the names of the files that early and late both have, or only one of them has, with other content.

    The config counts without what says nothing about the model: its dtype, and where and by what it was saved.
    """
    different = []
    for name in ("config.json", *_NAMES):
        contents = [_content(folder / name) for folder in (early, late)]
        if contents[0] != contents[1]:
            different.append(name)
    return different


_INCIDENTAL = {"_name_or_path", "torch_dtype", "dtype", "transformers_version", "use_cache", "name_or_path"}


def _content(path: Path) -> object:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if path.suffix != ".json":
        return data
    try:
        content = json.loads(data)
    except ValueError:
        return data
    if isinstance(content, dict):
        return {key: value for key, value in content.items() if key not in _INCIDENTAL}
    return content
