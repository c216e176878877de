"""Cases in a process of their own, so that time and memory are bounded and crashes seen."""

from __future__ import annotations

import multiprocessing
import resource
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path

from benchmarks.fuzz.cases import draw_case
from benchmarks.fuzz.examine import examine
from benchmarks.fuzz.outcomes import Finding, Result

SECONDS = 20  # of computing, a case
PATIENCE = 90  # seconds on the clock until a worker that does not answer is ended
MEMORY = 3 * 2**30  # bytes, more than the process starts with
FORK = multiprocessing.get_context("fork")  # imports of torch take seconds


class OverTime(BaseException):
    """Raised in the worker; no `except Exception` catches it."""


def _over_time(signum, frame):
    raise OverTime


def _bounded(seed: int, number: int) -> Result:
    case = draw_case(seed, number)
    begin = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        result = examine(case)
    except OverTime:
        found = Finding("over time", f"{SECONDS} s")
        return Result(number, case.tags, "over time", "", (found,))
    except MemoryError:
        return Result(number, case.tags, "over memory", "", (Finding("over memory", "checks"),))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return replace(result, seconds=time.process_time() - begin)


def _serve(connection: Connection, seed: int) -> None:
    signal.signal(signal.SIGPROF, _over_time)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    while (number := connection.recv()) is not None:
        connection.send(_bounded(seed, number))


class Worker:
    """A process that runs one case after another."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.connection, other = FORK.Pipe()
        self.process = FORK.Process(target=_serve, args=(other, seed), daemon=True)
        self.process.start()
        other.close()
        self.number, self.deadline = -1, float("inf")

    def start(self, number: int) -> None:
        """Begin a case."""
        self.number, self.deadline = number, time.monotonic() + PATIENCE
        self.connection.send(number)

    def result(self) -> Result | None:
        """Return how the case ended, None if it has not; a dead worker has crashed."""
        if self.connection.poll():
            try:
                return self.connection.recv()
            except (EOFError, ConnectionError):
                return self._ended("crashed", f"exit code {self.process.exitcode}")
        if time.monotonic() > self.deadline:
            return self._ended("over time", f"no answer in {PATIENCE} s")
        return None

    def _ended(self, outcome: str, text: str) -> Result:
        self.stop()
        tags = draw_case(self.seed, self.number).tags
        return Result(self.number, tags, outcome, "", (Finding(outcome, text),))

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()


def results(seed: int, numbers: Iterable[int], n_workers: int = 1) -> Iterator[Result]:
    """Run cases in worker processes; results come as they end."""
    waiting = iter(numbers)
    workers: list[Worker] = []
    for number in islice(waiting, n_workers):
        workers.append(Worker(seed))
        workers[-1].start(number)
    while workers:
        wait([worker.connection for worker in workers], timeout=1)
        for worker in list(workers):
            result = worker.result()
            if result is None:
                continue
            yield result
            workers.remove(worker)
            number = next(waiting, None)
            if number is None:
                worker.stop()
                continue
            if not worker.process.is_alive():
                worker = Worker(seed)
            worker.start(number)
            workers.append(worker)
