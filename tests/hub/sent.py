"""What the requests to a `HubServer` say when they are unpacked: base64 in JSON, chunks of xorbs, compressed bodies.

A path that travels as base64, or as a compressed chunk, is in no raw body.
"""

import base64
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from urllib.parse import unquote

from hub.wire import Request
from hub.xet_formats import chunks_of, unpacked

#: Keys of JSON under which the client sends base64: of a file in a commit, and of its beginning in a preupload.
_BASE64 = {"content", "sample"}
#: Where the token belongs.
_LOGIN = "authorization"


def contents(requests: list[Request]) -> Iterator[tuple[str, bytes]]:
    """Where it was sent and what, for everything that the requests carry, raw and unpacked."""
    for request in requests:
        place = f"{request.method} {request.path}"
        yield place, unquote(request.path).encode()
        for name, value in [*request.query.items(), *request.headers.items()]:
            if name != _LOGIN:
                yield f"{place} ({name})", unquote(value).encode()
        yield place, request.body
        yield from ((f"{place} (unpacked)", content) for content in _unpacked(request))


def leaks(requests: list[Request], secrets: list[str]) -> list[str]:
    """Which secrets were sent, and where, a line each."""
    return [
        f"{secret!r} in {place}"
        for place, content in contents(requests)
        for secret in secrets
        if any(form in content for form in _forms(secret))
    ]


def _forms(secret: str) -> set[bytes]:
    """How a text may stand in a file: as UTF-8, as older files and pictures have it, and with the escapes of JSON."""
    return {secret.encode(), secret.encode("latin-1", "replace"), json.dumps(secret)[1:-1].encode()}


def _unpacked(request: Request) -> Iterator[bytes]:
    if request.method == "POST" and "/xorbs/" in request.path:
        # Whole, as what is looked for may lie across the border of two chunks.
        content = b"".join(unpacked(request.body, chunk) for chunk in chunks_of(request.body))
        yield content
        yield from _within(content)
    yield from _within(request.body)


def _within(content: bytes) -> Iterator[bytes]:
    """What is in a body or a file, as deep as it goes."""
    found: Iterable[bytes] = ()
    if content.startswith(b"\x1f\x8b"):
        found = [gzip.decompress(content)]
    elif b"\x89PNG" in content:
        found = _texts_of_png(content[content.index(b"\x89PNG") :])
    elif content[:1] in (b"{", b"["):
        with suppress(ValueError):
            found = [text for line in content.splitlines() for text in _texts_of_json(json.loads(line))]
    for one in found:
        yield one
        if one != content:
            yield from _within(one)


def _texts_of_json(value: object, key: str = "") -> Iterator[bytes]:
    """Every text in JSON, those that are base64 decoded."""
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from _texts_of_json(entry, name)
    elif isinstance(value, list):
        for entry in value:
            yield from _texts_of_json(entry, key)
    elif isinstance(value, str):
        yield value.encode()
        if key in _BASE64:
            # A card is sent to be checked as it is.
            with suppress(ValueError):
                yield base64.b64decode(value, validate=True)


def _texts_of_png(picture: bytes) -> Iterator[bytes]:
    """What a picture says in words, compressed or not: the program, a path, a date."""
    start = 8
    while start < len(picture):
        size, kind = int.from_bytes(picture[start : start + 4], "big"), picture[start + 4 : start + 8]
        content = picture[start + 8 : start + 8 + size]
        if kind == b"tEXt":
            yield content
        elif kind == b"zTXt":
            yield zlib.decompress(content.partition(b"\0")[2][1:])
        elif kind == b"iTXt":
            packed = content.partition(b"\0")[2]
            text = packed[2:].split(b"\0", 2)[-1]
            yield zlib.decompress(text) if packed[0] else text
        start += size + 12
        if kind == b"IEND":
            return
