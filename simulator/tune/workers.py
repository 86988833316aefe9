"""Where simulations run: in this process, on the cores of this machine, or on a Ray cluster."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import get_context
from types import ModuleType
from typing import ClassVar, TypeAlias

from simulator.tune.bench import Bench, Job

Run: TypeAlias = Callable[[Sequence[Job]], Iterable[float]]
"""Runs simulations, and yields their losses in the same order."""


class WorkersError(Exception):
    """There is nowhere to run simulations. The message says why and what to do."""


@contextmanager
def here(bench: Bench) -> Iterator[Run]:
    """This process, one simulation after the other."""
    yield lambda jobs: map(bench.loss, jobs)


@contextmanager
def processes(bench: Bench, count: int) -> Iterator[Run]:
    """So many processes of this machine."""
    pool = ProcessPoolExecutor(count, get_context("spawn"), _Worker.begin, (bench,))

    def run(jobs: Sequence[Job]) -> Iterator[float]:
        try:
            yield from pool.map(_Worker.loss, jobs)
        except BrokenProcessPool:
            raise WorkersError(
                "a process that ran simulations was killed, perhaps for want of memory; use fewer --jobs"
            ) from None

    try:
        yield run
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def on_ray(bench: Bench, address: str) -> Iterator[Run]:
    """A Ray cluster, on whose nodes this version of agentserve is installed.

    Raises:
        WorkersError: Ray is not installed, or there is no cluster at the address.
    """
    ray = _ray()
    try:
        ray.init(address=address, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise WorkersError(f"no Ray cluster answers at {address!r}: {error}") from None
    try:
        shared, loss = ray.put(bench), ray.remote(Bench.loss)
        yield lambda jobs: ray.get([loss.remote(shared, job) for job in jobs])
    finally:
        ray.shutdown()


def _ray() -> ModuleType:
    try:
        return import_module("ray")
    except ImportError:
        raise WorkersError("Ray is not installed: pip install 'agentserve[ray]', or leave --ray out") from None


class _Worker:
    """What a process of the pool keeps between its simulations."""

    bench: ClassVar[Bench]

    @classmethod
    def begin(cls, bench: Bench) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends us without a word
        cls.bench = bench

    @classmethod
    def loss(cls, job: Job) -> float:
        return cls.bench.loss(job)
