import pytest
import torch

from app.training.checkpoint import Checkpoints, save_folder
from app.training.report import TrainingError

from .conftest import RecordingReport

FINGERPRINT = {"seed": 0}


def save(directory, step):
    checkpoints = Checkpoints(directory, FINGERPRINT, RecordingReport())
    return checkpoints.save(step, {"weights": {"w": torch.full((3,), float(step))}})


def load(directory, fingerprint=FINGERPRINT, report=None):
    return Checkpoints(directory, fingerprint, report or RecordingReport()).load()


def test_the_newest_checkpoint_is_loaded_and_two_are_kept(tmp_path):
    for step in (1, 2, 10):
        save(tmp_path, step)
    state = load(tmp_path)
    assert state["step"] == 10
    assert state["weights"]["w"].tolist() == [10.0] * 3
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("kept", [0, 1, 500])
def test_a_torn_checkpoint_is_passed_over_and_named(tmp_path, kept):
    save(tmp_path, 1)
    torn = save(tmp_path, 2)
    torn.write_bytes(torn.read_bytes()[:kept])
    report = RecordingReport()
    assert load(tmp_path, report=report)["step"] == 1
    assert torn.name in report.lines[0]


def test_new_checkpoints_replace_torn_ones(tmp_path):
    save(tmp_path, 5).write_bytes(b"torn")
    save(tmp_path, 6).write_bytes(bytes(5000))
    checkpoints = Checkpoints(tmp_path, FINGERPRINT, RecordingReport())
    assert checkpoints.load() is None
    for step in (0, 1, 2):
        checkpoints.save(step, {})
        assert load(tmp_path)["step"] == step
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-00000001.pt",
        "step-00000002.pt",
    ]


def test_what_a_killed_run_had_begun_to_write_goes(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "step-00000002.tmp").write_bytes(b"half")
    assert load(tmp_path)["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt"]


def test_a_crash_while_writing_leaves_no_checkpoint_behind(tmp_path, monkeypatch):
    def half(state, file):
        file.write(b"PK half")
        raise KeyboardInterrupt

    save(tmp_path, 1)
    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2)
    assert load(tmp_path)["step"] == 1


def test_a_full_disk_is_said_and_leaves_the_last_checkpoint_and_no_rubbish(tmp_path):
    save(tmp_path, 1)
    # Every write to it fails as on a full disk.
    (tmp_path / "step-00000002.tmp").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=r"The disk is full .* resume the job"):
        save(tmp_path, 2)
    assert load(tmp_path)["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt"]


def test_a_full_disk_leaves_the_old_model_folder(tmp_path):
    save_folder(tmp_path / "model", lambda folder: (folder / "weights").write_text("old"))

    def write(folder):
        (folder / "weights").symlink_to("/dev/full")
        (folder / "weights").write_text("new" * 9999)

    with pytest.raises(TrainingError, match="The disk is full"):
        save_folder(tmp_path / "model", write)
    assert (tmp_path / "model" / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(TrainingError, match="another configuration"):
        load(tmp_path, {"seed": 1})
    with pytest.raises(TrainingError, match="another configuration"):
        load(tmp_path, {"seed": 0, "added_later": 1})


def test_an_option_that_a_later_version_adds_lets_a_run_go_on(tmp_path):
    save(tmp_path, 1)
    assert load(tmp_path, {"seed": 0, "added_later": None})["step"] == 1


def test_an_empty_directory_has_no_checkpoint(tmp_path):
    assert load(tmp_path / "absent") is None


def test_writing_takes_a_tenth_of_the_time_at_most(tmp_path, monkeypatch):
    now = [0.0]

    def slow_disk(descriptor):
        now[0] += 2.0

    checkpoints = Checkpoints(tmp_path, FINGERPRINT, RecordingReport())
    monkeypatch.setattr("app.training.checkpoint.time.monotonic", lambda: now[0])
    monkeypatch.setattr("app.training.checkpoint.os.fsync", slow_disk)
    checkpoints.save(1, {})  # the file and its directory: four seconds
    now[0] += 39
    assert not checkpoints.save_if_due(2, dict)
    now[0] += 2
    assert checkpoints.save_if_due(3, dict)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    def half(folder):
        (folder / "config.json").write_text("{")
        raise OSError("No space left on device")

    def whole(folder):
        (folder / "config.json").write_text("{}")

    with pytest.raises(TrainingError, match="The disk is full"):
        save_folder(tmp_path / "model", half)
    assert not (tmp_path / "model").exists()
    save_folder(tmp_path / "model", whole)
    save_folder(tmp_path / "model", whole)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "config.json").read_text() == "{}"
