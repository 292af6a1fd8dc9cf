"""The two binary formats of the Xet protocol, read: xorbs (many chunks) and shards (which chunks make a file).

Specified at https://huggingface.co/docs/xet. Hashes are not checked, since Python has no BLAKE3.
"""

import struct
from dataclasses import dataclass

import numpy as np
import pyarrow

ENTRY = 48  # bytes of every record of a shard
BOOKEND = b"\xff" * 32
WITH_VERIFICATION, WITH_SHA256 = 1 << 31, 1 << 30


@dataclass(frozen=True)
class Chunk:
    """Where a chunk is in its xorb, header included, how it is compressed, and its size in bytes when it is not."""

    start: int
    end: int
    scheme: int  # 0 stored, 1 LZ4, 2 LZ4 of the first bytes of all four-byte words, then the second ones, ...
    size: int


@dataclass(frozen=True)
class Recipe:
    """A file as runs of chunks: (xorb, first chunk, last chunk + 1) each."""

    hash: str
    sha256: str | None
    terms: tuple[tuple[str, int, int], ...]


def chunks_of(xorb: bytes) -> list[Chunk]:
    """All chunks of a xorb, in order; ValueError if it is not a xorb."""
    chunks, start = [], 0
    while start < len(xorb) and xorb[start] == 0:  # a footer, if there is one, begins with a letter
        packed, scheme, size = (
            int.from_bytes(xorb[start + a : start + b], "little") for a, b in [(1, 4), (4, 5), (5, 8)]
        )
        chunks.append(Chunk(start, start + 8 + packed, scheme, size))
        start += 8 + packed
    if not chunks or start > len(xorb):
        raise ValueError("this is not a whole xorb")
    return chunks


def unpacked(xorb: bytes, chunk: Chunk) -> bytes:
    """The content of a chunk."""
    packed = xorb[chunk.start + 8 : chunk.end]
    if chunk.scheme == 0:
        return packed
    grouped = pyarrow.decompress(packed, decompressed_size=chunk.size, codec="lz4", asbytes=True)
    return grouped if chunk.scheme == 1 else ungrouped(grouped)


def ungrouped(grouped: bytes) -> bytes:
    """Undo the grouping by position in four-byte words: of 0123456 were made 04 15 26 3."""
    words = np.empty(len(grouped), np.uint8)
    start = 0
    for position in range(4):
        count = len(words[position::4])
        words[position::4] = np.frombuffer(grouped, np.uint8, count, start)
        start += count
    return words.tobytes()


def recipes_of(shard: bytes) -> list[Recipe]:
    """The files that an uploaded shard tells of; ValueError if it is not a shard."""
    if not shard.startswith(b"HFRepoMetaData") or struct.unpack_from("<Q", shard, 32) != (2,):
        raise ValueError("this is not a shard of version 2")
    recipes, position = [], ENTRY
    while shard[position : position + 32] != BOOKEND:
        flags, count = struct.unpack_from("<II", shard, position + 32)
        name, position = hexadecimal(shard[position : position + 32]), position + ENTRY
        records = [shard[position + i * ENTRY : position + (i + 1) * ENTRY] for i in range(count)]
        position += count * ENTRY * (2 if flags & WITH_VERIFICATION else 1)
        sha256 = hexadecimal(shard[position : position + 32]) if flags & WITH_SHA256 else None
        position += ENTRY if flags & WITH_SHA256 else 0
        terms = tuple((hexadecimal(record[:32]), *struct.unpack_from("<II", record, 40)) for record in records)
        recipes.append(Recipe(name, sha256, terms))
    return recipes


def hexadecimal(hash: bytes) -> str:
    """A hash as Xet writes it: four little-endian 64-bit numbers."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", hash))
