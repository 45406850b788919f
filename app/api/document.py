"""The OpenAPI document, completed with what every route of a kind has in common.

FastAPI writes down what stands in a route's signature. The rest follows from the route's
dependencies and from names: which errors a token, a role, an id in the path, a body and an upload
can give; what an id in the path means; what an answer looks like. It is said here once.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.api.problems import (
    PROBLEM_MEDIA_TYPE,
    Problem,
    codes_in,
    describe_code,
    problem_example,
)
from app.api.schema_examples import add_examples, example_of
from app.api.uploads import uploaded_body
from app.dependencies import admin_user, researcher_user

Json = dict[str, Any]

API_PREFIX = "/api/v1"
DESCRIPTION = """\
Everything a page of Podium does, for programs. Send `Authorization: Bearer TOKEN`; a token stands
for a person and may do what the person may: an admin everything, a researcher reads and exports, a
labeler ranks. Lists are `{"items": [...], "next_cursor": ...}`: give `next_cursor` as `cursor` for
the next page. Times are RFC 3339 in UTC. Errors are problem documents (RFC 9457) with a stable
`code`; a defect of the server is a 500 with the code `internal_error`."""

TAGS = {
    "projects": "Bodies of work: guidelines, flags, prompts.",
    "rounds": "One pass of collecting: prompts, policies that answer them, and gold tasks.",
    "labeling": "A labeler's own work: lease a task, rank it, look back.",
    "rankings": "Rankings in and out.",
    "pairs": "Preferred-first pairs, as they are now or frozen in a snapshot.",
    "lineage": "What came of a ranking, what a model was made from, and taking data away.",
    "agreement": "How far labelers agree, and what they come to together.",
    "labelers": "How each labeler works in a project.",
    "evaluation": "What people say of a new policy, blind, and promoting it.",
    "jobs": "Background work: generation, training, evaluation.",
    "models": "The registry of policies, reward models and encoders, and trying them out.",
}
PATH_IDS = {
    # name of the parameter: what it is, an example, the code when there is none such
    "project_id": ("Id of the project.", "019a0c1f7d3e4c5f8a9b0c1d2e3f4a5b", "project_not_found"),
    "round_id": ("Id of the round.", "019a0c2044b14d6fa1b2c3d4e5f60718", "round_not_found"),
    "task_id": ("Id of the task.", "019a0c2101c54e70b2c3d4e5f6071829", "task_not_found"),
    "prompt_id": ("Id of the prompt.", "019a0c22aa4b4b0fb3c4d5e6f708192a", "not_found"),
    "assignment_id": (
        "Id of your assignment.",
        "019a0c2398164f01c4d5e6f708192a3b",
        "not_found",
    ),
    "ranking_id": (
        "Id of the ranking, or of one of its revisions.",
        "019a0c24c0d04a12d5e6f708192a3b4c",
        "not_found",
    ),
    "snapshot_id": (
        "Id of the snapshot.",
        "019a0c25f1e14b23e6f708192a3b4c5d",
        "snapshot_not_found",
    ),
    "job_id": ("Id of the job.", "0198f2c4a1b27c0d9e8f7a6b5c4d3e2f", "not_found"),
    "model_id": ("Id of the model in the registry.", "smollm2-135m-instruct", "not_found"),
}


class DocumentedApp(FastAPI):
    """FastAPI whose OpenAPI document is complete; it is made when it is first asked for."""

    def openapi(self) -> Json:
        """The document, completed once."""
        document = super().openapi()
        if "Problem" not in document["components"]["schemas"]:
            complete_document(document, self.state.api_routers)
        return document


def complete_document(document: Json, routers: Sequence[APIRouter]) -> None:
    """Add errors, examples, security and descriptions of path ids to the document."""
    schemas = document["components"]["schemas"]
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas["Problem"] = Problem.model_json_schema()
    document["info"]["description"] = DESCRIPTION
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    document["components"]["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "A token of your account page or of `podium tokens create`.",
        }
    }
    document["security"] = [{"token": []}]
    add_examples(document)
    for method, path, route in _list_routes(routers):
        operation = document["paths"].get(path, {}).get(method)
        if operation is not None:
            _complete_operation(document, path, operation, route)


def _list_routes(routers: Sequence[APIRouter]) -> Iterator[tuple[str, str, APIRoute]]:
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                for method in route.methods or ():
                    yield method.lower(), API_PREFIX + route.path_format, route


def _complete_operation(document: Json, path: str, operation: Json, route: APIRoute) -> None:
    for parameter in operation.get("parameters", []):
        _complete_parameter(parameter)
    body = operation.get("requestBody")
    if body is not None:
        body.setdefault("description", _first_line(document, body))
    _describe_answers(document, operation)
    _add_bodies_examples(document, operation)
    answers = operation["responses"]
    if 422 not in route.responses and not _takes_input(operation):
        answers.pop("422", None)
    for status, codes in implied_codes(path, operation, route).items():
        answer = answers.setdefault(str(status), {})
        declared = route.responses.get(status, {}).get("description", "")
        missing = [code for code in codes if code not in codes_in(declared, status)]
        words = [declared, *(describe_code(code) for code in missing)]
        answer["description"] = " ".join(word for word in words if word)
    for status, answer in answers.items():
        if status[0] in "45" and status != "416":
            _make_problem(path, int(status), answer)
    operation["responses"] = dict(sorted(answers.items()))


def implied_codes(path: str, operation: Json, route: APIRoute) -> dict[int, list[str]]:
    """The errors that follow from what the route depends on."""
    calls = set(_list_calls(route.dependant))
    codes: dict[int, list[str]] = {401: ["unauthenticated"]}
    if calls & {admin_user, researcher_user}:
        codes[403] = ["forbidden"]
    ids = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    if ids:
        codes[404] = [PATH_IDS[ids[-1]][2]]
    if uploaded_body in calls:
        codes[413] = ["too_large"]
    if _takes_input(operation):
        codes[422] = ["invalid"]
    return codes


def _list_calls(dependant: Dependant) -> Iterator[Callable[..., Any] | None]:
    for inner in dependant.dependencies:
        yield inner.call
        yield from _list_calls(inner)


def _takes_input(operation: Json) -> bool:
    """Whether anything but an id in the path is checked."""
    checked = [one for one in operation.get("parameters", []) if one["in"] == "query"]
    return bool(checked) or "requestBody" in operation


def _complete_parameter(parameter: Json) -> None:
    """An id in the path is described by its name; the others say themselves what they are."""
    schema = parameter.get("schema", {})
    if parameter["in"] == "path" and parameter["name"] in PATH_IDS:
        description, example, _ = PATH_IDS[parameter["name"]]
        parameter.setdefault("description", description)
        parameter.setdefault("example", example)
    elif "description" in schema:
        parameter.setdefault("description", schema["description"])


def _first_line(document: Json, body: Json) -> str:
    """What the schema of a JSON body or answer says of itself."""
    schema = body.get("content", {}).get("application/json", {}).get("schema", {})
    for choice in [schema, *schema.get("anyOf", [])]:
        name = choice.get("$ref", "").rpartition("/")[2]
        if name:
            words: str = document["components"]["schemas"][name].get("description", "")
            return words.partition("\n")[0]
    return ""


def _describe_answers(document: Json, operation: Json) -> None:
    """An answer that its route says nothing of is what its schema says."""
    for answer in operation["responses"].values():
        if answer.get("description") == "Successful Response":
            answer["description"] = _first_line(document, answer) or "Done."


def _add_bodies_examples(document: Json, operation: Json) -> None:
    """Show what is sent and what comes, where the route shows nothing itself."""
    contents = [
        operation.get("requestBody", {}).get("content", {}),
        *(
            answer.get("content", {})
            for status, answer in operation["responses"].items()
            if status[0] == "2"
        ),
    ]
    for content in contents:
        part = content.get("application/json", {})
        if part.get("schema") and "example" not in part and "examples" not in part:
            part["example"] = example_of(document, part["schema"])


def _make_problem(path: str, status: int, answer: Json) -> None:
    """Say that the answer is a problem document, with an example of each of its codes."""
    codes = codes_in(answer.get("description", ""), status)
    shown = {code: {"summary": code, "value": problem_example(code, path)} for code in codes}
    answer["content"] = {
        PROBLEM_MEDIA_TYPE: {
            "schema": {"$ref": "#/components/schemas/Problem"},
            "examples": shown,
        }
    }
