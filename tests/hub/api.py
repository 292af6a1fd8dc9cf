"""The Hub's API for repositories: create, describe, commit to, list and read them.

Every function takes the server, the request and the parts of its path, and returns an answer or raises a refusal.
Pull requests, tags, moving and gating are left out.
"""

import base64
import json
import re
from fnmatch import fnmatch
from urllib.parse import parse_qs

from hub import cards
from hub.repositories import Repository, StoredFile, file_entry, folder_entry, folders_of, is_large
from hub.wire import Answer, Refusal, json_answer, ranged_answer


def whoami(hub, request) -> Answer:
    """Who the token belongs to."""
    user = hub.user_of(request)
    access = {"type": "access_token", "accessToken": {"displayName": "test", "role": user.role}}
    organizations = [{"type": "org", "name": name} for name in user.organizations]
    return json_answer(
        {"type": "user", "name": user.name, "fullname": user.name, "orgs": organizations, "auth": access}
    )


def create(hub, request) -> Answer:
    """Create a repository in the caller's namespace or one of its organizations."""
    user, wanted = hub.user_of(request), request.json
    owner, type_ = wanted.get("organization") or user.name, wanted.get("type") or "model"
    if not user.may_write_to(owner):
        raise Refusal(403, f'You don\'t have the rights to create a {type_} under the namespace "{owner}"')
    repository = Repository(f"{owner}/{wanted['name']}", type_, wanted.get("visibility") == "private")
    url = page(hub, repository)
    if (type_, repository.id) in hub.repositories:
        raise Refusal(409, f"You already created this {type_} repo: {repository.id}", url=url)
    hub.repositories[type_, repository.id] = repository
    return json_answer({"url": url, "name": repository.id, "id": repository.id, "private": repository.private})


def page(hub, repository: Repository) -> str:
    """The address of a repository for people."""
    return f"{hub.endpoint}/{'' if repository.type == 'model' else repository.type + 's/'}{repository.id}"


def delete(hub, request) -> Answer:
    """Delete a repository with everything in it."""
    owner = request.json.get("organization") or hub.user_of(request).name
    type_ = request.json.get("type") or "model"
    repository = hub.writable(request, type_, f"{owner}/{request.json['name']}")
    del hub.repositories[type_, repository.id]
    return Answer()


def settings(hub, request, type_, id_) -> Answer:
    """Make a repository private or public."""
    repository = hub.writable(request, type_, id_)
    if "visibility" in request.json:
        repository.private = request.json["visibility"] == "private"
    return json_answer({"private": repository.private})


def access(hub, request, type_, id_, write=None) -> Answer:
    """200 if the caller may read (or write to) the repository."""
    (hub.writable if write else hub.readable)(request, type_, id_)
    return Answer()


def info(hub, request, type_, id_, revision="main") -> Answer:
    """What model_info and its kin return."""
    repository = hub.readable(request, type_, id_)
    commit = repository.at(revision)
    siblings = [{"rfilename": path} for path in sorted(commit.files)]
    if "blobs" in request.query:
        siblings = [sibling(path, file) for path, file in sorted(commit.files.items())]
    card = cards.metadata(commit.files["README.md"].content) if "README.md" in commit.files else {}
    described = {
        "id": id_,
        "modelId": id_,
        "author": repository.owner,
        "sha": commit.oid,
        "lastModified": commit.date,
        "createdAt": commit.line[-1].date,
        "private": repository.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": card.get("tags") or [],
        "cardData": card,
        "siblings": siblings,
    }
    return json_answer(described)


def sibling(path: str, file: StoredFile) -> dict:
    """One file as model_info(files_metadata=True) lists it."""
    entry = {"rfilename": path, "size": len(file.content), "blobId": file.blob}
    if file.large:
        entry["lfs"] = {"sha256": file.sha256, "size": len(file.content), "pointerSize": len(file.pointer)}
    return entry


def refs(hub, request, type_, id_) -> Answer:
    """The branches of a repository."""
    branches = hub.readable(request, type_, id_).branches.items()
    listed = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": head.oid} for name, head in branches]
    return json_answer({"branches": listed, "converts": [], "tags": [], "pullRequests": []})


