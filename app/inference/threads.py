"""How many threads a process computes with, decided before torch is imported."""

import os
import sys
from collections.abc import MutableMapping


def choose_threads(
    threads: int | None = None, environment: MutableMapping[str, str] = os.environ
) -> int:
    """Set this process's compute threads and return how many they are.

    By default half of the processors, at least one: web, inference and a training child share the
    machine, and OpenMP threads that outnumber the free processors spin against each other (four
    times slower on two busy ones). Idle threads sleep instead of spinning, for the same reason.
    What the operator set in `OMP_NUM_THREADS` or `OMP_WAIT_POLICY` stands. Call it first of all:
    OpenMP reads the environment when torch is imported.
    """
    if threads is None:
        given = environment.get("OMP_NUM_THREADS", "")
        threads = int(given) if given.isdigit() else max(1, (os.cpu_count() or 1) // 2)
    environment["OMP_NUM_THREADS"] = str(threads)
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    return threads
