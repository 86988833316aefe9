"""Why the gateway cannot tune."""

from __future__ import annotations


class TuningError(Exception):
    """Tuning cannot begin, or a search cannot be made now. The message says why and what to do."""