def create_branch(hub, request, type_, id_, branch) -> Answer:
    """A new branch, from `startingPoint` or main."""
    repository = hub.writable(request, type_, id_)
    if branch in repository.branches:
        raise Refusal(409, f"Reference already exists: refs/heads/{branch}")
    repository.branches[branch] = repository.at((request.body and request.json.get("startingPoint")) or "main")
    return Answer(201)


def delete_branch(hub, request, type_, id_, branch) -> Answer:
    """Remove a branch; main stays."""
    repository = hub.writable(request, type_, id_)
    if branch == "main":
        raise Refusal(403, "Cannot delete the branch main")
    if repository.branches.pop(branch, None) is None:
        raise Refusal(404, f"Invalid rev id: {branch}", "RevisionNotFound")
    return Answer()


def commits(hub, request, type_, id_, revision) -> Answer:
    """The commits of a branch, newest first."""
    line = hub.readable(request, type_, id_).at(revision).line
    return json_answer(
        [
            {
                "id": commit.oid,
                "title": commit.title,
                "message": commit.description,
                "date": commit.date,
                "authors": [{"user": commit.author}],
            }
            for commit in line
        ]
    )


def tree(hub, request, type_, id_, revision, folder="") -> Answer:
    """Files and folders in a folder, or in all below it."""
    files = hub.readable(request, type_, id_).at(revision).files
    start = f"{folder}/" if folder else ""
    if folder and not any(path.startswith(start) for path in files):
        raise Refusal(404, f"{folder} does not exist on {revision}", "EntryNotFound")
    deep = request.query.get("recursive", "").lower() in {"true", "1"}
    entries = [folder_entry(path) for path in folders_of(files)]
    entries += [file_entry(path, file) for path, file in sorted(files.items())]
    inside = [entry for entry in entries if entry["path"].startswith(start)]
    return json_answer([entry for entry in inside if deep or "/" not in entry["path"][len(start) :]])


def paths_info(hub, request, type_, id_, revision) -> Answer:
    """The files and folders among the paths that were asked for; others are left out."""
    files = hub.readable(request, type_, id_).at(revision).files
    if request.headers.get("content-type", "").startswith("application/json"):
        paths = request.json["paths"]
    else:
        paths = parse_qs(request.body.decode())["paths"]
    found = [file_entry(path, files[path]) for path in paths if path in files]
    return json_answer(found + [folder_entry(path) for path in paths if path in folders_of(files)])


