"""Several gateway processes on one address: they share the listening socket, and the brain by their store."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess

from agentserve.config import Config, ConfigError
from agentserve.logs import configure

PAUSE = 1.0
"""Seconds before a worker that died is followed by another."""
WRONG = 2
"""The exit code of a worker that its user has to mend something for."""

logger = logging.getLogger(__name__)


def check_workers(config: Config) -> None:
    """Raises `ConfigError` if several gateways cannot run by this configuration."""
    if config.store is None:
        raise ConfigError("--workers needs a store that they share: name a Redis server with `store`")
    if not config.store.channel.endswith(":0"):
        raise ConfigError(
            f"--workers: each needs a channel of its own; give store.channel port 0, not {config.store.channel}"
        )
    if config.record is not None:
        raise ConfigError("--workers: they cannot record into one file; record with one gateway, or leave `record` out")


def run_workers(config: Config, count: int, read: Callable[[], Config] | None, *, verbose: bool) -> int:
    """Runs so many gateways until interrupted, and another for each that dies. Returns the exit code.

    `read` reads the configuration again: SIGHUP has all of them do so, and those that come later begin with it.
    """
    from agentserve.gateway.reload import reloads_on_hang_up
    from agentserve.gateway.server import listen

    try:
        listener = listen(config)
    except OSError as error:
        logger.error("%s", error)
        return WRONG
    context = multiprocessing.get_context("spawn")

    def start() -> SpawnProcess:
        process = context.Process(target=_work, args=(config, listener, read, verbose))
        process.start()
        return process

    with listener:
        workers = [start() for _ in range(count)]

        def hang_up(number: int, frame: object) -> None:
            for worker in workers:
                if worker.pid is not None and worker.is_alive():
                    os.kill(worker.pid, signal.SIGHUP)

        if reloads_on_hang_up():
            signal.signal(signal.SIGHUP, hang_up)
        try:
            while True:
                wait([worker.sentinel for worker in workers])
                for index, worker in enumerate(workers):
                    if worker.exitcode == WRONG:
                        return WRONG
                    if worker.exitcode is not None:
                        logger.error("a gateway process ended (exit code %s); another is started", worker.exitcode)
                        time.sleep(PAUSE)
                        workers[index] = start()
        except KeyboardInterrupt:
            return 0
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.join()


def _work(config: Config, listener: socket.socket, read: Callable[[], Config] | None, verbose: bool) -> None:
    if os.isatty(0):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    else:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the gateway is there that reloads
    if read is not None:
        with contextlib.suppress(ConfigError):  # those of before go on by the configuration of before
            config = read()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us too; whoever started us tells us in order
    configure(config.log, verbose=verbose)

    from agentserve.gateway.server import run

    raise SystemExit(run(config, listener, read))
