"""Rankings made elsewhere: read, understood and stored in batches.

Each is `{prompt: str or [messages], completions: [{text, model?}], ranks: [int or null],
labeler?, external_id?}`, rank 1 being the best. `ratings`, `flags`, `comment`, `active_ms` and
`simulated` of Podium's own export are kept, flags of any name; what else stands beside them is
passed over.
"""

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from app.db import Database
from app.errors import Invalid
from app.labeling.submissions import Submission, check_submission, dense_ranks
from app.preferences.storing import ParsedRanking, store_rankings
from app.projects.messages import check_text
from app.projects.reading import (
    ImportFormat,
    ImportReport,
    RejectedLine,
    RowError,
    SourceRow,
    contains_nul,
    content_type_format,
)
from app.projects.rows import iter_rows
from app.projects.task_import import parse_task

BATCH_RANKINGS = 500
BATCH_BYTES = 8_000_000
MAX_NAME_LENGTH = 200
MAX_EXTERNAL_ID_LENGTH = 300
ACCEPTED_FORMATS = (ImportFormat.JSONL, ImportFormat.JSON, ImportFormat.PARQUET)


def import_rankings(
    database: Database,
    project_id: str,
    chunks: BinaryIO | Iterable[bytes],
    content_type: str | ImportFormat,
    *,
    max_line_bytes: int = 10_000_000,
) -> ImportReport:
    """Store every good ranking of the source once, in transactions of a few hundred.

    The same prompt with the same completions, in whatever order, is one task with several
    rankings; all tasks go into the project's one round for imports, which asks nobody to rank.
    The same `external_id`, or the same ranks by the same labeler without one, is a duplicate. The
    same labeler ranking a task again otherwise is a repeat, kept and marked. Rankings without a
    labeler are taken to be by different people. Running an import again completes it.
    """
    layout = (
        content_type
        if isinstance(content_type, ImportFormat)
        else content_type_format(content_type)
    )
    if layout not in ACCEPTED_FORMATS:
        raise Invalid(
            "Rankings come as JSONL (application/x-ndjson), JSON or Parquet.",
            code="unsupported_content_type",
            fields={"Content-Type": "application/x-ndjson"},
        )
    rows = iter_rows(
        chunks,
        layout,
        max_line_bytes=max_line_bytes,
        check_columns=_check_columns,
        list_key="rankings",
    )
    report = ImportReport()
    for batch in _batches(rows, report):
        with database.write() as session:
            created = store_rankings(session, project_id, batch)
        report.created += created
        report.duplicates += len(batch) - created
    return report


def _check_columns(columns: list[str]) -> None:
    missing = sorted({"prompt", "completions", "ranks"} - set(columns))
    if missing:
        raise Invalid(
            f"Missing columns: {', '.join(missing)}. Found: {', '.join(columns) or 'none'}.",
            code="unknown_columns",
            fields=dict.fromkeys(missing, "a column of this name"),
        )


def _batches(
    rows: Iterator[SourceRow | RejectedLine], report: ImportReport
) -> Iterator[list[ParsedRanking]]:
    batch: list[ParsedRanking] = []
    size = 0
    for row in rows:
        if isinstance(row, RejectedLine):
            report.reject(row)
            continue
        try:
            batch.append(parse_ranking(row.values))
        except RowError as error:
            report.reject(RejectedLine(row.line, str(error)))
            continue
        size += row.size_bytes
        if len(batch) >= BATCH_RANKINGS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def parse_ranking(values: dict[str, Any]) -> ParsedRanking:
    """Understand one line; RowError names the field that cannot be taken."""
    for name in ("prompt", "completions", "ranks"):
        if values.get(name) is None:
            raise RowError(f"{name} is missing")
    completions = values["completions"]
    if isinstance(completions, list):
        completions = [
            {key: item[key] for key in ("text", "model") if key in item}
            if isinstance(item, dict)
            else item
            for item in completions
        ]
    task = parse_task({"prompt": values["prompt"], "completions": completions})
    count = len(task.completions)
    ranks = _check_ranks(values["ranks"], count)
    # The labeling service checks by completion id; here a completion's place stands for it.
    places = [str(place) for place in range(count)]
    try:
        checked = check_submission(
            Submission(
                ranks=dict(zip(places, ranks, strict=True)),
                ratings=_by_place(values.get("ratings"), places, "ratings"),
                flags=_by_place(values.get("flags"), places, "flags"),
                comment=values.get("comment") or "",
                active_ms=values.get("active_ms"),
            ),
            places,
            accepted_flags=None,
            allow_unranked=True,
        )
    except Invalid as error:
        name, reason = next(iter(error.fields.items()))
        raise RowError(f"{name} {reason}") from error
    if contains_nul(checked.comment):
        raise RowError("comment holds a NUL character")
    dense = dense_ranks(checked.ranks)
    return ParsedRanking(
        messages=task.messages,
        is_chat=task.is_chat,
        completions=task.completions,
        ranks=[dense[place] for place in places],
        ratings=[checked.ratings.get(place) for place in places],
        flags=[checked.flags.get(place, []) for place in places],
        labeler=_name(values.get("labeler"), "labeler", MAX_NAME_LENGTH),
        external_id=_name(values.get("external_id"), "external_id", MAX_EXTERNAL_ID_LENGTH),
        ranking_id=_name(values.get("ranking_id"), "ranking_id", MAX_NAME_LENGTH),
        simulated=values.get("simulated") is True,
        comment=checked.comment,
        active_ms=checked.active_ms,
    )


def _check_ranks(ranks: Any, count: int) -> list[Any]:
    if not isinstance(ranks, list) or len(ranks) != count:
        raise RowError(f"ranks must be a list of {count}, one for each completion")
    for place, rank in enumerate(ranks):
        if rank is not None and (type(rank) is not int or rank < 1):
            raise RowError(
                f"ranks[{place}] is {rank!r}; accepted: a whole number from 1 (the best), or null"
            )
    if all(rank is None for rank in ranks):
        raise RowError("ranks: every completion is unranked")
    return ranks


def _by_place(values: Any, places: list[str], name: str) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, list) or len(values) != len(places):
        raise RowError(f"{name} must be a list of {len(places)}, one for each completion")
    return {
        place: value
        for place, value in zip(places, values, strict=True)
        if value is not None and value != []
    }


def _name(value: Any, field: str, limit: int) -> str | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = check_text(value, field).strip()
    if len(text) > limit:
        raise RowError(f"{field} is longer than {limit} characters")
    return text
