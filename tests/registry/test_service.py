import hashlib
from pathlib import Path

import pytest

from app.db import Database
from app.errors import Invalid, NotFound, Unavailable
from app.models import Model, ModelKind, ModelSource, Round, Snapshot, utc_now
from app.registry.catalogue import DatabaseCatalogue
from app.registry.lineage import get_lineage, learned_from_simulated
from app.registry.service import (
    create_model,
    ensure_starters,
    find_folder,
    free_id,
    get_model,
    list_models,
    model_files,
    record_weights,
    require_model,
    resolve_files,
    slugify,
    stored_location,
)
from app.registry.weights import read_weights
from app.settings import Settings
from tests.projects.rounds_factory import make_model, make_project
from tests.registry.folders import make_folder, write_safetensors


@pytest.fixture
def data(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("My Model", "my-model"),
        ("Qwen2.5-0.5B_Instruct", "qwen2.5-0.5b-instruct"),
        ("../..", "model"),
        ("模型", "model"),
        ("x" * 200, "x" * 80),
    ],
)
def test_ids_are_readable_slugs(text: str, slug: str) -> None:
    assert slugify(text) == slug


def test_an_id_is_never_given_twice(database: Database) -> None:
    with database.write() as session:
        ids = []
        for _ in range(3):
            model = create_model(
                session, id_hint="My model", kind=ModelKind.POLICY, source=ModelSource.FOLDER
            )
            ids.append(model.id)
        assert ids == ["my-model", "my-model-2", "my-model-3"]
        get_model(session, "my-model-2").archived_at = utc_now()
        session.flush()
        assert free_id(session, "My model") == "my-model-4", "archived ids stay taken"
        assert free_id(session, "my_m%del") == "my-m-del"
        assert free_id(session, "New", {"new", "new-2"}) == "new-3"


def test_starters_are_there_once(database: Database) -> None:
    for _ in range(2):
        with database.write() as session:
            ensure_starters(session)
    with database.read() as session:
        starters = {model.id: model.kind for model in list_models(session)}
        assert starters == {"smollm2-135m-instruct": "policy", "minilm-l6": "encoder"}
        assert [model.id for model in list_models(session, "encoder")] == ["minilm-l6"]


def test_archived_models_and_other_projects_models_are_left_out(
    sqlite_database: Database,
) -> None:
    with sqlite_database.write() as session:
        mine, other = make_project(session, 0, "Mine"), make_project(session, 0, "Other")
        make_model(session, "everyones")
        make_model(session, "mine", project_id=mine.id)
        make_model(session, "others", project_id=other.id)
        make_model(session, "old", project_id=mine.id, archived_at=utc_now())
        found = {model.id for model in list_models(session, project_id=mine.id)}
        assert found == {"everyones", "mine"}
        everything = list_models(session, project_id=mine.id, include_archived=True)
        assert {model.id for model in everything} == {"everyones", "mine", "old"}


