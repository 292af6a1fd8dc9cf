"""A real HTTP server on loopback that speaks the Hub's API as far as `huggingface_hub` and `hf_xet` use it.

    with HubServer(user="anna", token="hf_test") as hub:
        HfApi(endpoint=hub.endpoint, token="hf_test").upload_folder(...)
        hub.files("anna/model")["config.json"]

The packages that offer such a server do not take uploads: olah only mirrors downloads, hf-local-hub wraps a program
that it does not contain, and KohakuHub, which is not on PyPI, needs S3 and lakeFS. So this is one, with the standard
library.
"""

import re
import secrets
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path

from hub import api, lfs, xet
from hub.repositories import Commit, Repository, StoredFile
from hub.wire import Answer, Fault, Handler, Refusal, Request, json_answer, unquoted


@dataclass(frozen=True)
class User:
    """Who a token belongs to, and what it may do: read or write."""

    name: str
    role: str = "write"
    organizations: tuple[str, ...] = ()

    def is_in(self, owner: str) -> bool:
        """Whether the namespace is the user's own or one of its organizations."""
        return owner in {self.name, *self.organizations}

    def may_write_to(self, owner: str) -> bool:
        """Whether the token may change what is in this namespace."""
        return self.role == "write" and self.is_in(owner)


class HubServer:
    """The Hub with one user, `user`, who has the token `token`; `add_user` makes more.

    `part_size` (bytes): larger LFS files are uploaded in parts of that size; None: always in one piece.
    An error in the server itself is raised when the block ends, so that no test takes it for an error 500.
    """

    def __init__(self, user: str, token: str, *, organizations: tuple[str, ...] = (), part_size: int | None = None):
        self.user, self.token, self.part_size = user, token, part_size
        self.users = {token: User(user, organizations=organizations)}
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.objects: dict[str, bytes] = {}  # LFS files by SHA-256
        self.parts: dict[tuple[str, int], bytes] = {}  # parts of LFS files that are not complete
        self.xet = xet.Storage()
        self.signature = secrets.token_hex(8)
        self.requests: list[Request] = []
        self.crashes: list[Exception] = []
        self._faults: list[Fault] = []
        self._lock = threading.RLock()
        self._http = _Connections(("127.0.0.1", 0), Handler)
        self._http.hub = self

    @property
    def endpoint(self) -> str:
        """The address for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._http.shutdown()
        self._http.server_close()
        if self.crashes and error is None:
            raise self.crashes[0]

    def environment(self, home: Path) -> dict[str, str]:
        """The variables with which a client's process talks to this server, logged in, with `home` as its cache.

        Its retries are quick, it tells nobody what it does, and Xet notes each piece that has arrived at once: by
        default it does so every 20 s, so that an upload that broke off earlier starts anew.
        """
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_TOKEN": self.token,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_XET_CLIENT_RETRY_BASE_DELAY": "20ms",
            "HF_XET_DATA_SESSION_XORB_METADATA_FLUSH_MAX_COUNT": "1",
        }

    # What a test sets.

    def add_user(self, name: str, token: str, *, role: str = "write", organizations: tuple[str, ...] = ()) -> None:
        """Give somebody else a token."""
        self.users[token] = User(name, role, organizations)

    def fail(
        self,
        pattern: str,
        *,
        status: int,
        times: int | None = 1,
        skip: int = 0,
        headers: dict[str, str] | None = None,
        json: dict | None = None,
    ) -> None:
        """Answer `status` to requests whose "METHOD /path" `pattern` is found in, after the first `skip` of them.

        `times` None: from then on always. The request's body is read, but has no effect.
        """
        json = {"error": "This request fails because a test wants it to"} if json is None else json
        headers = {"X-Error-Message": str(json.get("error", "")), **(headers or {})}
        self._faults.append(Fault(pattern, times, skip, answer=json_answer(json, status=status, headers=headers)))

    def cut(
        self,
        pattern: str,
        *,
        after_bytes: int,
        times: int | None = 1,
        skip: int = 0,
        once: Callable[[], bool] | None = None,
    ) -> None:
        """Close the connection after so many bytes of the request's body, which then has no effect.

        Of a request without a body, the answer's body is cut. A shorter body is read to its end, then the
        connection is closed without an answer. With `once` it stays open, unread, until that holds.
        """
        self._faults.append(Fault(pattern, times, skip, after_bytes=after_bytes, once=once))

    def lose(self, pattern: str, *, times: int | None = 1, skip: int = 0) -> None:
        """Carry out the request, and close the connection without an answer."""
        self._faults.append(Fault(pattern, times, skip, lost=True))

    def heal(self) -> None:
        """From now on nothing fails."""
        self._faults.clear()

    # What a test asks.

    def files(self, id: str, revision: str = "main", *, type: str = "model") -> dict[str, bytes]:
        """Path and content of every file of a repository."""
        return {path: file.content for path, file in self.repositories[type, id].at(revision).files.items()}

    def commits(self, id: str, revision: str = "main", *, type: str = "model") -> list[Commit]:
        """The commits of a branch, newest first, ending with the one that the server makes itself."""
        return self.repositories[type, id].at(revision).line

    def sent(self, pattern: str) -> list[Request]:
        """The requests so far whose "METHOD /path" `pattern` is found in."""
        return [item for item in list(self.requests) if re.search(pattern, f"{item.method} {item.path}")]

    # What the answers need.

    def record(self, request: Request) -> Fault | None:
        """Keep the request, and return what is to go wrong with it."""
        with self._lock:
            self.requests.append(request)
            return next((fault for fault in self._faults if fault.strikes(request)), None)

    def answer(self, request: Request) -> Answer:
        """The answer to a request by the function whose route it matches."""
        method = "GET" if request.method == "HEAD" else request.method
        for wanted, path, function in [*api.ROUTES, *lfs.ROUTES, *xet.ROUTES]:
            if method == wanted and (match := path.fullmatch(request.path)):
                parts = unquoted({name: part for name, part in match.groupdict().items() if part is not None})
                return self._guarded(function, request, parts)
        return Refusal(404, f"This server knows no {request.method} {request.path}").answer

    def _guarded(self, function, request: Request, parts: dict[str, str]) -> Answer:
        with self._lock:
            try:
                return function(self, request, **parts)
            except Refusal as refusal:
                return refusal.answer
            except Exception as error:
                self.crashes.append(error)
                return Refusal(501, f"The test server itself failed: {error!r}").answer  # 500 would be tried again

    def user_of(self, request: Request) -> User:
        """The user whose token came with the request; refused (401) without a valid one."""
        if request.token is None:
            raise Refusal(401, "Invalid username or password.")
        if request.token not in self.users:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return self.users[request.token]

    def readable(self, request: Request, type: str, id: str) -> Repository:
        """The repository, if the caller may see it: 401 or 404 hide that a private one exists."""
        user = self.user_of(request) if request.token is not None else None
        repository = self.repositories.get((type, id))
        hidden = repository is None or (repository.private and not (user and user.is_in(repository.owner)))
        if hidden:
            raise Refusal(404 if user else 401, "Repository not found", "RepoNotFound")
        return repository

    def writable(self, request: Request, type: str, id: str) -> Repository:
        """The repository, if the caller may change it: 403 if it may only see it."""
        user = self.user_of(request)
        repository = self.readable(request, type, id)
        if not user.may_write_to(repository.owner):
            raise Refusal(403, f"You don't have the rights to write to {id}")
        return repository

    def large_file(self, sha256: str) -> StoredFile:
        """The file with this SHA-256, which has arrived by LFS or by Xet."""
        if recipe := self.xet.file_with(sha256):
            return StoredFile(self.xet.content(recipe), large=True, xet_hash=recipe.hash)
        if sha256 not in self.objects:
            raise Refusal(400, f"LFS pointer pointed to a file that does not exist: {sha256}")
        return StoredFile(self.objects[sha256], large=True)


class _Connections(ThreadingHTTPServer):
    """A thread per connection; a client that goes away is no error."""

    daemon_threads = True
    request_queue_size = 64
    block_on_close = False

    def handle_error(self, request, client_address):
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            self.hub.crashes.append(error)
