"""What every benchmark does alike: run a command and measure it, say how sure a median is."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import time
from collections.abc import Container, Sequence
from typing import Any, NamedTuple, Self

# One thread each: what a library would start for itself is no part of the question.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# The round that does not count leaves compiled modules behind, as an installation does.
ENVIRONMENT.pop("PYTHONDONTWRITEBYTECODE", None)

# Threads that wait do no work. Every large piece of memory is a fresh one, as for the first model
# that a process loads, and not what the round before gave back.
WORKING = {"OMP_WAIT_POLICY": "PASSIVE", "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}

SLOW_MS = 2000

SERVE = """
import gc, json, sys, time
def memory(what):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(what)) * 1024 / 1e6
def measured(task):
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak so far is forgotten
    before = memory("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    kept = task()  # what it returns is let go of after the clock
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return [wall * 1000, cpu * 1000, memory("VmHWM") - before]
print(json.dumps(sorted(TASKS)), flush=True)
for line in sys.stdin:
    print(json.dumps(measured(TASKS[line.strip()])), flush=True)
"""


class Sample(NamedTuple):
    """One run: wall and CPU time in milliseconds, and the most memory it held, in 10^6 bytes."""

    wall: float
    cpu: float
    peak: float


class Worker:
    """A process that runs what it is told: what it needs to start is no part of the question.

    It may use all cores. The peak of a sample is what it held beyond the moment before.

    Args:
        python: The interpreter.
        code: Defines ``TASKS``, functions by name.
        arguments: For the code.
    """

    def __init__(self, python: str, code: str, *arguments: str) -> None:
        environment = os.environ | WORKING
        self._child = subprocess.Popen(
            [python, "-c", code + SERVE, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.names: list[str] = self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.communicate()

    def run(self, name: str) -> Sample:
        """Run one task and measure it."""
        assert self._child.stdin is not None
        print(name, file=self._child.stdin, flush=True)
        return Sample(*self._answer())

    def _answer(self) -> Any:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise SystemExit(f"a process of the benchmark ended with {self._child.wait()}")
        return json.loads(line)


def turns(workers: dict[str, Worker], runs: int) -> dict[str, list[Sample]]:
    """Run every task once a round, in an order drawn anew; the first round does not count."""
    samples: dict[str, list[Sample]] = {name: [] for name in workers}
    order, chance = list(workers), random.Random(0)
    for number in range(runs + 1):
        chance.shuffle(order)
        for name in order:
            sample = workers[name].run(name)
            if number:
                samples[name].append(sample)
    return samples


def once(command: Sequence[str], expected: Container[int] = (0,)) -> Sample:
    """Run a command to its end; one with a status that is not ``expected`` ends the benchmark."""
    start = time.perf_counter()
    child = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT
    )
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in expected:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}")
    cpu = usage.ru_utime + usage.ru_stime
    return Sample(wall * 1000, cpu * 1000, usage.ru_maxrss * 1024 / 1e6)


def rounds(
    commands: dict[str, list[str]],
    runs: int,
    slow: int | None = None,
    expected: Container[int] = (0,),
) -> dict[str, list[Sample]]:
    """Run every command once a round, in an order drawn anew; the first round does not count.

    Where ``slow`` is given, what took more than two seconds then takes part in so many rounds only.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    order = list(commands)
    limits = dict.fromkeys(commands, runs)
    chance = random.Random(0)
    for number in range(runs + 1):
        chance.shuffle(order)
        for name in order:
            sample = once(commands[name], expected)
            if number:
                samples[name].append(sample)
            elif slow is not None and sample.wall > SLOW_MS:
                limits[name] = slow
        order = [name for name in order if number < limits[name]]
    return samples


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and its 95 % bootstrap interval."""
    chance = random.Random(0)
    medians = sorted(
        statistics.median(chance.choices(values, k=len(values))) for _ in range(10_000)
    )
    return statistics.median(values), medians[250], medians[9749]


def verdict(holds: bool) -> str:
    return "holds" if holds else "does not hold"
