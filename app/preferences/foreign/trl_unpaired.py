"""TRL's unpaired preference: completions one a line, each desirable or not.

A label alone prefers nothing; it does against the other labels of the same prompt. Lines of one
prompt that stand together become one ranking of at most nine completions, so that memory stays
flat whatever the file's size. Where one more line would be the tenth, or labels a completion the
other way, the ranking ends and another begins.
"""

from collections.abc import Iterator
from typing import Any

from app.preferences.foreign.shape import ForeignFormat, Row, Rows
from app.preferences.foreign.taking import check_any_prompt, check_conversation
from app.preferences.foreign.trl import pair_row
from app.projects.messages import check_text
from app.projects.reading import RejectedLine, RowError, SourceRow
from app.projects.rounds import MOST_COMPLETIONS

OF_A_LINE = ("completion", "label", "id", "external_id")
GATHERED = "labelled"
"""The key under which the lines of one prompt stand together."""
LABELS = {"true": True, "false": False, "1": True, "0": False}
LONELY = (
    "no completion of the same prompt with the other label stands beside it; accepted: lines of "
    "one prompt together, true and false among them"
)


def _read_label(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    return LABELS.get(value.strip().lower()) if isinstance(value, str) else None


def _gather(rows: Rows) -> Rows:
    """One row for the lines of a prompt that stand together."""
    group: list[SourceRow] = []
    for row in rows:
        if isinstance(row, RejectedLine) or _problem(row.values):
            # What is wrong with the line is said when it is read alone.
            yield row
            continue
        if group and not _goes_with(row, group):
            yield from _close(group)
            group = []
        if not any(_same(row.values, other.values) for other in group):
            group.append(row)
    yield from _close(group)


def _problem(row: Row) -> str | None:
    for name in ("prompt", "completion"):
        if row.get(name) is None:
            return f"{name} is missing"
    if _read_label(row.get("label")) is None:
        return f"label is {str(row.get('label'))[:40]!r}; accepted: true (desirable) or false"
    return None


def _same(row: Row, other: Row) -> bool:
    return bool(
        row["completion"] == other["completion"]
        and _read_label(row["label"]) == _read_label(other["label"])
    )


def _goes_with(row: SourceRow, group: list[SourceRow]) -> bool:
    if row.values["prompt"] != group[0].values["prompt"]:
        return False
    if any(_same(row.values, other.values) for other in group):
        return True
    contradicts = any(row.values["completion"] == other.values["completion"] for other in group)
    return len(group) < MOST_COMPLETIONS and not contradicts


def _close(group: list[SourceRow]) -> Rows:
    if len({_read_label(row.values["label"]) for row in group}) < 2:
        yield from group
        return
    values = {name: value for name, value in group[0].values.items() if name not in OF_A_LINE}
    values[GATHERED] = [
        (row.values["completion"], _read_label(row.values["label"])) for row in group
    ]
    yield SourceRow(group[-1].line, values, sum(row.size_bytes for row in group))


def _rankings(row: Row) -> Iterator[Row]:
    labelled = row.get(GATHERED)
    if not isinstance(labelled, list) or not all(isinstance(item, tuple) for item in labelled):
        raise RowError(_problem(row) or LONELY)
    prompt = check_any_prompt(row["prompt"], "prompt")
    texts = [_answer(completion) for completion, _ in labelled]
    ranks = [1 if label else 2 for _, label in labelled]
    rest = {name: value for name, value in row.items() if name != GATHERED}
    yield pair_row("trl-unpaired", rest, prompt, texts, ranks)


def _answer(completion: Any) -> str:
    if not isinstance(completion, list):
        return check_text(completion, "completion")
    messages = check_conversation(completion, "completion")
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise RowError("completion must be one message of the assistant")
    return messages[0]["content"]


TRL_UNPAIRED = ForeignFormat(
    name="trl-unpaired",
    title="TRL unpaired preference",
    direction="Of lines of one prompt that stand together, label true is better than label false; "
    "equal labels are ties.",
    columns=(("prompt", "completion", "label"),),
    matches=lambda row: {"prompt", "completion", "label"} <= row.keys(),
    rankings=_rankings,
    gather=_gather,
)
