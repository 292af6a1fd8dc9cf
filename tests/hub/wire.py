"""HTTP/1.1 as the Hub's clients speak it: requests are recorded, answers are written, faults break either.

What an answer says is the business of the function that `HubServer` finds for a request.
"""

import json
import re
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, unquote, urlsplit

PIECE = 16 * 1024  # bytes read at a time, so that a cut in the middle of a body has a middle to be in


@dataclass
class Request:
    """One request as it arrived; `status` is None where the connection was cut before an answer."""

    method: str
    path: str  # without the query; quoted as the client sent it, so that a revision `a%2Fb` stays one part
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: bytes = b""
    status: int | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def body_size(self) -> int:
        """Bytes of the body that arrived."""
        return len(self.body)

    @property
    def json(self):
        """The body, read as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What goes back to the client."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """An answer that is an error: status, message and the Hub's own code, such as RepoNotFound."""

    def __init__(self, status: int, message: str, code: str | None = None, **fields):
        super().__init__(message)
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self.answer = json_answer({"error": message, **fields}, status=status, headers=headers)


@dataclass
class Fault:
    """Something that goes wrong for requests whose "METHOD /path" the pattern is found in."""

    pattern: str
    times: int | None  # None: always
    skip: int  # so many matching requests pass first
    answer: Answer | None = None  # sent instead of the real answer
    after_bytes: int | None = None  # else: the connection is cut here
    once: Callable[[], bool] | None = None  # the cut waits until this holds
    lost: bool = False  # the request is carried out, and its answer does not arrive

    def strikes(self, request: Request) -> bool:
        """Whether this request fails; counts it if the pattern matches."""
        if self.times == 0 or not re.search(self.pattern, f"{request.method} {request.path}"):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def wait(self) -> None:
        """Return once what the fault waits for holds; TimeoutError after a minute."""
        until = time.monotonic() + 60
        while self.once and not self.once():
            if time.monotonic() > until:
                raise TimeoutError("What the cut of a connection waits for has not come")
            time.sleep(0.02)


def json_answer(value, *, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """An answer whose body is `value` as JSON."""
    return Answer(
        status, json.dumps(value, default=str).encode(), {"Content-Type": "application/json", **(headers or {})}
    )


def ranged_answer(content: bytes, wanted: str | None, headers: dict[str, str]) -> Answer:
    """`content`, or the one range of it that the Range header asks for (206; 416 if it starts past the end)."""
    headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
    if not wanted:
        return Answer(200, content, headers)
    first, last = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted).groups()
    start = int(first) if first else max(len(content) - int(last), 0)
    end = min(int(last), len(content) - 1) if first and last else len(content) - 1
    if start >= len(content):
        return Answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
    return Answer(206, content[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{len(content)}"})


class Handler(BaseHTTPRequestHandler):
    """One connection. `server.hub` is the HubServer that records, breaks and answers its requests."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave together: small writes would wait for the client's acknowledgement
    disable_nagle_algorithm = True

    def answer_request(self):
        """Read a request, let it fail if a test wants that, and answer it."""
        hub = self.server.hub
        request = self._request()
        fault = hub.record(request)
        cut = fault.after_bytes if fault and fault.answer is None else None
        has_body = "transfer-encoding" in request.headers or int(request.headers.get("content-length", 0)) > 0
        pieces = []
        try:
            for piece in self._body(request.headers, limit=cut if has_body else None):
                pieces.append(piece)
        finally:
            request.body = b"".join(pieces)
        if cut is not None and has_body:
            fault.wait()
            self._reset()
            return
        answer = fault.answer if fault and fault.answer else hub.answer(request)
        if fault and fault.lost:
            self._reset()
            return
        if cut is None:
            request.status = answer.status
        self._send(answer, head_only=request.method == "HEAD", limit=cut)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer_request

    def log_message(self, format, *args):
        """Nothing: the requests are in `HubServer.requests`."""

    def _request(self) -> Request:
        address = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        token = re.fullmatch(r"Bearer (.+)", headers.get("authorization", ""))
        query = dict(parse_qsl(address.query, keep_blank_values=True))
        return Request(self.command, address.path, query, headers, token=token and token[1])

    def _body(self, headers: dict[str, str], limit: int | None):
        """The body in pieces: `limit` bytes of it, or all."""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            pieces = self._chunks()
        else:
            pieces = self._pieces(int(headers.get("content-length", 0)))
        left = limit
        for piece in pieces:
            yield piece[:left]
            if left is not None:
                left -= len(piece)
                if left <= 0:
                    return

    def _pieces(self, size: int):
        while size > 0:
            piece = self.rfile.read1(min(size, PIECE))
            if not piece:
                raise ConnectionAbortedError("the client went away within a body")
            size -= len(piece)
            yield piece

    def _chunks(self):
        while size := int(self.rfile.readline().split(b";")[0] or b"-1", 16):
            if size < 0:
                raise ConnectionAbortedError("the client went away between two chunks")
            yield from self._pieces(size)
            self.rfile.readline()
        self.rfile.readline()

    def _send(self, answer: Answer, *, head_only: bool, limit: int | None):
        self.send_response(answer.status)
        headers = {"Content-Length": str(len(answer.body)), **answer.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        if limit is not None:
            self.close_connection = True
        self.end_headers()
        if not head_only:
            self.wfile.write(answer.body[:limit])
        self.wfile.flush()

    def _reset(self):
        """Drop the connection so that the client's next write or read fails, as when a cable is pulled."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def unquoted(parts: dict[str, str]) -> dict[str, str]:
    """The parts of a path with %2F and the like resolved."""
    return {name: unquote(part) for name, part in parts.items()}
