"""Errors in the shape of OpenAI's API."""

from __future__ import annotations

import json
from collections.abc import Collection

from starlette.types import Send

from scheduler.actions import Reject, RejectReason
from scheduler.types import Seconds

RETRY_AFTER = 5
"""Seconds after which what could not be served is worth trying again, where nothing better is known."""
DEADLINE_EXCEEDED = "deadline_exceeded"
METHOD_NOT_ALLOWED = "method_not_allowed"
"""Of a route of inference, which takes POST."""
LONGEST_ECHO = 200
"""Characters of what a client sent that an error repeats."""


class ClientGoneError(Exception):
    """The client left before its request was complete, or before it was given to the brain."""


class ApiError(Exception):
    """An answer that is an error: its HTTP status and the fields of OpenAI's error object."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        """`retry_after`: seconds after which it is worth trying again. Every 503 says some."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = RETRY_AFTER if retry_after is None and status == 503 else retry_after

    @property
    def type(self) -> str:
        """OpenAI's word for the kind of error."""
        if self.status == 429:
            return "rate_limit_error"
        return "invalid_request_error" if self.status < 500 else "server_error"

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What goes with the answer beside its body's kind and length."""
        headers = [(b"www-authenticate", b"Bearer")] if self.status == 401 else []
        if self.code == METHOD_NOT_ALLOWED:
            headers.append((b"allow", b"POST"))
        if self.retry_after is not None:
            headers.append((b"retry-after", b"%d" % self.retry_after))
        if self.code == DEADLINE_EXCEEDED:
            headers.append(
                (b"x-should-retry", b"false")
            )  # the SDKs of OpenAI and Anthropic try a 504 again by themselves
        return headers

    def body(self) -> bytes:
        """The JSON that OpenAI's clients read; it is also the data of an error event in a stream."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return json.dumps({"error": error}).encode()


def wrong(param: str, must: str) -> ApiError:
    """The error for a parameter that is not what it must be."""
    return ApiError(400, f"{param} must be {must}", param=param, code="invalid_value")


def too_large(limit: int) -> ApiError:
    """The error for a body over the limit, in bytes."""
    return ApiError(413, f"the request body is larger than {limit} bytes", code="request_too_large")


def unknown_model(model: str, models: list[str]) -> ApiError:
    """The error for a model no pool serves."""
    message = f"the model {model[:LONGEST_ECHO]!r} does not exist; this server has {', '.join(sorted(models))}"
    return ApiError(404, message, param="model", code="model_not_found")


def too_long(tokens: int, limit: int) -> ApiError:
    """The error for a prompt of at least `tokens` tokens on engines that take `limit`."""
    message = f"this model's maximum context length is {limit} tokens, but the prompt has at least {tokens}"
    return ApiError(400, message, code="context_length_exceeded")


def no_engine(model: str, engines: Collection[str] = ()) -> ApiError:
    """The error for a model that none of its `engines` serves now."""
    named = f" ({', '.join(engines)})" if engines else ""
    return ApiError(503, f"no engine of model {model!r} is up{named}; try again in a while", code="no_engine")


def too_many_retries(failure: str) -> ApiError:
    """The error for what failed, and is not tried on another engine."""
    message = f"{failure}; it is not tried again, because too many calls fail"
    return ApiError(503, message, code="too_many_retries")


def too_late(limit: Seconds) -> ApiError:
    """The error for a call that took longer than `limit`."""
    return ApiError(504, f"the call took longer than {limit:g} s (limits.total)", code="timeout")


_REJECTED = {
    RejectReason.UNKNOWN_MODEL: (404, "model_not_found"),
    RejectReason.TOO_LONG: (400, "context_length_exceeded"),
    RejectReason.NO_ENGINE: (503, "no_engine"),
    RejectReason.ENGINES_FAILED: (502, "engines_failed"),
    RejectReason.DUPLICATE: (409, "duplicate"),
    RejectReason.TOO_LATE: (504, DEADLINE_EXCEEDED),
}


def rejected(reject: Reject, last_failure: str) -> ApiError:
    """The error for a call the scheduler cannot serve, with what the last engine that was tried did."""
    status, code = _REJECTED[reject.reason]
    message = f"{reject.detail} ({last_failure})" if last_failure else reject.detail
    return ApiError(status, message, code=code)


async def send_error(send: Send, error: ApiError, body: bytes) -> None:
    """Answers a request with an error, whose body is in the shape of the request's protocol."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *error.headers]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
