"""Whether an early and a late checkpoint are what their names say: of one run, in this order, and different.

Answered from trainer_state.json and, for the weights, by comparing bytes up to the first difference.
"""

import json
import math
import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge.checkpoints.headers import file_headers, weight_files
from wise_merge.errors import WiseMergeError

#: Bytes per comparison: large enough for the disk, small beside any memory.
_CHUNK = 1 << 22


@dataclass(frozen=True)
class _Piece:
    """Where a tensor lies, and what it is."""

    dtype: str
    shape: tuple[int, ...]
    path: Path
    begin: int
    end: int


def pair_warnings(early: Path, late: Path) -> list[str]:
    """Return what is odd about averaging these two folders, a sentence each; empty if nothing is.

    Odd are equal weights, an early checkpoint of a later step, and logs that disagree on the steps that both have
    behind them. Of a LoRA checkpoint, give the folder of the adapter. Both must be whole.
    """
    found = []
    states = [read_state(early), read_state(late)]
    steps = [step_of(folder, state) for folder, state in zip((early, late), states, strict=True)]
    early_name, late_name = (
        f"{folder}" if step is None else f"{folder} (step {step})"
        for folder, step in zip((early, late), steps, strict=True)
    )
    if same_weights(early, late):
        found.append(
            f"early and late hold the same weights, so every alpha gives them again: {early_name}, {late_name}"
        )
    if steps[0] is not None and steps[1] is not None and steps[0] > steps[1]:
        found.append(
            f"early and late look swapped: {early_name} is named as early (alpha 0) and {late_name} as late (alpha 1)"
        )
    parting = first_disagreement(*states)
    if parting is not None:
        step, early_loss, late_loss = parting
        found.append(
            f"{early_name} and {late_name} are of different runs: at step {step} one logged a loss of {early_loss:g}, "
            f"the other {late_loss:g}"
        )
    return found


def same_weights(one: Path, other: Path) -> bool | None:
    """Return whether two models, or two adapters, hold the same tensors, bit for bit; None if that cannot be told.

    Files may be split in different ways. Hard links and links to one file are known as such without reading;
    otherwise bytes are compared up to the first difference. Pickled files can only be told to be equal.
    """
    files = [_files(one), _files(other)]
    if len(files[0]) == len(files[1]) and all(a.samefile(b) for a, b in zip(*files, strict=True)):
        return True
    suffixes = {path.suffix for path in (*files[0], *files[1])}
    if suffixes == {".safetensors"}:
        pieces = [{name: piece for path in part for name, piece in _pieces(path).items()} for part in files]
        return _same_pieces(*pieces)
    if len(suffixes) == 1 and len(files[0]) == len(files[1]):
        whole = [
            {str(i): _Piece("", (), path, 0, path.stat().st_size) for i, path in enumerate(part)} for part in files
        ]
        return _same_pieces(*whole) or None
    return None


def equal_tensors(directory: Path, one: str, other: str) -> bool:
    """Return whether two tensors of one checkpoint have the same dtype, shape and bits; imports torch for `.bin`."""
    files = weight_files(directory)
    if {path.suffix for path in files} != {".safetensors"}:
        import torch

        from wise_merge.checkpoints.weights import open_tensors

        tensors = open_tensors(directory)
        return tensors[one].dtype == tensors[other].dtype and torch.equal(tensors[one], tensors[other])
    pieces = {name: piece for path in files for name, piece in _pieces(path).items()}
    return _same_pieces({"": pieces[one]}, {"": pieces[other]})


def read_state(directory: Path) -> dict[str, Any]:
    """Return trainer_state.json of a checkpoint; empty if there is none that can be read."""
    try:
        state = json.loads((directory / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def step_of(directory: Path, state: Mapping[str, Any]) -> int | None:
    """Return the step of a checkpoint by its trainer_state.json, else by its name, else None."""
    step = state.get("global_step")
    if isinstance(step, int):
        return step
    named = re.search(r"(?:checkpoint|ckpt|step|iter)[-_=]?(\d+)", directory.name, re.IGNORECASE)
    return int(named.group(1)) if named else None


def losses(state: Mapping[str, Any], key: str = "loss") -> dict[float, float]:
    """Return the logged losses by step; `key` may be "eval_loss"."""
    log = state.get("log_history")
    return {
        entry["step"]: float(entry[key])
        for entry in (log if isinstance(log, list) else [])
        if isinstance(entry, dict)
        and isinstance(entry.get("step"), (int, float))
        and isinstance(entry.get(key), (int, float))
    }


def first_disagreement(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Return the first step at which two logs have different losses, and these; None if there is none.

    A later checkpoint of a run holds the log of an earlier one, number for number.
    """
    first, second = losses(one), losses(other)
    for step in sorted(first.keys() & second.keys()):
        if first[step] != second[step] and not (math.isnan(first[step]) and math.isnan(second[step])):
            return step, first[step], second[step]
    return None


def _files(directory: Path) -> list[Path]:
    if not (directory / "config.json").is_file():
        for name in ("adapter_model.safetensors", "adapter_model.bin"):
            if (directory / name).is_file():
                return [directory / name]
    return weight_files(directory)


def _pieces(path: Path) -> dict[str, _Piece]:
    file_headers(path)  # raises unless the file is whole
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return {
        name: _Piece(
            entry["dtype"], tuple(entry["shape"]), path, *(8 + length + offset for offset in entry["data_offsets"])
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _same_pieces(one: Mapping[str, _Piece], other: Mapping[str, _Piece]) -> bool:
    if one.keys() != other.keys():
        return False
    for name, piece in one.items():
        match = other[name]
        if (piece.dtype, piece.shape, piece.end - piece.begin) != (match.dtype, match.shape, match.end - match.begin):
            return False
    maps: dict[Path, mmap.mmap] = {}
    try:
        for piece in (*one.values(), *other.values()):
            if piece.path not in maps and piece.end > piece.begin:
                with piece.path.open("rb") as file:
                    maps[piece.path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        # In the order of the file, so that the disk reads ahead.
        for name in sorted(one, key=lambda name: (one[name].path, one[name].begin)):
            piece, match = one[name], other[name]
            for start in range(0, piece.end - piece.begin, _CHUNK):
                stop = min(start + _CHUNK, piece.end - piece.begin)
                left = maps[piece.path][piece.begin + start : piece.begin + stop]
                if left != maps[match.path][match.begin + start : match.begin + stop]:
                    return False
    except OSError as error:
        raise WiseMergeError(f"weights cannot be compared: {error}") from error
    finally:
        for mapped in maps.values():
            mapped.close()
    return True
