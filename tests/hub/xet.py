"""Large files by the Xet protocol: tokens, xorbs, shards, and how to put a file together again.

It is under /cas of the same server. Two offers of the protocol are declined with 404, after which the client does
without: chunks known from other uploads (global deduplication), and xorbs sent past the server, straight to its
storage (xorb grants, which hf_xet 1.8 asks for). Batched and partial updates, which no model needs, are left out.
"""

import hashlib
import json
import re
import secrets
import time
from itertools import accumulate

from hub.wire import Answer, Refusal, json_answer, ranged_answer
from hub.xet_formats import Chunk, Recipe, chunks_of, recipes_of, unpacked


class Storage:
    """The xorbs and files that have arrived, and the tokens that may send and fetch them."""

    def __init__(self):
        self.xorbs: dict[str, bytes] = {}
        self.chunks: dict[str, list[Chunk]] = {}  # of each xorb
        self.recipes: dict[str, Recipe] = {}  # of each file, by its Xet hash
        self.tokens: dict[str, str] = {}  # read or write

    def file_with(self, sha256: str) -> Recipe | None:
        """The file with this SHA-256, if it has arrived."""
        return next((recipe for recipe in self.recipes.values() if recipe.sha256 == sha256), None)

    def parts(self, recipe: Recipe) -> list[tuple[str, int, Chunk]]:
        """The chunks of a file in order, each with its xorb and its number there."""
        return [(xorb, i, self.chunks[xorb][i]) for xorb, first, end in recipe.terms for i in range(first, end)]

    def content(self, recipe: Recipe) -> bytes:
        """The bytes of a file."""
        return b"".join(unpacked(self.xorbs[xorb], chunk) for xorb, _, chunk in self.parts(recipe))


def token(hub, request, type_, id_, kind, revision) -> Answer:
    """A token for the storage, in the headers (as Python reads it) and in the body (as hf_xet does)."""
    (hub.writable if kind == "write" else hub.readable)(request, type_, id_).at(revision)
    name, expiry = f"xet_{kind}_{secrets.token_hex(8)}", int(time.time()) + 3600
    hub.xet.tokens[name] = kind
    address = f"{hub.endpoint}/cas"
    headers = {"X-Xet-Cas-Url": address, "X-Xet-Access-Token": name, "X-Xet-Token-Expiration": str(expiry)}
    return json_answer({"casUrl": address, "accessToken": name, "exp": expiry}, headers=headers)


def check_token(hub, request, *kinds: str) -> None:
    """Refuse a request whose token is of none of these kinds."""
    if request.token not in hub.xet.tokens:
        raise Refusal(401, "No valid token of the storage")
    if hub.xet.tokens[request.token] not in kinds:
        raise Refusal(403, "The token is for reading only")


def put_xorb(hub, request, xorb) -> Answer:
    """Keep a xorb."""
    check_token(hub, request, "write")
    try:
        hub.xet.chunks[xorb] = chunks_of(request.body)
    except ValueError as error:
        raise Refusal(400, str(error)) from error
    is_new = xorb not in hub.xet.xorbs
    hub.xet.xorbs[xorb] = request.body
    return json_answer({"was_inserted": is_new})


def put_shard(hub, request, version) -> Answer:
    """Register the files of a shard; all their chunks must be here, and give the SHA-256 that it says."""
    check_token(hub, request, "write")
    try:
        recipes = recipes_of(request.body)
    except ValueError as error:
        raise Refusal(400, str(error)) from error
    for recipe in recipes:
        check_recipe(hub.xet, recipe)
        hub.xet.recipes[recipe.hash] = recipe
    if version == "1":
        return json_answer({"result": 1})
    events = [{"type": "validating", "verified": len(recipes), "total": len(recipes)}, {"type": "result", "result": 1}]
    return Answer(200, b"".join(json.dumps(event).encode() + b"\n" for event in events))


def check_recipe(storage: Storage, recipe: Recipe) -> None:
    """Refuse a file with chunks that have not arrived, or with other bytes than its SHA-256 promises."""
    for xorb, _, end in recipe.terms:
        if end > len(storage.chunks.get(xorb, [])):
            raise Refusal(400, f"Chunk {end - 1} of xorb {xorb} has not been uploaded")
    if recipe.sha256 and hashlib.sha256(storage.content(recipe)).hexdigest() != recipe.sha256:
        raise Refusal(400, f"The SHA-256 of file {recipe.hash} is not {recipe.sha256}")


