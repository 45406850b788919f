"""Rankings of any number of completions as rows."""

from collections.abc import Mapping

from app.preferences.formats.schemas import Row, ordered_messages
from app.preferences.queries import StoredRanking
from app.projects.messages import prompt_value


def ranking_row(ranking: StoredRanking, flag_labels: Mapping[str, str] | None = None) -> Row:
    """A ranking in the shape that the import takes, with what only Podium knows beside it.

    `flag_labels` are the project's words for its flags; those of the flags carried are written.
    """
    labels = flag_labels or {}
    return {
        "ranking_id": ranking.id,
        "task_id": ranking.task_id,
        "purpose": ranking.purpose,
        "round": ranking.round_number,
        "prompt": prompt_value(ordered_messages(ranking.prompt.messages), ranking.prompt.is_chat),
        "prompt_external_id": ranking.prompt.external_id,
        "tags": ranking.prompt.tags,
        "metadata": ranking.prompt.metadata,
        "completions": [
            {
                "id": item.id,
                "text": item.text,
                "model": item.model,
                "finish_reason": item.finish_reason,
                "token_count": item.token_count,
            }
            for item in ranking.completions
        ],
        "ranks": ranking.ranks,
        "labeler": ranking.labeler,
        "simulated": ranking.simulated,
        "source": ranking.source,
        "external_id": ranking.external_id,
        "is_repeat": ranking.is_repeat,
        "shown_order": ranking.shown_order,
        "ratings": ranking.ratings,
        "flags": ranking.flags,
        "flag_labels": {
            name: labels[name] for names in ranking.flags for name in names if name in labels
        },
        "comment": ranking.comment,
        "active_ms": ranking.active_ms,
        "guidelines_version": ranking.guidelines_version,
        "gold": [ranking.gold[item.id] for item in ranking.completions] if ranking.gold else None,
        "origin": ranking.origin,
        "created_at": ranking.created_at,
    }
