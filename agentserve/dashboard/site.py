"""The page's own files. They hold nothing that is anybody's, and need no key.

The page itself carries its styles and its theme's script, so that one answer is enough for its first picture, however
busy the gateway is; its content security policy names these two by their hashes.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import blake2b, sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request, Response

from agentserve.gateway.errors import ApiError

PATH = "/dashboard"
KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
STYLES = re.compile(r'<link rel="stylesheet" href="/dashboard/([^"]+)">')
SCRIPT = re.compile(r'<script src="/dashboard/([^"]+)"></script>')
POLICY = (
    "default-src 'none'; script-src 'self'{scripts}; style-src 'self'{styles}; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY.format(scripts="", styles=""),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def site_routes() -> APIRouter:
    """The routes, for an application of FastAPI."""
    router = APIRouter(include_in_schema=False)
    found = dict(_files(files(__package__).joinpath("static"), ""))
    page, policy = _in_one(found)

    @router.get(PATH)
    async def index(request: Request) -> Response:
        return _answer(request, "index.html", page, {"content-security-policy": policy})

    @router.get(PATH + "/{name:path}")
    async def file(request: Request, name: str) -> Response:
        if name not in found:
            raise ApiError(404, f"{PATH}/{name} does not exist")
        return _answer(request, name, found[name])

    return router


def _files(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    inside: list[tuple[str, bytes]] = []
    for each in folder.iterdir():
        if each.is_dir():
            inside += _files(each, f"{prefix}{each.name}/")
        elif each.name.rpartition(".")[2] in KINDS:
            inside.append((prefix + each.name, each.read_bytes()))
    return inside


def _in_one(found: Mapping[str, bytes]) -> tuple[bytes, str]:
    """The page with what it needs for its first picture, and its content security policy."""
    hashes: dict[str, str] = {}

    def inline(tag: str, match: re.Match[str]) -> str:
        text = found[match[1]].decode()
        hashes[tag] = f" 'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
        return f"<{tag}>{text}</{tag}>"

    page = STYLES.sub(lambda match: inline("style", match), found["index.html"].decode(), count=1)
    page = SCRIPT.sub(lambda match: inline("script", match), page, count=1)
    return page.encode(), POLICY.format(scripts=hashes["script"], styles=hashes["style"])


def _answer(request: Request, name: str, body: bytes, more: Mapping[str, str] | None = None) -> Response:
    tag = f'"{blake2b(body, digest_size=8).hexdigest()}"'
    headers = {**HEADERS, **(more or {}), "etag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=KINDS[name.rpartition(".")[2]])
