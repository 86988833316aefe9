"""Where games are played: on the cores of this machine, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

from tests.benchmarks.tournament.play import Worker

Submit: TypeAlias = Callable[[Callable[[Any], Any], Any], Future[Any]]
"""Has a method of `Worker` called somewhere with one argument."""


@contextmanager
def processes(folder: Path, jobs: int) -> Iterator[Submit]:
    """So many processes of this machine."""
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), Worker.begin, (folder,))
    try:
        yield pool.submit
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def on_ray(folder: Path, address: str) -> Iterator[Submit]:
    """A Ray cluster, "local" for one on this machine. Its nodes see the folder and this package at the same places.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: there is no cluster at the address.
    """
    ray = import_module("ray")
    ray.init(address=address, log_to_driver=False)
    remote = ray.remote(_on_node)
    try:
        yield lambda method, argument: remote.remote(method.__name__, folder.resolve(), argument).future()
    finally:
        ray.shutdown()


def _on_node(method: str, folder: Path, argument: object) -> object:
    if getattr(Worker, "folder", None) != folder:
        Worker.begin(folder)
    return getattr(Worker, method)(argument)
