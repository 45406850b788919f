import pytest

from app.db import Database
from app.errors import Invalid
from app.labeling.flags import (
    FLAGS,
    flags_on,
    known_flags,
    list_flags,
    project_flags,
    set_flags,
)
from app.models import Project
from app.projects.service import create_project, update_project


def make_project() -> Project:
    return Project(name="P", guidelines="")


def refused(project: Project, flags: list[dict[str, object]]) -> list[str]:
    with pytest.raises(Invalid) as caught:
        set_flags(project, flags)
    return list(caught.value.fields)


def test_a_project_has_the_usual_flags_until_it_has_its_own():
    project = make_project()
    assert project_flags(project) == known_flags(project) == FLAGS
    set_flags(project, list_flags(project))
    assert project.flags is None, "saving the page unchanged changes nothing"


def test_a_flag_is_named_after_its_label_once():
    project = make_project()
    set_flags(project, [{"label": "  Too   Long! "}, {"label": "Über-höflich"}, {"label": "粗鲁"}])
    assert list(project_flags(project)) == ["too_long", "uber_hoflich", "flag"]
    set_flags(project, [{"name": "too_long", "label": "Wordy"}])
    assert project_flags(project) == {"too_long": "Wordy"}


def test_labels_that_come_out_the_same_get_names_of_their_own():
    project = make_project()
    set_flags(project, [{"label": "Rude"}, {"label": "Rude!"}, {"label": "rude?"}])
    assert list(project_flags(project)) == ["rude", "rude_2", "rude_3"]


def test_flags_are_retired_and_never_deleted():
    project = make_project()
    set_flags(project, [{"name": "unsafe", "label": "Unsafe"}, {"label": "Rude"}])
    assert project_flags(project) == {"unsafe": "Unsafe", "rude": "Rude"}
    assert set(known_flags(project)) == set(FLAGS) | {"rude"}
    set_flags(project, [{"label": "Rude", "name": "rude", "retired": True}])
    assert project_flags(project) == {}
    assert known_flags(project)["rude"] == "Rude"
    set_flags(project, [{"label": "Rude", "name": "rude"}])
    assert list(project_flags(project)) == ["rude"], "a retired flag may come back"


def test_the_order_given_is_the_order_of_the_buttons():
    project = make_project()
    set_flags(project, [{"name": name, "label": FLAGS[name]} for name in reversed(FLAGS)])
    assert list(project_flags(project)) == list(reversed(FLAGS))


def test_flags_that_cannot_be_are_named():
    project = make_project()
    assert refused(project, [{"label": " "}]) == ["flags[0].label"]
    assert refused(project, [{"label": "x" * 61}]) == ["flags[0].label"]
    assert refused(project, [{"label": "nul \0"}]) == ["flags[0].label"]
    assert refused(project, [{"label": "A"}, {"label": "a"}]) == ["flags[1].label"]
    assert refused(project, [{"label": "A", "name": "No Such"}]) == ["flags[0].name"]
    assert refused(
        project, [{"label": "A", "name": "unsafe"}, {"label": "B", "name": "unsafe"}]
    ) == ["flags[1].name"]
    assert refused(project, [{"label": f"Flag {n}"} for n in range(31)]) == ["flags"]
    assert project.flags is None


def test_a_ranking_shows_its_retired_and_its_foreign_flags_in_words():
    project = make_project()
    set_flags(project, [{"name": "unsafe", "label": "Dangerous"}])
    assert flags_on(project, ["wrong_facts", "too_long"]) == {
        "unsafe": "Dangerous",
        "wrong_facts": "Wrong facts",
        "too_long": "too long",
    }


def test_flags_and_shares_are_stored_with_the_project(database: Database):
    with database.write() as session:
        project = create_project(
            session, None, name="P", guidelines="", flags=[{"label": "Rude"}], gold_share=0.1
        )
        project_id = project.id
    with database.write() as session:
        project = session.get_one(Project, project_id)
        assert known_flags(project) == {"rude": "Rude"}, "of a new project nothing is retired"
        assert (project.gold_share, project.repeat_share) == (0.1, 0.0)
        update_project(session, None, project, flags=[{"label": "Long"}], repeat_share=0.5)
    with database.read() as session:
        project = session.get_one(Project, project_id)
        assert list_flags(project) == [
            {"name": "long", "label": "Long", "retired": False},
            {"name": "rude", "label": "Rude", "retired": True},
        ]
        assert (project.gold_share, project.repeat_share) == (0.1, 0.5)


@pytest.mark.parametrize("share", [-0.01, 0.51, float("nan")])
def test_a_share_is_at_most_half(sqlite_database: Database, share: float):
    with sqlite_database.write() as session:
        project = create_project(session, None, name="P", guidelines="")
        with pytest.raises(Invalid) as caught:
            update_project(session, None, project, gold_share=share)
        assert list(caught.value.fields) == ["gold_share"]