def test_a_model_is_required_by_kind_and_place(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        make_model(session, "writer")
        make_model(session, "remote", source=ModelSource.ENDPOINT, location="http://x")
        make_model(session, "old", archived_at=utc_now())
        with pytest.raises(NotFound):
            get_model(session, "nobody")
        assert require_model(session, "writer", "policy", ModelKind.POLICY).id == "writer"
        assert require_model(session, "remote", "policy", ModelKind.POLICY).id == "remote"
        for given, kind, says in (
            ("nobody", ModelKind.POLICY, "no model 'nobody'"),
            (None, ModelKind.POLICY, "no model None"),
            ("writer", ModelKind.REWARD_MODEL, "writer is a policy; policy wants a reward model"),
            ("old", ModelKind.POLICY, "archived"),
            ("remote", ModelKind.POLICY, "has no weights here"),
        ):
            with pytest.raises(Invalid, match=says) as refused:
                require_model(session, given, "policy", kind, local=True)
            assert "policy" in refused.value.fields


def test_weights_are_counted_from_headers_and_hashed_whole(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    write_safetensors(folder / "more.safetensors", {"half": ("BF16", [3, 7])})
    weights = read_weights(folder)
    assert weights.parameters == 2 * 5 + 3 * 7, "position ids are no parameters"
    content = b"".join((folder / name).read_bytes() for name in sorted_names(folder))
    assert weights.sha256 == hashlib.sha256(content).hexdigest()
    assert weights.size_bytes == sum(path.stat().st_size for path in folder.iterdir())


def sorted_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.safetensors"))


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 20, b"\x02" + b"\0" * 7 + b"[]"])
def test_a_broken_weights_file_is_named(tmp_path: Path, content: bytes) -> None:
    folder = make_folder(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(Invalid, match=r"model\.safetensors is not a readable"):
        read_weights(folder)


def test_folders_inside_the_data_directory_move_with_it(tmp_path: Path, data: Settings) -> None:
    inside = make_folder(data.models_dir / "mine")
    outside = make_folder(tmp_path / "elsewhere")
    assert stored_location(data, inside) == "models/mine"
    assert stored_location(data, outside) == str(outside)
    moved = Model(id="m", kind="policy", source="job", location="models/mine")
    assert resolve_files(model_files(data, moved)) == inside
    kept = Model(id="k", kind="policy", source="folder", location=str(outside))
    assert resolve_files(model_files(data, kept)) == outside


def test_files_that_are_gone_are_named_with_the_way_out(data: Settings) -> None:
    gone = Model(id="gone", kind="policy", source="folder", location="/nowhere/at/all")
    with pytest.raises(Unavailable, match="files of gone are not at /nowhere/at/all"):
        resolve_files(model_files(data, gone))
    remote = Model(id="far", kind="policy", source="endpoint", location="http://x")
    with pytest.raises(Invalid, match="served at http://x"):
        model_files(data, remote)


def test_a_starter_is_made_when_first_needed(data: Settings) -> None:
    starter = Model(id="minilm-l6", kind="encoder", source="starter")
    assert find_folder(data, starter) is None
    folder = resolve_files(model_files(data, starter))
    assert find_folder(data, starter) == folder == data.models_dir / "minilm-l6"
    record_weights(starter, read_weights(folder))
    assert starter.parameters is not None
    assert 22_000_000 < starter.parameters < 23_000_000
    assert starter.sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_the_catalogue_follows_the_registry(sqlite_database: Database, data: Settings) -> None:
    catalogue = DatabaseCatalogue(sqlite_database, data)
    assert catalogue.list() == []
    with sqlite_database.write() as session:
        ensure_starters(session)
        make_model(session, "remote", source=ModelSource.ENDPOINT, location="http://x")
        make_model(session, "hub", source=ModelSource.HUB, location="owner/name")
        make_model(session, "made", source=ModelSource.JOB, location="models/made")
        make_model(
            session, "old", source=ModelSource.FOLDER, location="/old", archived_at=utc_now()
        )
    listed = {files.id: files for files in catalogue.list()}
    assert set(listed) == {"smollm2-135m-instruct", "minilm-l6", "hub", "made"}
    assert listed["minilm-l6"].starter
    assert listed["minilm-l6"].source == str(data.models_dir / "minilm-l6")
    assert listed["hub"].source == "owner/name"
    assert listed["made"].source == str(data.data_dir.absolute() / "models/made")
    assert catalogue.find("remote") is None
    assert catalogue.find("nobody") is None
    assert catalogue.find("old") is not None, "a round of an archived policy can be completed"


def test_lineage_is_seen_from_both_ends(database: Database) -> None:
    with database.write() as session:
        project = make_project(session, 0)
        snapshot = Snapshot(
            project_id=project.id, sha256="0", rankings=2, pairs=3, prompts=1, simulated_rankings=1
        )
        session.add(snapshot)
        session.flush()
        base = make_model(session, "base")
        encoder = make_model(session, "encoder", ModelKind.ENCODER)
        judge = make_model(
            session,
            "judge",
            ModelKind.REWARD_MODEL,
            parent_id="encoder",
            snapshot_id=snapshot.id,
            simulated_labels=learned_from_simulated([encoder], snapshot),
        )
        tuned = make_model(session, "tuned", parent_id="base", reward_model_id="judge")
        session.add(Round(project_id=project.id, number=1, policies=["tuned", "base"]))
        session.flush()
        up = get_lineage(session, tuned).ancestry
        assert up.parent is not None
        assert up.reward_model is not None
        assert up.reward_model.parent is not None
        assert (up.parent.model.id, up.reward_model.model.id) == ("base", "judge")
        assert up.reward_model.parent.model.id == "encoder"
        assert up.reward_model.snapshot is snapshot
        down = get_lineage(session, base)
        assert [model.id for model in down.children] == ["tuned"]
        assert [round_.number for round_ in down.rounds] == [1]
        assert [model.id for model in get_lineage(session, judge).tuned] == ["tuned"]
        assert judge.simulated_labels
        assert learned_from_simulated([base, judge], None), "inherited at any depth"
        assert not learned_from_simulated([base, None], None)
