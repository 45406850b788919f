"""The REST reference at `/api/docs`: a page rendered here from the OpenAPI document.

It needs no script and nothing from another host, so it works under the content security policy and
on a machine without a network. The document itself is at `/openapi.json`, for tools.
"""

import json
import re
import shlex
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.dependencies import CurrentUser
from app.web.templating import render

router = APIRouter()

METHODS = ("get", "post", "put", "patch", "delete")
DEEPEST = 4
PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Field:
    """One input or output: a dotted name, its type in words, and what it means."""

    name: str
    type: str
    required: bool
    description: str


@dataclass(frozen=True)
class Answer:
    """What comes when all went well."""

    status: str
    description: str
    fields: list[Field]
    example: str


@dataclass(frozen=True)
class Refusal:
    """An error that an operation can answer with."""

    status: int
    code: str
    meaning: str


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    summary: str
    description: str
    parameters: list[Field]
    body_types: list[str]
    body_description: str
    body: list[Field]
    commands: list[str]
    answers: list[Answer]
    refusals: list[Refusal]

    @property
    def anchor(self) -> str:
        """Its name within the page."""
        words = self.path.removeprefix("/api/v1").replace("{", "").replace("}", "")
        return self.method.lower() + words.replace("/", "-").replace("_", "-")


@router.get("/api/docs")
def api_docs(request: Request, user: CurrentUser) -> Response:
    """Every REST operation with its inputs and outputs."""
    document = request.app.openapi()
    base = str(request.base_url).rstrip("/")
    context = {
        "groups": group_operations(document, base),
        "problem": list_fields(document, {"$ref": "#/components/schemas/Problem"}),
        "base_url": base,
    }
    return render(request, "api_docs/page.html", context)


def group_operations(document: dict[str, Any], base_url: str) -> dict[str, list[Operation]]:
    """Operations by the first word of their path."""
    groups: dict[str, list[Operation]] = defaultdict(list)
    for path, item in document.get("paths", {}).items():
        group = path.removeprefix("/api/v1/").partition("/")[0]
        for method in METHODS:
            if method in item:
                operation = read_operation(document, base_url, method, path, item[method])
                groups[group].append(operation)
    return dict(sorted(groups.items()))


def read_operation(
    document: dict[str, Any], base_url: str, method: str, path: str, operation: dict[str, Any]
) -> Operation:
    """One operation of the document in the words of the page."""
    body = operation.get("requestBody", {})
    content = body.get("content", {})
    body_schema: dict[str, Any] = next((part.get("schema", {}) for part in content.values()), {})
    return Operation(
        method=method.upper(),
        path=path,
        summary=operation.get("summary", ""),
        description=operation.get("description", ""),
        parameters=list_parameters(document, operation),
        body_types=list(content),
        body_description=body.get("description", ""),
        body=list_fields(document, body_schema),
        commands=list_commands(base_url + shell_path(path), method.upper(), content),
        answers=[
            read_answer(document, status, answer)
            for status, answer in operation.get("responses", {}).items()
            if status[0] in "23" or status == "416"
        ],
        refusals=[
            Refusal(int(status), code, shown["value"]["detail"])
            for status, answer in operation.get("responses", {}).items()
            for code, shown in answer.get("content", {})
            .get(PROBLEM, {})
            .get("examples", {})
            .items()
        ],
    )


def list_parameters(document: dict[str, Any], operation: dict[str, Any]) -> list[Field]:
    """What stands in the path, the query and the headers."""
    return [
        Field(
            parameter["name"],
            describe_type(document, parameter.get("schema", {})),
            parameter.get("required", False),
            describe_field(
                document,
                {
                    **parameter.get("schema", {}),
                    "description": parameter.get("description", ""),
                    "examples": [parameter["example"]] if parameter.get("example") else [],
                },
            ),
        )
        for parameter in operation.get("parameters", [])
    ]


