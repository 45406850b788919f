import pytest
import torch

from app.training.checkpoint import load_checkpoint, save_checkpoint
from app.training.report import TrainingError

from .conftest import RecordingReport

FINGERPRINT = {"seed": 0}


def save(directory, step):
    state = {"fingerprint": FINGERPRINT, "weights": {"w": torch.full((3,), float(step))}}
    return save_checkpoint(directory, step, state)


def test_the_newest_checkpoint_is_loaded_and_two_are_kept(tmp_path):
    for step in (1, 2, 10):
        save(tmp_path, step)
    state = load_checkpoint(tmp_path, FINGERPRINT, RecordingReport())
    assert state["step"] == 10
    assert state["weights"]["w"].tolist() == [10.0] * 3
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("kept", [0, 1, 500])
def test_a_torn_checkpoint_is_passed_over_and_named(tmp_path, kept):
    save(tmp_path, 1)
    torn = save(tmp_path, 2)
    torn.write_bytes(torn.read_bytes()[:kept])
    report = RecordingReport()
    assert load_checkpoint(tmp_path, FINGERPRINT, report)["step"] == 1
    assert torn.name in report.lines[0]


def test_a_crash_while_writing_leaves_no_checkpoint_behind(tmp_path, monkeypatch):
    def half(state, file):
        file.write(b"PK half")
        raise OSError("No space left on device")

    save(tmp_path, 1)
    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, 2)
    assert load_checkpoint(tmp_path, FINGERPRINT, RecordingReport())["step"] == 1


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(TrainingError, match="another configuration"):
        load_checkpoint(tmp_path, {"seed": 1}, RecordingReport())


def test_an_empty_directory_has_no_checkpoint(tmp_path):
    assert load_checkpoint(tmp_path / "absent", FINGERPRINT, RecordingReport()) is None
