"""Numbers as people read them in a terminal."""

from __future__ import annotations

from scheduler.types import Seconds


def short(count: int) -> str:
    """In four digits or so: 980, 1.2k, 34k, 5.6M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.{1 if count < 10 * size else 0}f}{unit}"
    return str(count)


def duration(seconds: Seconds) -> str:
    """As 420ms, 3.2s, 45s, 3m20s, 2h05m."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 99.5:
        return f"{seconds:.{1 if seconds < 9.95 else 0}f}s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole // 60 % 60:02}m"
