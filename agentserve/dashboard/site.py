"""The page's own files. They hold nothing that is anybody's, and need no key."""

from __future__ import annotations

from hashlib import blake2b
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
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def site_routes() -> APIRouter:
    """The routes, for an application of FastAPI."""
    router = APIRouter(include_in_schema=False)
    found = dict(_files(files(__package__).joinpath("static"), ""))

    @router.get(PATH)
    async def index(request: Request) -> Response:
        return _answer(request, "index.html", found["index.html"])

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


def _answer(request: Request, name: str, body: bytes) -> Response:
    tag = f'"{blake2b(body, digest_size=8).hexdigest()}"'
    headers = {**HEADERS, "etag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=KINDS[name.rpartition(".")[2]])
