"""Rankings of any number of completions as rows."""

from collections.abc import Iterator, Mapping
from enum import StrEnum

from app.preferences.formats.schemas import Row, ordered_messages, transcript
from app.preferences.stored_rankings import StoredRanking
from app.projects.messages import prompt_value


class RankingSchema(StrEnum):
    """The shape of an exported ranking."""

    PLAIN = "plain"
    NECTAR = "nectar"


class RankingFormat(StrEnum):
    """The file format of an export of rankings."""

    JSONL = "jsonl"
    JSONL_ZST = "jsonl.zst"
    PARQUET = "parquet"


RANKING_SCHEMA_MEANINGS: dict[RankingSchema, str] = {
    RankingSchema.PLAIN: "Everything Podium knows of a ranking, in the shape that it imports.",
    RankingSchema.NECTAR: "As in Nectar: a prompt with its answers, each with its rank.",
}


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


def nectar_row(ranking: StoredRanking) -> Row:
    """As in berkeley-nest/Nectar: answers with ranks, 1 is best and equal is a tie; the unranked
    are left out."""
    answers = [
        {"answer": completion.text, "model": completion.model, "rank": rank}
        for rank, completion, _, _ in ranking.in_order()
        if rank is not None
    ]
    messages = ranking.prompt.messages
    return {
        "prompt": f"{transcript(messages)}\n\nAssistant: ",
        "answers": answers,
        "turns": sum(message["role"] == "user" for message in messages),
        "num_responses": len(answers),
        "source": [ranking.source],
    }


def ranking_rows(
    rankings: Iterator[StoredRanking],
    schema: RankingSchema,
    flag_labels: Mapping[str, str] | None = None,
) -> Iterator[Row]:
    """The rankings in the schema's shape; `nectar` leaves out those of fewer than two ranks."""
    if schema == RankingSchema.PLAIN:
        for ranking in rankings:
            yield ranking_row(ranking, flag_labels)
        return
    for ranking in rankings:
        row = nectar_row(ranking)
        if row["num_responses"] > 1:
            yield row
