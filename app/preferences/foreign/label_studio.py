"""Label Studio's exports: pairwise choices and rankings of a list, JSON and JSON-MIN.

What is compared stands in the task's data; each annotation is one labeler's.
"""

import re
from collections.abc import Iterator
from typing import Any

from app.labeling.submissions import ACTIVE_MS_LIMIT
from app.preferences.foreign.shape import ForeignFormat, Row
from app.preferences.foreign.taking import check_any_prompt
from app.projects.messages import check_text
from app.projects.reading import RowError

PROMPTS = (
    "prompt",
    "question",
    "instruction",
    "query",
    "messages",
    "dialogue",
    "conversation",
    "context",
    "post",
    "input",
    "text",
)
SIDES = (
    ("answer1", "answer2"),
    ("text1", "text2"),
    ("response1", "response2"),
    ("completion1", "completion2"),
    ("option1", "option2"),
    ("answera", "answerb"),
    ("responsea", "responseb"),
    ("completiona", "completionb"),
    ("left", "right"),
    ("a", "b"),
)
"""Names of what is compared, without what is no letter and no digit."""
ITEM_TEXTS = ("body", "text", "html", "title")
UNTOUCHED = "_"
"""The bucket of what was left where it was."""
BEST = ("best", "chosen", "preferred", "better", "good", "relevant", "accepted", "top", "high")
MIDDLE = ("middle", "medium", "neutral", "okay", "ok", "average", "tie", "fair")
WORST = ("worst", "rejected", "bad", "worse", "irrelevant", "biased", "unacceptable", "low", "poor")


def _rankings(row: Row) -> Iterator[Row]:
    data, annotations = _read_task(row)
    problem, found = "", 0
    for place, annotation in enumerate(annotations):
        where = f"annotations[{place}]"
        if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
            problem = problem or f"{where} must be an object with result, a list"
            continue
        if annotation.get("was_cancelled") is True:
            continue
        try:
            ranking = _annotation(row, data, annotation, f"{where}.result")
        except RowError as error:
            problem = problem or str(error)
            continue
        found += 1
        yield ranking
    if problem or not found:
        raise RowError(problem or "annotations holds none that was submitted")


def _read_task(row: Row) -> tuple[Row, list[Any]]:
    data, annotations = row.get("data"), row.get("annotations")
    if isinstance(data, dict) and isinstance(annotations, list):
        return data, annotations
    if "annotation_id" not in row:
        raise RowError("a task must have data, an object, and annotations, a list")
    # JSON-MIN: the data and one annotation side by side, its results under their tags' names.
    results = [
        {"from_name": name, "value": item}
        for name, value in row.items()
        for item in (value if isinstance(value, list) else [value])
        if isinstance(item, dict) and ("selected" in item or "ranker" in item)
    ]
    annotation = {
        "id": row["annotation_id"],
        "completed_by": row.get("annotator"),
        "created_at": row.get("created_at"),
        "lead_time": row.get("lead_time"),
        "result": results,
    }
    return row, [annotation]


def _annotation(row: Row, data: Row, annotation: Row, where: str) -> Row:
    completions, ranks, used = _read_result(data, annotation["result"], where)
    prompt_name = next((name for name in PROMPTS if name in data and name not in used), None)
    if prompt_name is None:
        raise RowError(f"data has no prompt; accepted: {', '.join(PROMPTS)}")
    labeler = annotation.get("completed_by")
    if isinstance(labeler, dict):
        labeler = labeler.get("email") or labeler.get("username") or labeler.get("id")
    identifier = annotation.get("id")
    origin = {
        "format": "label-studio",
        "task_id": row.get("id"),
        "annotation_id": identifier,
        "project": row.get("project"),
        "ground_truth": annotation.get("ground_truth"),
        "compared": used,
    }
    metadata = data.get("metadata", data.get("meta"))
    return {
        "prompt": check_any_prompt(data[prompt_name], f"data.{prompt_name}"),
        "completions": completions,
        "ranks": ranks,
        "labeler": data.get("labeler") if labeler is None else labeler,
        "external_id": f"label-studio:{identifier}" if identifier is not None else None,
        "created_at": annotation.get("created_at"),
        "active_ms": _milliseconds(annotation.get("lead_time")),
        "metadata": metadata if isinstance(metadata, dict) else {},
        "origin": {name: value for name, value in origin.items() if value is not None},
    }