def shell_path(path: str) -> str:
    """The path with a shell variable for each id."""
    return re.sub(r"\{(\w+)\}", lambda found: f"${found[1].upper()}", path)


def list_commands(url: str, method: str, content: dict[str, Any]) -> list[str]:
    """The request as a shell command, once for each kind of body that has an example."""
    start = 'curl -H "Authorization: Bearer $TOKEN"'
    verb = "" if method == "GET" or (method == "POST" and content) else f" -X {method}"
    commands = []
    for media_type, part in content.items():
        if "example" in part:
            example = part["example"]
            text = example if isinstance(example, str) else indented(example)
            kind = shlex.quote(f"Content-Type: {media_type}")
            commands.append(
                f"{start}{verb} {url} \\\n  -H {kind} --data-binary {shlex.quote(text)}"
            )
    return commands or [f"{start}{verb} {url}"]


def read_answer(document: dict[str, Any], status: str, answer: dict[str, Any]) -> Answer:
    """The fields and the example of an answer's body."""
    content: dict[str, Any] = answer.get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    examples = [part["example"] for part in content.values() if "example" in part]
    example = examples[0] if examples else ""
    return Answer(
        status=status,
        description=answer.get("description", ""),
        fields=list_fields(document, schema),
        example=example if isinstance(example, str) else indented(example),
    )


def indented(value: Any) -> str:
    """The value as JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def list_fields(
    document: dict[str, Any], schema: dict[str, Any], prefix: str = "", depth: int = 0
) -> list[Field]:
    """The properties of a schema and of what is inside them, as dotted names."""
    schema = unwrap(document, schema)
    if schema.get("type") == "array":
        return list_fields(document, schema.get("items", {}), f"{prefix}[]", depth)
    fields: list[Field] = []
    required = schema.get("required", [])
    for name, value in schema.get("properties", {}).items():
        dotted = f"{prefix}.{name}".lstrip(".")
        fields.append(
            Field(
                dotted,
                describe_type(document, value),
                name in required,
                describe_field(document, value),
            )
        )
        if depth < DEEPEST:
            fields += list_fields(document, value, dotted, depth + 1)
    return fields


def describe_field(document: dict[str, Any], schema: dict[str, Any]) -> str:
    """A field's description, limits, default and example in one line."""
    inner = unwrap(document, schema)
    parts = [schema.get("description") or inner.get("description", "")]
    limits = {"minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most",
              "exclusiveMaximum": "less than", "maxLength": "longest"}  # fmt: skip
    parts += [f"{words} {inner[key]}" for key, words in limits.items() if key in inner]
    if schema.get("default") is not None:
        parts.append(f"default {plain(schema['default'])}")
    examples = schema.get("examples") or inner.get("examples")
    if examples:
        parts.append(f"e.g. {plain(examples[0])}")
    return "; ".join(part.strip().rstrip(".") for part in parts if part)


def plain(value: Any) -> str:
    """The value as it stands in a request."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def describe_type(document: dict[str, Any], schema: dict[str, Any]) -> str:
    """A type in words: `integer or null`, `array of string`, `"a" | "b"`."""
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " or ".join(dict.fromkeys(describe_type(document, choice) for choice in choices))
    schema = unwrap(document, schema)
    if "enum" in schema:
        return " | ".join(f'"{value}"' for value in schema["enum"])
    if "const" in schema:
        return f'"{schema["const"]}"'
    if schema.get("type") == "array":
        return f"array of {describe_type(document, schema.get('items', {}))}"
    named = schema.get("type", "any")
    kind = named if isinstance(named, str) else " or ".join(named)
    return f"{kind} ({schema['format']})" if "format" in schema else kind


def unwrap(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference, and of a choice with null take the other."""
    for _ in range(DEEPEST):
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            schema = document["components"]["schemas"].get(name, {})
            continue
        choices = [c for c in schema.get("anyOf", []) if c.get("type") != "null"]
        if len(choices) != 1:
            return schema
        schema = choices[0]
    return schema
