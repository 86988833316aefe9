"""What goes wrong between the SDK and a gateway."""

from __future__ import annotations

import httpx


class AgentserveError(Exception):
    """The gateway refused, failed or could not be reached. `status` is its HTTP status, None if no answer came."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


def unreachable(request: httpx.Request, error: httpx.TransportError) -> AgentserveError:
    """No answer came, or not the whole of it."""
    return AgentserveError(f"no answer from the gateway at {request.url}: {error or type(error).__name__}")


def refused(response: httpx.Response) -> AgentserveError:
    """The error that a whole answer tells, in its own words if it has any."""
    try:
        message = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = response.text[:500] or response.reason_phrase
    return AgentserveError(message, response.status_code)
