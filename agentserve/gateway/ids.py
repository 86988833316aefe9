"""Ids as clients give them: texts of bounded length. Wrong ones of our own names are refused, those of others ignored."""

from __future__ import annotations

from collections.abc import Mapping

from agentserve.gateway.errors import ApiError

MAX_ID_BYTES = 256

Headers = Mapping[bytes, bytes]
"""Lower-case names."""


def checked(name: str, value: object) -> str:
    """An id as it is; empty if there is none.

    Raises:
        ApiError: it is no text, too long, or has control characters.
    """
    if value is None:
        return ""
    if not isinstance(value, str) or not is_id(value):
        raise absurd(name, f"a text of at most {MAX_ID_BYTES} bytes without control characters")
    return value


def header(headers: Headers, name: bytes) -> str:
    """The id in a header of ours; empty if there is none. Raises `ApiError` as `checked` does."""
    value = headers.get(name)
    if value is None:
        return ""
    try:
        return checked(name.decode(), value.decode())
    except UnicodeDecodeError:
        raise absurd(name.decode(), "UTF-8") from None


def foreign(value: object) -> str:
    """An id under a name that is not ours; empty if it is none."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return ""
    return value if isinstance(value, str) and is_id(value) else ""


def is_id(value: str) -> bool:
    """Whether a text can be an id; the empty one can, and is none."""
    if value.isascii():
        return len(value) <= MAX_ID_BYTES and value.isprintable()
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return False
    return size <= MAX_ID_BYTES and not any(letter < " " or "\x7f" <= letter <= "\x9f" for letter in value)


def absurd(name: str, must: str) -> ApiError:
    """The error for what a client says of itself and cannot mean."""
    return ApiError(400, f"{name} must be {must}", param=name, code="invalid_identity")
