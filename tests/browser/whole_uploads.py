"""Uploads of the whole project: looked at, imported, failed, and broken off in the middle."""

import io
import json
from pathlib import Path
from typing import Any

from app.db import Database
from app.models import User
from app.preferences.imports import import_rankings
from app.projects.import_runs import start_import
from app.projects.prompts import import_prompts
from app.projects.reading import ImportFormat
from app.projects.uploads import Upload, UploadKind, choose, keep_upload, write_json
from tests.browser.whole_texts import CONVERSATION, RIGHT_TO_LEFT, TEXTS, UNBROKEN

PROMPT_ROWS: list[dict[str, Any]] = [
    {"text": RIGHT_TO_LEFT, "id": "rtl-1", "tags": ["עברית", UNBROKEN[:90]], "n": 1},
    {"text": UNBROKEN, "topic": UNBROKEN[:120], "list": [1, 2]},
    {"messages": CONVERSATION, "topic": "desk"},
    {"text": "Why do cats purr?", "tags": "cats, sound"},
    {"text": "Why do cats purr?"},
    {"colour": "red"},
]


def add_uploads(
    database: Database, uploads_dir: Path, owner: User, ids: dict[str, str]
) -> dict[str, str]:
    """One upload for each thing a page of an upload can show; gives their ids."""
    project_id = ids["project_id"]

    def keep(kind: UploadKind, name: str, rows: list[dict[str, Any]]) -> Upload:
        content = b"\n".join(json.dumps(row).encode() for row in rows)
        return keep_upload(
            uploads_dir,
            io.BytesIO(content),
            owner_id=owner.id,
            project_id=project_id,
            kind=kind,
            file_name=name,
            layout=ImportFormat.JSONL,
        )

    waiting = keep(UploadKind.PROMPTS, f"{UNBROKEN[:60]}.jsonl", PROMPT_ROWS)
    unknown = keep(UploadKind.PROMPTS, "questions.jsonl", [{"question": "Why?", "by": "me"}])
    rankings = keep(UploadKind.RANKINGS, "study.jsonl", _ranking_rows())
    strange = keep(UploadKind.RANKINGS, "strange.jsonl", [{"question": "Why?"}])
    done = keep(UploadKind.RANKINGS, "done.jsonl", _ranking_rows())
    done = choose(done, {"format": "podium"})
    start_import(
        done,
        lambda source, on_batch: import_rankings(
            database, project_id, source, done.layout, on_batch=on_batch
        ),
        wait_seconds=60,
    )
    stopped = keep(UploadKind.PROMPTS, "stopped.jsonl", PROMPT_ROWS)
    start_import(
        stopped,
        lambda source, on_batch: import_prompts(
            database, project_id, source, stopped.layout, on_batch=on_batch
        ),
        wait_seconds=60,
    )
    _break_off(stopped)
    return {
        "waiting_prompts": waiting.id,
        "unknown_prompts": unknown.id,
        "waiting_rankings": rankings.id,
        "strange_rankings": strange.id,
        "done_import": done.id,
        "stopped_import": stopped.id,
    }


def _ranking_rows() -> list[dict[str, Any]]:
    texts = [{"text": text, "model": "b"} for text in TEXTS[:4]]
    return [
        {
            "prompt": CONVERSATION,
            "completions": texts,
            "ranks": [2, 1, 2, None],
            "labeler": UNBROKEN[:90],
            "comment": "The second.",
        },
        {"prompt": RIGHT_TO_LEFT, "completions": texts[:2], "ranks": ["first", 1]},
        {"prompt": UNBROKEN, "completions": [{"text": ""}, {"text": UNBROKEN}], "ranks": [2, 1]},
    ]


def _break_off(upload: Upload) -> None:
    """As a process leaves it that is killed in the middle."""
    path = upload.folder / "progress.json"
    write_json(path, json.loads(path.read_text()) | {"state": "running", "fraction": 0.4})
