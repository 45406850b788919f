"""A disk that is full when a run wants to save something, on a real file system that is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import ROOT

OWN_MOUNTS = ["unshare", "--map-root-user", "--mount"]
SAVED = {
    "ppo checkpoint": "iteration 2 of 4",
    "ppo best weights": "iteration 1 of 4",
    "ppo model": "iteration 4 of 4",
    "dpo reference": "step 0 of 4",
    "dpo checkpoint": "step 2 of 4",
    "dpo model": "step 4 of 4",
    "reward model checkpoint": "step 2 of 5",
    "reward model": "step 5 of 5",
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder = tmp_path_factory.mktemp("full_disk")
    try:
        subprocess.run(
            [*OWN_MOUNTS, "mount", "-t", "tmpfs", "tmpfs", folder], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets nobody mount a file system")
    subprocess.run(
        [*OWN_MOUNTS, sys.executable, "-m", "tests.training.full_disk", folder],
        check=True,
        cwd=ROOT,
        capture_output=True,
    )
    return json.loads((Path(folder) / "told.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("case", SAVED)
def test_a_full_disk_says_what_to_do_and_the_run_goes_on_from_its_last_checkpoint(told, case):
    found = told[case]
    assert found["error"].startswith("The disk is full at ")
    assert "resume the job" in found["error"]
    assert not [name for name in found["left"] if name.endswith((".tmp", "model.safetensors"))]
    assert [SAVED[case] in line for line in found["went_on"]] == [True]
    assert found["same"]
