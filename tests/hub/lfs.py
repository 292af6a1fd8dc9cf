"""Large files by the git LFS protocol: where to send each file, its bytes (whole or in parts), and a check.

The addresses to which bytes go are signed and take no token, as those of the Hub's storage do.
"""

import hashlib
import re

from hub.wire import Answer, Refusal, json_answer


def batch(hub, request, id_, type_="model") -> Answer:
    """Where to send each of the files; nothing for those whose bytes are here already."""
    hub.writable(request, type_, id_)
    wanted = request.json
    parts = hub.part_size if "multipart" in wanted.get("transfers", []) else None
    objects = [instructions(hub, id_, item["oid"], item["size"], parts) for item in wanted["objects"]]
    return json_answer({"transfer": "multipart" if parts else "basic", "objects": objects})


def instructions(hub, id_: str, oid: str, size: int, part_size: int | None) -> dict:
    """What the client has to do with one file."""
    listed = {"oid": oid, "size": size}
    if oid in hub.objects:
        return listed
    address = f"{hub.endpoint}/storage/{oid}"
    upload = {"href": f"{address}?signature={hub.signature}"}
    if part_size and size > part_size:
        numbers = range(1, -(-size // part_size) + 1)
        parts = {str(number): f"{address}/{number}?signature={hub.signature}" for number in numbers}
        upload = {
            "href": f"{address}/complete?signature={hub.signature}",
            "header": {"chunk_size": str(part_size), **parts},
        }
    verify = {"href": f"{hub.endpoint}/{id_}.git/info/lfs/objects/verify"}
    return {**listed, "actions": {"upload": upload, "verify": verify}}


def put(hub, request, oid, part=None) -> Answer:
    """The bytes of a file, or of one part of it."""
    check_signature(hub, request)
    if part is None:
        keep(hub, oid, request.body)
    else:
        hub.parts[oid, int(part)] = request.body
    return Answer(200, headers={"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})


def complete(hub, request, oid) -> Answer:
    """Put the parts of a file together; all of them must have arrived."""
    check_signature(hub, request)
    numbers = [part["partNumber"] for part in request.json["parts"]]
    if missing := [number for number in numbers if (oid, number) not in hub.parts]:
        raise Refusal(400, f"Parts {missing} of {oid} have not been uploaded")
    keep(hub, oid, b"".join(hub.parts.pop((oid, number)) for number in sorted(numbers)))
    return json_answer({})


def verify(hub, request, id_, type_="model") -> Answer:
    """Whether a file has arrived with the size that the client says."""
    hub.writable(request, type_, id_)
    if len(hub.objects.get(request.json["oid"], b"")) != request.json["size"]:
        raise Refusal(404, f"{request.json['oid']} has not been uploaded with {request.json['size']} bytes")
    return json_answer({})


def keep(hub, oid: str, content: bytes) -> None:
    """Store the bytes of a file under their SHA-256, which must be `oid`."""
    if hashlib.sha256(content).hexdigest() != oid:
        raise Refusal(400, f"The SHA-256 of the bytes is not {oid}")
    hub.objects[oid] = content


def check_signature(hub, request) -> None:
    """Storage takes nothing from an address that it did not give out."""
    if request.query.get("signature") != hub.signature:
        raise Refusal(403, "Request has no valid signature")


GIT = r"/(?:(?P<type_>dataset|space)s/)?(?P<id_>[^/]+/[^/]+)\.git/info/lfs/objects"
ROUTES = [
    ("POST", re.compile(rf"{GIT}/batch"), batch),
    ("POST", re.compile(rf"{GIT}/verify"), verify),
    ("PUT", re.compile(r"/storage/(?P<oid>[0-9a-f]{64})(?:/(?P<part>\d+))?"), put),
    ("POST", re.compile(r"/storage/(?P<oid>[0-9a-f]{64})/complete"), complete),
]
