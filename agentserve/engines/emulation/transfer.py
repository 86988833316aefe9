"""vLLM's routes for weights that a trainer transfers, as far as their order goes: the emulated engine has no weights."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class TransferRoutes:
    """`/start_weight_update`, `/update_weights` (any number of times), `/finish_weight_update`."""

    def __init__(self) -> None:
        self._begun = False
        self.routes = [
            Route("/start_weight_update", self._start, methods=["POST"]),
            Route("/update_weights", self._update, methods=["POST"]),
            Route("/finish_weight_update", self._finish, methods=["POST"]),
        ]

    async def _start(self, request: Request) -> Response:
        self._begun = True
        return JSONResponse({"message": "Weight update started"})

    async def _update(self, request: Request) -> Response:
        return JSONResponse({"message": "Weights updated"}) if self._begun else _refusal()

    async def _finish(self, request: Request) -> Response:
        if not self._begun:
            return _refusal()
        self._begun = False
        return JSONResponse({"message": "Weight update finished"})


def _refusal() -> Response:
    return JSONResponse({"error": "no weight update was started"}, status_code=500)
