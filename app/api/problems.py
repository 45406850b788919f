"""Every error REST can answer with: its shape, its stable codes, and where each can come.

A route names the codes that its own services raise with `problems("round_closed", …)`. What every
route of its kind can answer (401, 403, 404, 413, 422) is added to the document by
`app.api.document` from the dependencies of the route.
"""

import re
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field

PROBLEM_MEDIA_TYPE = "application/problem+json"

CODES: dict[str, tuple[int, str]] = {
    # Who asks.
    "unauthenticated": (401, "no token, or one that is unknown, revoked or expired"),
    "forbidden": (403, "your role may not do this"),
    # What is asked for.
    "not_found": (404, "there is no such thing, or you may not know of it"),
    "project_not_found": (404, "there is no such project, or it is not open to you"),
    "round_not_found": (404, "there is no such round"),
    "task_not_found": (404, "there is no such task"),
    "snapshot_not_found": (404, "there is no such snapshot"),
    "labeler_not_found": (404, "nobody by this name has worked in the project"),
    # The state has moved on.
    "conflict": (409, "the state of the thing does not allow it (any more)"),
    "project_name_taken": (409, "another project has this name"),
    "project_archived": (409, "the project is archived; restore it first"),
    "round_generating": (409, "its completions are still being made; cancel the job first"),
    "round_closed": (409, "the round is closed; reopen it first"),
    "round_of_imports": (409, "the round holds imported rankings and asks nobody to rank"),
    "nothing_missing": (409, "everything that could be made is there already"),
    "nothing_to_compare": (409, "the job tuned no policy, or the round has but one"),
    "no_held_out_prompts": (409, "the job held out no prompt that is still there"),
    "already_compared": (409, "the job has an A/B round already; `again` opens another"),
    "no_reward_model": (409, "there is no reward model to ask about the round"),
    "already_promoted": (409, "the policy is promoted already"),
    "task_not_ready": (409, "the task does not have all its completions yet"),
    "labeler_paused": (409, "an admin paused your work in the project; the detail says why"),
    "lease_lost": (409, "others ranked the task since, or you ranked, skipped or returned it"),
    "rankings_erased": (409, "some rankings were erased while they were read; ask again"),
    "held_by_snapshot": (409, "a snapshot holds what would go; the detail names it"),
    "used_by_model": (409, "a model learned from it, which stays known"),
    "used_by_job": (409, "a job reads it, or is about to; cancel the job or wait until it ended"),
    "round_open": (409, "the round is open to labelers; close it first"),
    "job_ended": (409, "the job has ended already"),
    "job_not_resumable": (409, "only a failed or cancelled job can be resumed"),
    # The input.
    "too_large": (413, "the body has more bytes than this server takes"),
    "invalid": (422, "a field is missing, unknown or out of range; `fields` says which"),
    "invalid_config": (422, "a field of `config` is not acceptable; `fields` says which"),
    "invalid_flags": (422, "the flags of a project do not fit together"),
    "invalid_ranking": (422, "the ranking does not fit the completions of the task"),
    "unsupported_content_type": (422, "no importer reads this Content-Type"),
    "wrong_encoding": (422, "the text is not UTF-8"),
    "broken_json": (422, "the body is not JSON"),
    "broken_parquet": (422, "the body is not readable Parquet"),
    "broken_header": (422, "the names of the columns cannot be read"),
    "unknown_columns": (422, "no column holds what is to be imported"),
    "unknown_format": (422, "no format has this name, or the rows are of none that is known"),
    "no_good_task": (422, "none of the tasks can be taken"),
    "no_prompts": (422, "there are no prompts to work on"),
    "no_pairs": (422, "there are no pairs to train on"),
    "no_splits": (422, "the snapshot was not split when it was made"),
    "empty_snapshot": (422, "no ranking with a preference fits the filters"),
    "labeler_without_account": (422, "imports alone name the labeler: there is nobody to pause"),
    "wrong_model_kind": (422, "the model is of another kind: policies write, reward models score"),
    "refused_by_model": (422, "the model's server refused the input"),
    # What this needs is away.
    "unavailable": (503, "something this needs is not there now"),
    "inference_unavailable": (503, "the inference process is not running or cannot answer now"),
    "model_files_missing": (503, "the files of the model are not on this machine"),
    "no_hub_access": (503, "this machine cannot reach the model hub"),
}  # fmt: skip


class Problem(BaseModel):
    """An error (RFC 9457), of media type `application/problem+json`."""

    type: str = Field(description="Always `about:blank`.", examples=["about:blank"])
    title: str = Field(description="The status in words.", examples=["Not Found"])
    status: int = Field(description="The HTTP status.", examples=[404])
    detail: str = Field(
        description="What is wrong and what to do, in a sentence for people; it may change.",
        examples=["There is no such project."],
    )
    code: str = Field(
        description="What is wrong, for programs; it never changes.",
        examples=["project_not_found"],
    )
    instance: str = Field(
        description="The path that was asked for.", examples=["/api/v1/projects/nothing"]
    )
    fields: dict[str, str] = Field(
        default_factory=dict,
        description="The offending inputs by name, each with what it would accept; left out where "
        "no input is to blame.",
        examples=[{"name": "1 to 200 characters"}],
    )


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that can answer with these codes of `CODES`."""
    by_status: dict[int | str, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code][0], []).append(code)
    return {
        status: {"description": " ".join(describe_code(code) for code in found)}
        for status, found in by_status.items()
    }


def describe_code(code: str) -> str:
    """The code and its meaning, as a sentence of a response's description."""
    return f"`{code}`: {CODES[code][1]}."


def codes_in(description: str, status: int) -> list[str]:
    """The codes of this status that a response's description names, in its order."""
    words = re.findall(r"`([a-z_]+)`", description)
    return [word for word in dict.fromkeys(words) if CODES.get(word, (0, ""))[0] == status]


def problem_example(code: str, path: str) -> dict[str, Any]:
    """An answer with this code, as it comes over the wire."""
    status, meaning = CODES[code]
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": f"{meaning[0].upper()}{meaning[1:]}.",
        "code": code,
        "instance": path,
    }
