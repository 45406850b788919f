"""The REST reference at `/api/docs`: a page rendered here from the OpenAPI document.

It needs no script and nothing from another host, so it works under the content security policy and
on a machine without a network. The document itself is at `/openapi.json`, for tools.
"""

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


@dataclass(frozen=True)
class Field:
    """One input or output: a dotted name, its type in words, and what it means."""

    name: str
    type: str
    required: bool
    description: str


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    summary: str
    description: str
    parameters: list[Field]
    body_types: list[str]
    body: list[Field]
    answers: list[tuple[str, str, list[Field]]]

    @property
    def anchor(self) -> str:
        """Its name within the page."""
        words = self.path.removeprefix("/api/v1").replace("{", "").replace("}", "")
        return self.method.lower() + words.replace("/", "-").replace("_", "-")


@router.get("/api/docs")
def api_docs(request: Request, user: CurrentUser) -> Response:
    """Every REST operation with its inputs and outputs."""
    groups = group_operations(request.app.openapi())
    base = str(request.base_url).rstrip("/")
    return render(request, "api_docs/page.html", {"groups": groups, "base_url": base})


def group_operations(document: dict[str, Any]) -> dict[str, list[Operation]]:
    """Operations by the first word of their path."""
    groups: dict[str, list[Operation]] = defaultdict(list)
    for path, item in document.get("paths", {}).items():
        group = path.removeprefix("/api/v1/").partition("/")[0]
        for method in METHODS:
            if method in item:
                operation = read_operation(document, method, path, item[method])
                groups[group].append(operation)
    return dict(sorted(groups.items()))


def read_operation(
    document: dict[str, Any], method: str, path: str, operation: dict[str, Any]
) -> Operation:
    """One operation of the document in the words of the page."""
    content = operation.get("requestBody", {}).get("content", {})
    body_schema: dict[str, Any] = next((part.get("schema", {}) for part in content.values()), {})
    answers = [
        (status, answer.get("description", ""), read_answer(document, answer))
        for status, answer in operation.get("responses", {}).items()
        if status != "422"
    ]
    return Operation(
        method=method.upper(),
        path=path,
        summary=operation.get("summary", ""),
        description=operation.get("description", ""),
        parameters=[
            Field(
                parameter["name"],
                describe_type(document, parameter.get("schema", {})),
                parameter.get("required", False),
                parameter.get("description", "")
                or parameter.get("schema", {}).get("description", ""),
            )
            for parameter in operation.get("parameters", [])
            if parameter["in"] in ("path", "query")
        ],
        body_types=list(content),
        body=list_fields(document, body_schema),
        answers=answers,
    )


def read_answer(document: dict[str, Any], answer: dict[str, Any]) -> list[Field]:
    """The fields of an answer's JSON body."""
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    return list_fields(document, schema)


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
        parts.append(f"default {schema['default']}")
    examples = schema.get("examples") or inner.get("examples")
    if examples:
        parts.append(f"e.g. {examples[0]}")
    return "; ".join(part.strip().rstrip(".") for part in parts if part)


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
    kind = str(schema.get("type", "any"))
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
