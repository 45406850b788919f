"""Examples of the OpenAPI document: of every field, and put together for every schema.

A field's own example stands in its model. What a name alone says, such as an id or a time, is
listed here once.
"""

from typing import Any

Json = dict[str, Any]

DEEPEST = 6
TIME = "2026-11-20T09:30:00Z"
BY_NAME: dict[str, Any] = {
    "id": "019a0c1f7d3e4c5f8a9b0c1d2e3f4a5b",
    "project_id": "019a0c1f7d3e4c5f8a9b0c1d2e3f4a5b",
    "round_id": "019a0c2044b14d6fa1b2c3d4e5f60718",
    "task_id": "019a0c2101c54e70b2c3d4e5f6071829",
    "prompt_id": "019a0c22aa4b4b0fb3c4d5e6f708192a",
    "assignment_id": "019a0c2398164f01c4d5e6f708192a3b",
    "ranking_id": "019a0c24c0d04a12d5e6f708192a3b4c",
    "snapshot_id": "019a0c25f1e14b23e6f708192a3b4c5d",
    "job_id": "0198f2c4a1b27c0d9e8f7a6b5c4d3e2f",
    "user_id": "019a0c26a2f24c34f708192a3b4c5d6e",
    "created_by": "019a0c26a2f24c34f708192a3b4c5d6e",
    "cursor": "019a0c1f7d3e4c5f8a9b0c1d2e3f4a5b",
    "next_cursor": None,
    "limit": 50,
}


def add_examples(document: Json) -> None:
    """Give every field of every schema an example, and every schema one made of them."""
    schemas: dict[str, Json] = document["components"]["schemas"]
    for schema in schemas.values():
        for name, field in schema.get("properties", {}).items():
            if "examples" not in field and "$ref" not in field:
                found = _example_by_name(name, field)
                if found is not _NOTHING:
                    field["examples"] = [found]
    for schema in schemas.values():
        if "examples" not in schema:
            schema["examples"] = [example_of(document, schema)]
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                _add_parameter_example(document, parameter)


class _Nothing:
    """No example, which is not the example null."""


_NOTHING = _Nothing()


def _example_by_name(name: str, field: Json) -> Any:
    """What the field's name or type alone says, or `_NOTHING`."""
    if name in BY_NAME:
        return BY_NAME[name]
    kinds = [field, *field.get("anyOf", [])]
    for kind in kinds:
        if "examples" in kind:
            return kind["examples"][0]
    if any(kind.get("format") == "date-time" for kind in kinds):
        return TIME
    if field.get("default") is not None:
        return field["default"]
    if field.get("type") == "boolean":
        return False
    return _NOTHING


def _add_parameter_example(document: Json, parameter: Json) -> None:
    schema = parameter["schema"]
    if parameter["in"] == "path" or "example" in parameter:
        return
    if "examples" not in schema:
        found = _example_by_name(parameter["name"], schema)
        if found is _NOTHING:
            found = example_of(document, schema)
        if found is None:
            return
        schema["examples"] = [found]
    parameter["example"] = schema["examples"][0]


def example_of(document: Json, schema: Json, depth: int = 0) -> Any:
    """An instance of the schema, made of the examples of its parts.

    A field that may be left out stays out unless it has an example.
    """
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return example_of(document, document["components"]["schemas"][name], depth)
    if depth > DEEPEST:
        return None
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if "enum" in schema:
        return schema["enum"][0]
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return example_of(document, _lighter(choices, depth), depth)
    return _example_of_type(document, schema, depth)


def _lighter(choices: list[Json], depth: int) -> Json:
    """The first choice; null where a schema holds itself."""
    nulls = [choice for choice in choices if choice.get("type") == "null"]
    return nulls[0] if nulls and depth > 0 and "$ref" in choices[0] else choices[0]


def _example_of_type(document: Json, schema: Json, depth: int) -> Any:
    kind = schema.get("type")
    if kind == "object":
        required = schema.get("required", [])
        return {
            name: example_of(document, field, depth + 1)
            for name, field in schema.get("properties", {}).items()
            if name in required or "examples" in field
        }
    if kind == "array":
        return [example_of(document, schema.get("items", {}), depth + 1)]
    values: Json = {"string": "text", "integer": 1, "number": 0.5, "boolean": False}
    return values.get(kind or "")
