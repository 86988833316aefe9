"""Other weights for a running engine: loaded from a folder between two steps, and no KV of the old ones left."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

METHOD = "agentserve_weights"
"""The name under which the engine process loads weights for `call_utility_async`."""


class BadWeightsError(ValueError):
    """A request to load weights that is not one. The message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The version that the engine has from now on, and the folder it is in; without one they are there already."""

    version: int
    path: str | None = None

    def to_json(self) -> str:
        """The order as it goes to the engine process."""
        return json.dumps(asdict(self))


class Scheduler(Protocol):
    """The scheduler, as far as weights matter to it."""

    def get_num_unfinished_requests(self) -> int:
        """Requests that wait or run."""
        ...


class EngineProcess(Protocol):
    """vLLM's engine core."""

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler it runs."""
        ...

    def collective_rpc(self, method: str, *, kwargs: dict[str, object]) -> object:
        """Calls a method of every worker."""
        ...

    def reset_prefix_cache(self) -> bool:
        """Empties the prefix cache; False if requests run."""
        ...


def parse_weights(body: bytes | str) -> Weights:
    """Reads `{"version": int, "path": str}`; `path` is optional.

    Raises:
        BadWeightsError: it is not JSON, or not of this shape.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadWeightsError(f"the body is not JSON: {error}") from error
    if not isinstance(data, dict) or data.keys() - {"version", "path"}:
        raise BadWeightsError('the body must be an object such as {"version": 7, "path": "/checkpoints/7"}')
    version, path = data.get("version"), data.get("path")
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise BadWeightsError("'version' must be a whole number, 0 or more")
    if path is not None and not isinstance(path, str):
        raise BadWeightsError("'path' must be a folder on the engine's machine")
    return Weights(version, path)


def load(engine: EngineProcess, order: str) -> str:
    """Loads weights in the engine process, between two steps, and empties the prefix cache with all its pins.

    Returns JSON: `{"version": int}`; `{"busy": int}` with how many requests are unfinished, in which case nothing has been
    done; or `{"error": str}`, after which the weights may be neither the old nor the new ones unless `unchanged` is true.
    """
    weights = parse_weights(order)
    unfinished = engine.scheduler.get_num_unfinished_requests()
    if unfinished:
        return json.dumps({"busy": unfinished})
    if weights.path is not None and not Path(weights.path).is_dir():
        return json.dumps({"error": f"there is no folder {weights.path} on the engine's machine", "unchanged": True})
    try:
        if weights.path is not None:
            engine.collective_rpc("reload_weights", kwargs={"weights_path": weights.path})
    except Exception as error:
        return json.dumps({"error": f"the weights could not be loaded: {error}", "unchanged": False})
    if not engine.reset_prefix_cache():
        return json.dumps({"error": "the prefix cache could not be emptied", "unchanged": False})
    return json.dumps({"version": weights.version})
