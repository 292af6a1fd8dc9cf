"""Whether two models, or two tensors, hold the same bits, found by comparing files up to the first difference."""

import json
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wise_merge.checkpoints.files import stored_files, weight_files
from wise_merge.checkpoints.headers import file_headers
from wise_merge.errors import WiseMergeError

#: Bytes compared at once: large enough for sequential reads, small in memory.
_CHUNK = 1 << 22


@dataclass(frozen=True)
class _Piece:
    """Where a tensor lies, and what it is."""

    dtype: str
    shape: tuple[int, ...]
    path: Path
    begin: int
    end: int


def same_weights(one: Path, other: Path) -> bool | None:
    """Return whether two models, or two adapters, hold the same tensors, bit for bit; None if that cannot be told.

    Files may be split in different ways. Hard links and links to one file are known as such without reading;
    otherwise bytes are compared up to the first difference. Pickled files can only be told to be equal.
    """
    files = [stored_files(one), stored_files(other)]
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
        # In the order of the file, for sequential reads.
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
