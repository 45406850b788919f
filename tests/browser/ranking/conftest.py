"""Tasks to rank, a labeler on the first of them, and what was stored."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page
from sqlalchemy import select

from app.models import Completion, Ranking, RankingEntry
from tests.browser.ranking.acts import TEXTS, start
from tests.labeling.factory import make_project, make_tasks


@pytest.fixture
def seed(live_server) -> Callable[..., str]:
    """`seed(tasks=2, texts=…)` makes a project with open tasks; its id."""

    def make(*, tasks: int = 2, texts: tuple[str, ...] = TEXTS, **options) -> str:
        with live_server.database.write() as session:
            project = make_project(session)
            project.guidelines = "# What counts\n\nPrefer what **helps**."
            for task in make_tasks(session, project, tasks, texts=texts, **options):
                for completion in session.scalars(
                    select(Completion).where(Completion.task_id == task.id)
                ):
                    completion.model_label = f"secret-policy-{completion.position}"
                    completion.finish_reason = "secret-reason"
            return project.id

    return make


@pytest.fixture
def task_page(page_as, seed) -> Page:
    """A labeler on the first of two tasks with three completions."""
    seed()
    page = page_as("labeler")
    start(page)
    return page


@pytest.fixture
def stored(live_server) -> Callable[[], list[dict[str, int]]]:
    """Every current ranking, oldest first, as ranks by letter."""

    def read() -> list[dict[str, int]]:
        with live_server.database.read() as session:
            rankings = session.scalars(
                select(Ranking).where(Ranking.current).order_by(Ranking.created_at)
            ).all()
            return [
                {
                    "ABCDEFGHI"[ranking.shown_order.index(entry.completion_id)]: entry.rank
                    for entry in session.scalars(
                        select(RankingEntry).where(RankingEntry.ranking_id == ranking.id)
                    )
                }
                for ranking in rankings
            ]

    return read