def resolve(hub, request, id_, revision, path, type_="model") -> Answer:
    """The content of a file, whole or a range, with what the client needs to cache it or to ask Xet instead."""
    commit = hub.readable(request, type_, id_).at(revision)
    headers = {"X-Repo-Commit": commit.oid}
    if path not in commit.files:
        refusal = Refusal(404, "Entry not found", "EntryNotFound")
        refusal.answer.headers.update(headers)
        raise refusal
    file = commit.files[path]
    headers["ETag"] = f'"{file.etag}"'
    if file.large:
        headers |= {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": str(len(file.content))}
    if file.xet_hash:
        token_address = f"{hub.endpoint}/api/{type_}s/{id_}/xet-read-token/{commit.oid}"
        headers |= {"X-Xet-Hash": file.xet_hash, "Link": f'<{token_address}>; rel="xet-auth"'}
    return ranged_answer(file.content, request.headers.get("range"), headers)


def preupload(hub, request, type_, id_, revision) -> Answer:
    """How each file is to be sent, whether .gitignore leaves it out, and what is there already."""
    files = hub.writable(request, type_, id_).at(revision).files
    ignored = [line.strip() for line in request.json.get("gitIgnore", "").splitlines()]
    ignored = [line.strip("/") for line in ignored if line and not line.startswith("#")]

    def plan(wanted):
        path = wanted["path"]
        large = is_large(path, wanted["size"], base64.b64decode(wanted["sample"]))
        parts = [path, *path.split("/")]
        return {
            "path": path,
            "uploadMode": "lfs" if large else "regular",
            "shouldIgnore": any(fnmatch(part, line) for part in parts for line in ignored),
            "oid": files[path].etag if path in files else None,
        }

    return json_answer({"files": [plan(wanted) for wanted in request.json["files"]]})


def commit(hub, request, type_, id_, revision) -> Answer:
    """One commit out of NDJSON lines: a header, then files to add and to delete."""
    repository = hub.writable(request, type_, id_)
    if "create_pr" in request.query:
        raise Refusal(501, "This server makes no pull requests")
    if revision not in repository.branches:
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    lines = [json.loads(line) for line in request.body.splitlines()]
    header = next(line["value"] for line in lines if line["key"] == "header")
    head = repository.branches[revision]
    if header.get("parentCommit", head.oid) != head.oid:
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    files = dict(head.files)
    for line in lines:
        if line["key"] != "header":
            apply(hub, files, line["key"], line["value"])
    author = hub.user_of(request).name
    made = repository.commit(revision, header["summary"], header.get("description", ""), author, files)
    url = f"{page(hub, repository)}/commit/{made.oid}"
    return json_answer({"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""})


def apply(hub, files: dict[str, StoredFile], operation: str, value: dict) -> None:
    """Change `files` by one line of a commit."""
    path = value["path"]
    if operation == "file":
        files[path] = StoredFile(base64.b64decode(value["content"]))
        if path == "README.md" and (errors := cards.errors(files[path].content)):
            raise Refusal(400, f"Invalid metadata in README.md: {'; '.join(errors)}")
    elif operation == "lfsFile":
        files[path] = hub.large_file(value["oid"])
    elif operation == "deletedFile":
        if files.pop(path, None) is None:
            raise Refusal(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
    elif operation == "deletedFolder":
        inside = [name for name in files if name.startswith(path.rstrip("/") + "/")]
        if not inside:
            raise Refusal(404, f"A folder with this name doesn't exist: {path}", "EntryNotFound")
        for name in inside:
            del files[name]
    else:
        raise Refusal(400, f"Unknown operation in commit: {operation}")


def validate_card(hub, request) -> Answer:
    """What is wrong with the metadata of a README.md, before anything is uploaded."""
    content = request.json["content"].encode()
    warnings = [] if cards.metadata(content) else ["empty or missing yaml metadata in repo card"]
    errors = cards.errors(content)
    found = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return json_answer(found, status=400 if errors else 200)


TYPE, ID = "(?P<type_>model|dataset|space)s", r"(?P<id_>[^/]+/[^/]+)"
REPOSITORY = rf"/api/{TYPE}/{ID}"
READ_FROM = r"/(?:(?P<type_>dataset|space)s/)?(?P<id_>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)"
ROUTES = [
    ("GET", re.compile("/api/whoami-v2"), whoami),
    ("POST", re.compile("/api/validate-yaml"), validate_card),
    ("POST", re.compile("/api/repos/create"), create),
    ("DELETE", re.compile("/api/repos/delete"), delete),
    ("PUT", re.compile(rf"{REPOSITORY}/settings"), settings),
    ("GET", re.compile(rf"{REPOSITORY}/auth-check(?P<write>/write)?"), access),
    ("GET", re.compile(rf"{REPOSITORY}(?:/revision/(?P<revision>[^/]+))?"), info),
    ("GET", re.compile(rf"{REPOSITORY}/refs"), refs),
    ("POST", re.compile(rf"{REPOSITORY}/branch/(?P<branch>[^/]+)"), create_branch),
    ("DELETE", re.compile(rf"{REPOSITORY}/branch/(?P<branch>[^/]+)"), delete_branch),
    ("GET", re.compile(rf"{REPOSITORY}/commits/(?P<revision>[^/]+)"), commits),
    ("GET", re.compile(rf"{REPOSITORY}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?"), tree),
    ("POST", re.compile(rf"{REPOSITORY}/paths-info/(?P<revision>[^/]+)"), paths_info),
    ("POST", re.compile(rf"{REPOSITORY}/preupload/(?P<revision>[^/]+)"), preupload),
    ("POST", re.compile(rf"{REPOSITORY}/commit/(?P<revision>[^/]+)"), commit),
    ("GET", re.compile(READ_FROM), resolve),
]