def _milliseconds(seconds: Any) -> int | None:
    """The time an annotation took; one left open over night says nothing."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return None
    return round(seconds * 1000) if 0 <= seconds <= ACTIVE_MS_LIMIT / 1000 else None


def _read_result(
    data: Row, results: list[Any], where: str
) -> tuple[list[Row], list[int | None], list[str]]:
    """Completions, their ranks, and the keys of the data that they stand under."""
    for result in results:
        value = result.get("value") if isinstance(result, dict) else None
        if not isinstance(value, dict):
            continue
        if "selected" in value:
            left, right = _sides(data, result.get("to_name"))
            if value["selected"] not in ("left", "right"):
                raise RowError(
                    f"{where}: selected is {str(value['selected'])[:40]!r}; accepted: left, right"
                )
            sides = [
                {"text": check_text(data[name], f"data.{name}"), "model": data.get(f"{name}_model")}
                for name in (left, right)
            ]
            return sides, [1, 2] if value["selected"] == "left" else [2, 1], [left, right]
        if "ranker" in value:
            return _read_ranker(data, value["ranker"], f"{where}: ranker")
    raise RowError(f"{where} has neither value.selected (left, right) nor value.ranker")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _sides(data: Row, to_name: Any) -> tuple[str, str]:
    """The keys of what stood on the left and on the right."""
    names = [name.strip() for name in to_name.split(",")] if isinstance(to_name, str) else []
    keys = {_plain(key): key for key, value in data.items() if isinstance(value, str)}
    for left, right in ([tuple(_plain(name) for name in names)] if len(names) == 2 else []) + [
        *SIDES
    ]:
        if left in keys and right in keys:
            return keys[left], keys[right]
    raise RowError(
        f"data does not say what was compared: found {', '.join(data) or 'nothing'}; accepted: "
        "keys as in to_name, or answer1 and answer2, text1 and text2, response_a and response_b"
    )


def _read_ranker(
    data: Row, ranker: Any, where: str
) -> tuple[list[Row], list[int | None], list[str]]:
    tiers = _tiers(ranker, where)
    ids = [item for tier in tiers for item in tier]
    if len(ids) != len(set(ids)):
        raise RowError(f"{where} names an item twice")
    key, items = _find_list(data, ids, where)
    ranks = {item: place for place, tier in enumerate(tiers, start=1) for item in tier}
    completions = [
        {"text": _item_text(item, f"data.{key}: item {name}"), "model": item.get("model")}
        for name, item in items.items()
    ]
    return completions, [ranks.get(name) for name in items], [key]


def _find_list(data: Row, ids: list[str], where: str) -> tuple[str, dict[str, Row]]:
    """The list of the data that holds all these ids, and its items by id."""
    for key, items in data.items():
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            continue
        known = {str(item["id"]): item for item in items if item.get("id") is not None}
        if len(known) > 1 and set(ids) <= set(known):
            return key, known
    raise RowError(f"{where} names items that no list of data holds: {', '.join(ids)[:200]}")


def _item_text(item: Row, where: str) -> str:
    for name in ITEM_TEXTS:
        if isinstance(item.get(name), str) and item[name].strip():
            return check_text(item[name], where)
    raise RowError(f"{where} has no text; accepted: {', '.join(ITEM_TEXTS)}")


def _tiers(ranker: Any, where: str) -> list[list[str]]:
    """Ids by tier, the best first: a list is an order, buckets are tiers with ties inside."""
    if isinstance(ranker, dict):
        untouched = ranker.get(UNTOUCHED)
        buckets = {name: items for name, items in ranker.items() if name != UNTOUCHED}
        if len(buckets) == 1 and not untouched:
            return _order(next(iter(buckets.values())), where)
        named = {name: _ids(items, f"{where}.{name}") for name, items in buckets.items()}
        tiers = [named[name] for name in _in_order(list(named))]
    elif isinstance(ranker, list) and ranker and all(isinstance(item, list) for item in ranker):
        tiers = [_ids(items, where) for items in ranker]
    else:
        return _order(ranker, where)
    if sum(map(len, tiers)) == 0:
        raise RowError(f"{where}: every item is left unranked")
    return [tier for tier in tiers if tier]


def _order(items: Any, where: str) -> list[list[str]]:
    return [[item] for item in _ids(items, where)]


def _ids(items: Any, where: str) -> list[str]:
    if not isinstance(items, list):
        raise RowError(f"{where} must be a list of ids, or an object of such lists")
    ids = [item.get("id") if isinstance(item, dict) else item for item in items]
    if any(isinstance(item, bool) or not isinstance(item, str | int) for item in ids):
        raise RowError(f"{where} must be a list of ids")
    return [str(item) for item in ids]


def _in_order(names: list[str]) -> list[str]:
    """Buckets from the best: by number where each has one, by what the words say, or as written.

    Label Studio on PostgreSQL does not keep the order in which buckets are written, so that the
    names come first.
    """
    numbers = [re.findall(r"\d+", name) for name in names]
    if all(numbers):
        return sorted(names, key=lambda name: int(re.findall(r"\d+", name)[-1]))
    levels = [_level(name) for name in names]
    if len(names) > 1 and None not in levels and len(set(levels)) == len(levels):
        return sorted(names, key=lambda name: _level(name) or 0)
    return names


def _level(name: str) -> int | None:
    words = set(re.split(r"[^a-z]+", name.lower()))
    for level, known in enumerate((BEST, MIDDLE, WORST)):
        if words & set(known):
            return level
    return None


def _matches(row: Row) -> bool:
    if isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list):
        return True
    return "annotation_id" in row and "annotator" in row


LABEL_STUDIO = ForeignFormat(
    name="label-studio",
    title="Label Studio pairwise and ranker",
    direction="selected names the better side. A ranker's list is an order, the first being best; "
    "of buckets the best named comes first (by number, by words such as best and worst, or as "
    "written), items of one bucket tie, and what was left outside is unranked.",
    columns=(("data", "annotations"), ("annotation_id", "annotator")),
    matches=_matches,
    rankings=_rankings,
)
