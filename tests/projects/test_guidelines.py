import random
import time

from sqlalchemy import select

from app.db import Database
from app.labeling.rankings import store_ranking
from app.models import Completion, Ranking, RankingSource, Role, User, utc_now
from app.projects.guidelines import LineKind, compare_texts, list_guidelines
from app.projects.service import create_project, update_project
from tests.labeling.factory import make_tasks


def marked(old: str, new: str) -> list[str]:
    marks = {LineKind.SAME: " ", LineKind.ADDED: "+", LineKind.REMOVED: "-", LineKind.GAP: "~"}
    return [marks[line.kind] + line.text for line in compare_texts(1, old, new).lines]


def test_a_difference_names_lines_with_a_little_around_them():
    old = "one\ntwo\nthree\nfour\nfive\nsix\nseven"
    new = "one\ntwo\nthree\n4\nfive\nsix\nseven"
    assert marked(old, new) == ["~", " two", " three", "-four", "+4", " five", " six", "~"]
    assert marked("", "new") == ["-", "+new"]
    change = compare_texts(3, old, new + "\neight")
    assert (change.before, change.added, change.removed, change.cut) == (3, 2, 1, False)


def test_long_texts_are_compared_in_bounded_time_and_space():
    lines = [random.Random(0).choice("abc") for _ in range(2000)]
    started = time.perf_counter()
    change = compare_texts(1, "\n".join(lines), "\n".join(reversed(lines)))
    assert time.perf_counter() - started < 5
    assert len(change.lines) <= 400
    longer = compare_texts(1, "a", "\n".join("b" * 2001))
    assert (longer.lines, longer.cut) == ([], True)


def test_every_version_is_listed_with_its_author_and_its_rankings(database: Database):
    with database.write() as session:
        ada = User(email="ada@example.org", name="Ada", handle="ada", role=Role.ADMIN)
        session.add(ada)
        session.flush()
        project = create_project(session, ada, name="P", guidelines="One.")
        update_project(session, None, project, guidelines="One.\nTwo.")
        update_project(session, ada, project, guidelines="Two.")
        task = make_tasks(session, project, 1)[0]
        ids = session.scalars(select(Completion.id).where(Completion.task_id == task.id)).all()
        ranks = dict(zip(ids, (1, 2, 3), strict=True))

        def rank(labeler: str, version: int, source: str = "app") -> Ranking:
            return store_ranking(
                session,
                task=task,
                labeler=labeler,
                ranks=ranks,
                source=source,
                guidelines_version=version,
            )

        rank("a", 1), rank("b", 3), rank("c", 3)
        rank("d", 3, RankingSource.IMPORT)
        rank("e", 3).revoked_at = utc_now()
        session.flush()
        versions = list_guidelines(session, project)
        assert [item.version for item in versions] == [3, 2, 1]
        assert [item.author for item in versions] == ["Ada", None, "Ada"]
        assert [item.rankings for item in versions] == [2, 0, 1]
        assert [item.text for item in versions] == ["Two.", "One.\nTwo.", "One."]
        newest, second, first = versions
        assert newest.change is not None
        assert second.change is not None
        assert (newest.change.before, newest.change.added, newest.change.removed) == (2, 0, 1)
        assert (second.change.before, second.change.added, second.change.removed) == (1, 1, 0)
        assert first.change is None


def test_versions_come_a_page_at_a_time_and_are_compared_across_pages(sqlite_database: Database):
    with sqlite_database.write() as session:
        project = create_project(session, None, name="P", guidelines="0")
        for number in range(1, 5):
            update_project(session, None, project, guidelines=str(number))
        page = list_guidelines(session, project, limit=2)
        assert [item.version for item in page] == [5, 4]
        assert page[1].change is not None
        assert page[1].change.before == 3
        rest = list_guidelines(session, project, before_version=4, limit=3)
        assert [item.version for item in rest] == [3, 2, 1]
        assert rest[-1].change is None
