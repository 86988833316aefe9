"""The gateway as a process: engines, brain and HTTP server, from a configuration to a graceful stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable

import uvicorn
import uvloop

from agentserve.config import Config
from agentserve.engines.factory import build_engines, default_logs
from agentserve.gateway.app import Gateway
from agentserve.gateway.assembly import gateway
from agentserve.gateway.faults.drain import DrainingServer
from agentserve.gateway.recorder import RecordingError
from agentserve.gateway.reload import reloads_on_hang_up
from agentserve.gateway.state import StateError, load_state
from agentserve.gateway.tenants.keys import KeysError, load_keys
from agentserve.gateway.tracing.factory import TracingError
from agentserve.gateway.tuning.errors import TuningError
from agentserve.state.base import StoreError
from scheduler.brain import Brain

CLOSING = 5
"""Seconds that connections have to close when nothing runs on them any more, or nothing may."""

KEEP_ALIVE = 75
"""Seconds an idle connection of a client is kept: longer than clients keep theirs, so that none is used as it closes."""

BACKLOG = 2048
"""Connections that may wait to be accepted."""

logger = logging.getLogger(__name__)


def run(config: Config, listener: socket.socket | None = None, read: Callable[[], Config] | None = None) -> int:
    """Serves until interrupted, on a socket that listens already if there is one. `read` reads the configuration again.

    Returns the process's exit code: 0, or 2 for what its user has to mend.
    """
    try:
        brain = Brain(
            config.policy,
            learned=load_state(config.state) if config.state else None,
            idle_timeout=config.program_idle_timeout,
        )
        if config.keys is not None:
            load_keys(config.keys)
        listener = listener or listen(config)
    except (StateError, KeysError, OSError) as error:
        logger.error("%s", error)
        return 2
    try:
        with listener:
            uvloop.run(_serve(config, brain, listener, read))
    except KeyboardInterrupt:
        pass
    except (RecordingError, StoreError, TracingError, TuningError) as error:
        logger.error("%s", error)
        return 2
    return 0


def listen(config: Config) -> socket.socket:
    """The listening socket.

    Raises:
        OSError: the address cannot be used; the message says which and what to do.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    # asyncio sends small pieces of a stream without delay only on sockets that name their protocol
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.host, config.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        message = f"cannot listen on {config.listen}: {error.strerror}; choose another address with `listen`"
        raise OSError(message) from error
    return listener


async def _serve(
    config: Config, brain: Brain, listener: socket.socket, read: Callable[[], Config] | None = None
) -> None:
    async with gateway(config, brain, build_engines(config, default_logs()), read=read) as app:
        if read is not None and reloads_on_hang_up():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, app.hang_up)
        _spare_garbage_collection()
        logger.info("listening on http%s://%s, policy %s", "s" if config.tls else "", config.listen, brain.policy.name)
        await http_server(config, app).serve(sockets=[listener])


def http_server(config: Config, app: Gateway) -> DrainingServer:
    """The server in front of the application."""
    settings = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=CLOSING,
        ssl_certfile=config.tls.certificate if config.tls else None,
        ssl_keyfile=config.tls.key if config.tls else None,
    )
    return DrainingServer(settings, app.drain, config.limits.drain)


def _spare_garbage_collection() -> None:
    """What is there at the start stays: it need not be looked at again, and what comes later less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
