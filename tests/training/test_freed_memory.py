"""What is freed goes back to the system; looked at in a process of its own, whose heap is new."""

import subprocess
import sys

import pytest

SCRIPT = """
from app.training.reward_scorer import return_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

for block in [bytearray(2**20) for _ in range(2)]:
    del block  # glibc takes blocks as large as one that was freed from its heap next time
return_freed_memory()
before = resident()
blocks, kept = [], []
for _ in range(200):
    blocks.append(bytearray(2**20))
    kept.append(bytearray(10_000))
taken = resident()
del blocks
left = resident()
return_freed_memory()
print(taken - before, left - before, resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_freed_memory_goes_back_to_the_system() -> None:
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True
    )
    taken, left, at_last = map(float, said.stdout.split())
    assert taken > 190
    assert left > 180  # what it is for
    assert at_last < 20
