"""The files that a model needs beside its weights: config, tokenizer, settings; from the first model that has them."""

import json
import math
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.architecture import INCIDENTAL, differing_keys
from wise_merge.checkpoints.files import read_config, read_json
from wise_merge.checkpoints.heads import separate_head
from wise_merge.checkpoints.ties import tied, without_tie
from wise_merge.checkpoints.vocabulary import VOCABULARIES, has_tokenizer
from wise_merge.errors import WiseMergeError
from wise_merge.tensors.layout import PlannedTensor

#: A tokenizer is taken whole, from one checkpoint.
_TOKENIZER = (
    *VOCABULARIES,
    *("added_tokens.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json"),
)
#: So are chat templates, which newer versions of transformers keep in files of their own.
_TEMPLATES = (
    *("chat_template.jinja", "chat_template.json"),
    *("chat_templates/*.jinja", "additional_chat_templates/*.jinja"),
)
#: Each of these by itself.
_OTHERS = (
    *("generation_config.json", "preprocessor_config.json", "processor_config.json"),
    *("video_preprocessor_config.json", "*.py"),
)


@dataclass(frozen=True)
class SideFiles:
    """What goes with the weights of a merge beside its config.

    Attributes:
        files: by their names within the folder of the merge.
        template: to be written into tokenizer_config.json, from that of another checkpoint; None = nothing.
        tokenizer_from: the name of the checkpoint; None where none has a tokenizer.
        warnings: what is odd, a sentence each.
    """

    files: Mapping[str, Path]
    template: Any
    tokenizer_from: str | None
    warnings: tuple[str, ...]


def choose_side_files(models: Sequence[tuple[str, Sequence[Path]]]) -> SideFiles:
    """Return what goes with a merge: from the first model what that has, else from the next that has it.

    Each model is given by its name and its folders: an adapter's before that of its base. Names go into warnings.
    """
    first = models[0][0]
    sources = [(name, folder) for name, folders in models for folder in folders]
    files: dict[str, Path] = {}
    warnings = []

    def take(owner: str, what: str, paths: Mapping[str, Path]) -> None:
        files.update(paths)
        if owner != first:
            warnings.append(f"{first} has no {what}; the merge gets that of {owner}")

    tokenizers = [(name, folder) for name, folder in sources if has_tokenizer(folder)]
    if tokenizers:
        name, folder = tokenizers[0]
        take(name, "tokenizer", _files(folder, _TOKENIZER))
        owners = {name for name, _ in tokenizers}
        warnings.extend(
            f"{name} has no tokenizer; whether it numbers its tokens as {first} does cannot be told"
            for name, _ in models[1:]
            if name not in owners
        )
    else:
        whose = " nor ".join(name for name, _ in models)
        warnings.append(f"neither {whose} has a tokenizer, so the merge has none; copy one into it")
    template = None
    for name, folder in sources:
        stored, inside = _files(folder, _TEMPLATES), _template_inside(folder)
        if not stored and inside and tokenizers and folder == tokenizers[0][1]:
            break  # it goes along with the tokenizer
        if stored or inside:
            take(name, "chat template", stored)
            template = None if stored else inside
            break
    for name, folder in sources:
        for file, path in _files(folder, _OTHERS).items():
            if file not in files:
                take(name, file, {file: path})
    return SideFiles(files, template, tokenizers[0][0] if tokenizers else None, tuple(warnings))


def without_tokenizer(side_files: SideFiles) -> SideFiles:
    """Return the side files without tokenizer and chat template."""
    own = (*_TOKENIZER, *_TEMPLATES)
    kept = {name: path for name, path in side_files.files.items() if not any(fnmatch(name, one) for one in own)}
    return replace(side_files, files=kept, template=None)


def _files(folder: Path, patterns: Sequence[str]) -> dict[str, Path]:
    """Return the files that patterns match in a folder, by their names within it."""
    paths = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    return {path.relative_to(folder).as_posix(): path for path in paths}


def _template_inside(folder: Path) -> Any:
    """Return the chat template that tokenizer_config.json holds, as older versions of transformers save it."""
    content = _content(folder / "tokenizer_config.json")
    return content.get("chat_template") if isinstance(content, dict) else None


def copy_side_files(side_files: SideFiles, folder: Path, *, overwrite: bool = True) -> None:
    """Copy them to the folder of a merge; without `overwrite` only those that are not there.

    Links are followed, so that the copy stands by itself; code of a model that is not in transformers goes along.
    """
    for name, path in side_files.files.items():
        target = folder / name
        if target.exists() and not overwrite:
            continue
        target.parent.mkdir(exist_ok=True)
        try:
            shutil.copyfile(path, target)
        except OSError as error:
            raise WiseMergeError(f"{path} cannot be copied to {target}: {error.strerror or error}") from error
    if side_files.template is not None:
        path = folder / "tokenizer_config.json"
        _write_json(path, {**(read_json(path) if path.is_file() else {}), "chat_template": side_files.template})


def copy_config(source: Path, folder: Path, tensors: Sequence[PlannedTensor]) -> None:
    """Copy the config of `source` to `folder`, with the dtype of the tensors there."""
    config = read_config(source)
    # Since version 5 transformers calls it dtype.
    keys = [key for key in ("torch_dtype", "dtype") if key in config] or ["dtype"]
    dtype = output_dtype(tensors)
    if dtype is not None:
        config.update(dict.fromkeys(keys, dtype))
    _write_json(folder / "config.json", config)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def untie_config(folder: Path) -> None:
    """Write tie_word_embeddings: false into the config of a model that stores a head other than its embeddings.

    transformers 5 loads such a model as it is stored, whatever the config says; others (vLLM, transformers 4) go by
    the config alone.
    """
    config = read_config(folder)
    if tied(config) is not False and separate_head(folder) is not None:
        _write_json(folder / "config.json", without_tie(config))


def output_dtype(tensors: Sequence[PlannedTensor]) -> str | None:
    """Return the dtype that most elements of the output have; None if it has none to average."""
    counts: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.out_dtype is not None:
            counts[tensor.out_dtype] += math.prod(tensor.shape)
    return counts.most_common(1)[0][0] if counts else None


def differing_side_files(one: Path, other: Path) -> list[str]:
    """Return the names of the files that two checkpoints both have, with other content; of the config, keys too.

    Of tokenizers and of chat templates, a file that one lacks counts as well where both have such a thing. The config
    counts without what says nothing about the model: its dtype, and where and by what it was saved.
    """
    keys = differing_keys(read_config(one), read_config(other))
    different = [f"config.json ({', '.join(keys)})"] if keys else []
    for patterns in (_TOKENIZER, _TEMPLATES, *((pattern,) for pattern in _OTHERS)):
        in_one, in_other = _files(one, patterns), _files(other, patterns)
        if not in_one or not in_other:
            continue
        for name in sorted(in_one.keys() | in_other.keys()):
            if _content(one / name) != _content(other / name):
                different.append(name)
    return different


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
        return {key: value for key, value in content.items() if key not in INCIDENTAL}
    return content
