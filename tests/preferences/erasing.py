"""A labeler whose rankings are erased, beside one whose rankings stay."""

from typing import Any

from app.db import Database
from app.models import (
    Project,
    Snapshot,
)
from app.preferences.erasure import ErasureReport, erase_labeler
from app.preferences.snapshots import (
    create_snapshot,
)
from tests.preferences.conftest import load_rankings, ranking

NAME = "Wilhelmina"
SAID = "Wilhelmina was here"


def erase(database: Database, project_id: str, labeler: str = NAME) -> ErasureReport:
    with database.write() as session:
        return erase_labeler(session, None, session.get_one(Project, project_id), labeler)


def load_two_labelers(database: Database, project_id: str, prompts: int = 6) -> None:
    load_rankings(
        database,
        project_id,
        [
            ranking(
                prompt=f"p{number}",
                labeler=labeler,
                ranks=ranks,
                comment=SAID if labeler == NAME else "",
                external_id=f"{labeler}-{number}",
            )
            for number in range(prompts)
            for labeler, ranks in ((NAME, [3, 1, 2]), ("bea", [1, 2, 3]))
        ],
    )


def freeze(database: Database, project_id: str, **options: Any) -> Snapshot:
    with database.write() as session:
        return create_snapshot(session, None, project_id, name="S", **options)
