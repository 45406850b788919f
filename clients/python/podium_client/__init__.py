"""A small typed client of Podium: from prompts over rankings and jobs to the people's verdict.

Answers are the dictionaries that REST gives, typed by their fields; `/api/docs` of your Podium says
what each means. Lists and streams are iterators. Whatever goes wrong is one `PodiumError`.
"""

from podium_client.answers import (
    Assignment,
    Evaluation,
    ImportReport,
    Job,
    Project,
    Promotion,
    Ranking,
    Rate,
    Round,
    Scores,
    Snapshot,
)
from podium_client.client import PairSchema, Podium, Prompt
from podium_client.connection import PodiumError

__all__ = [
    "Assignment",
    "Evaluation",
    "ImportReport",
    "Job",
    "PairSchema",
    "Podium",
    "PodiumError",
    "Project",
    "Promotion",
    "Prompt",
    "Ranking",
    "Rate",
    "Round",
    "Scores",
    "Snapshot",
]