def declined(hub, request) -> Answer:
    """404, upon which the client sends the chunk itself, and to this server."""
    check_token(hub, request, "read", "write")
    raise Refusal(404, "This server does not offer that")


def reconstruction(hub, request, version, file) -> Answer:
    """Which chunks make a file (or the wanted range of it), and where to fetch them."""
    check_token(hub, request, "read", "write")
    if file not in hub.xet.recipes:
        raise Refusal(404, f"File {file} is not known")
    parts = hub.xet.parts(hub.xet.recipes[file])
    ends = list(accumulate(chunk.size for _, _, chunk in parts))
    first, last = wanted_range(request.headers.get("range"), ends[-1])
    inside = [i for i, end in enumerate(ends) if end > first and end - parts[i][2].size <= last]
    skipped = first - (ends[inside[0]] - parts[inside[0]][2].size)
    terms = runs([parts[i] for i in inside])
    places = {xorb: [place(hub, version, xorb, terms)] for xorb in {term["hash"] for term in terms}}
    answer = {"offset_into_first_range": skipped, "terms": terms}
    return json_answer({**answer, "fetch_info" if version == "1" else "xorbs": places})


def wanted_range(header: str | None, size: int) -> tuple[int, int]:
    """First and last byte that a Range header asks for."""
    if header is None:
        return 0, size - 1
    first, last = re.fullmatch(r"bytes=(\d+)-(\d*)", header).groups()
    if int(first) >= size:
        raise Refusal(416, f"The file has {size} bytes")
    return int(first), min(int(last or size - 1), size - 1)


def runs(parts: list[tuple[str, int, Chunk]]) -> list[dict]:
    """Chunks that follow each other in one xorb, joined to terms."""
    terms: list[dict] = []
    for xorb, i, chunk in parts:
        if terms and terms[-1]["hash"] == xorb and terms[-1]["range"]["end"] == i:
            terms[-1]["range"]["end"] += 1
            terms[-1]["unpacked_length"] += chunk.size
        else:
            terms.append({"hash": xorb, "unpacked_length": chunk.size, "range": {"start": i, "end": i + 1}})
    return terms


def place(hub, version: str, xorb: str, terms: list[dict]) -> dict:
    """Where to fetch the part of a xorb that holds the chunks of all `terms` in it."""
    ranges = [term["range"] for term in terms if term["hash"] == xorb]
    chunks = {"start": min(run["start"] for run in ranges), "end": max(run["end"] for run in ranges)}
    known = hub.xet.chunks[xorb]
    span = {"start": known[chunks["start"]].start, "end": known[chunks["end"] - 1].end - 1}
    address = f"{hub.endpoint}/xorbs/{xorb}?signature={hub.signature}"
    if version == "1":
        return {"url": address, "range": chunks, "url_range": span}
    return {"url": address, "ranges": [{"chunks": chunks, "bytes": span}]}


def get_xorb(hub, request, xorb) -> Answer:
    """The bytes of a xorb, from an address that `reconstruction` gave."""
    if request.query.get("signature") != hub.signature:
        raise Refusal(403, "Request has no valid signature")
    return ranged_answer(hub.xet.xorbs[xorb], request.headers.get("range"), {})


def telemetry(hub, request) -> Answer:
    """Thanks."""
    return Answer()


HASH = "[0-9a-f]{64}"
REPOSITORY = r"/api/(?P<type_>model|dataset|space)s/(?P<id_>[^/]+/[^/]+)"
ROUTES = [
    ("GET", re.compile(rf"{REPOSITORY}/xet-(?P<kind>read|write)-token/(?P<revision>[^/]+)"), token),
    ("POST", re.compile(rf"/cas/v1/xorbs/default/(?P<xorb>{HASH})"), put_xorb),
    ("POST", re.compile(r"/cas/v(?P<version>[12])/shards"), put_shard),
    ("GET", re.compile(rf"/cas/v1/chunks/default(?:-merkledb)?/{HASH}"), declined),
    ("POST", re.compile(rf"/cas/v1/xorb-grants/default/{HASH}"), declined),
    ("GET", re.compile(rf"/cas/v(?P<version>[12])/reconstructions/(?P<file>{HASH})"), reconstruction),
    ("GET", re.compile(rf"/xorbs/(?P<xorb>{HASH})"), get_xorb),
    ("POST", re.compile("/cas/v1/telemetry"), telemetry),
]
