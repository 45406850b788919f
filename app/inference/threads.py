"""How many threads a process computes with, and what it keeps, decided before torch is imported."""

import os
import sys
from collections.abc import MutableMapping

KERNEL_CACHE = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "96"}
"""oneDNN keeps a kernel for each shape it met, 1,024 of them by itself, which took 100 MB as
training went on; texts make ever new shapes, so that few are met again. A decode has some 80."""


def choose_threads(
    threads: int | None = None, environment: MutableMapping[str, str] = os.environ
) -> int:
    """Set this process's compute threads and return how many they are.

    By default half of the processors, at least one: web, inference and a training child share the
    machine, and OpenMP threads that outnumber the free processors spin against each other (four
    times slower on two busy ones). Idle threads sleep instead of spinning, for the same reason.
    What the operator set in `OMP_NUM_THREADS` or `OMP_WAIT_POLICY` stands, and so does the size of
    the `KERNEL_CACHE`. Call it first of all: OpenMP reads the environment when torch is imported.
    """
    if threads is None:
        given = environment.get("OMP_NUM_THREADS", "")
        threads = int(given) if given.isdigit() else max(1, (os.cpu_count() or 1) // 2)
    environment["OMP_NUM_THREADS"] = str(threads)
    for name, value in {"OMP_WAIT_POLICY": "PASSIVE", **KERNEL_CACHE}.items():
        environment.setdefault(name, value)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    return threads
