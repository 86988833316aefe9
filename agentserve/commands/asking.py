"""How commands ask a running gateway."""

from __future__ import annotations

from typing import Annotated, Any, Never, TypeAlias

import httpx
import typer

from agentserve.commands.common import check_url, fail

UrlOption: TypeAlias = Annotated[str, typer.Option(help="The gateway's base URL.")]
KeyOption: TypeAlias = Annotated[
    str, typer.Option(envvar="AGENTSERVE_API_KEY", help="An API key, where the gateway asks for one.")
]

HERE = "http://127.0.0.1:8000"


def ask(url: str, key: str, path: str, params: dict[str, int | bool], method: str = "GET") -> Any:
    """What the gateway answers; ends the command if it does not."""
    base = check_url(url)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.request(method, base + path, params=params, headers=headers, timeout=30.0, trust_env=False)
    except httpx.HTTPError as error:
        fail(f"no gateway answers at {base}: {error}; start one with `agentserve serve`, or name it with --url")
    if answer.status_code != httpx.codes.OK:
        refused(base, path, answer)
    try:
        return answer.json()
    except ValueError:
        fail(f"{base}{path} answered no JSON; is that an agentserve gateway?")


def refused(base: str, path: str, answer: httpx.Response) -> Never:
    """Ends the command because the gateway did not give what was asked for."""
    if answer.status_code in (401, 403):
        fail(f"{base} refused the key: {_message(answer)}; give one with --key or AGENTSERVE_API_KEY")
    fail(f"{base}{path} answered with status {answer.status_code}: {_message(answer)}; is that an agentserve gateway?")


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
