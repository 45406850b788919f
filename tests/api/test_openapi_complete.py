"""The OpenAPI document is the manual: everything in it is described, shown and can be relied on."""

import ast
import re
from pathlib import Path

import pytest
from fastapi import FastAPI

from app.api.problems import CODES, Problem, codes_in, problems
from app.api.uploads import UploadedBody
from app.dependencies import Admin, Researcher
from app.settings import ROOT
from tests.api.openapi_walk import (
    DocumentSchemas,
    Json,
    list_fields,
    list_operations,
    routes_by_operation,
)

PROBLEM = {"$ref": "#/components/schemas/Problem"}
PAGES_ALONE = {
    # Codes of what only pages and commands do, or that another process speaks.
    "cross_origin",
    "email_taken",
    "empty_file",
    "error",
    "import_running",
    "internal_error",
    "last_admin",
    "link_gone",
    "npm_failed",
    "npm_missing",
    "other_project",
    "too_many_requests",
    "too_many_tokens",
    "unsupported_file",
    "upload_not_found",
    "weak_password",
    "wrong_password",
}


def test_every_field_says_what_it_means(app: FastAPI) -> None:
    document = app.openapi()
    schemas = document["components"]["schemas"]
    silent = []
    for name, schema in [*schemas.items(), *inline_schemas(document)]:
        assert schema.get("description") or "/" in name, name
        for field, value in list_fields(name, schema):
            referred = schemas.get(value.get("$ref", "").rpartition("/")[2], {})
            if not (value.get("description") or referred.get("description")):
                silent.append(field)
    assert silent == []


def inline_schemas(document: Json) -> list[tuple[str, Json]]:
    """The schemas that are written in an operation itself, by `METHOD /path`."""
    return [
        (f"{operation.name} {media_type}", body.get("schema", {}))
        for operation in list_operations(document)
        for part in [operation.spec.get("requestBody", {}), *operation.spec["responses"].values()]
        for media_type, body in part.get("content", {}).items()
    ]


def test_every_field_and_every_schema_shows_an_example(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    for name, schema in schemas.items():
        assert schema.get("examples"), name
    bare = [
        field
        for name, schema in schemas.items()
        for field, value in list_fields(name, schema)
        # What is a schema of its own, or a list of them, is shown there.
        if "examples" not in value and "$ref" not in str(value) and value.get("type") != "object"
    ]
    assert bare == []


def test_examples_fit_their_schemas(app: FastAPI) -> None:
    checked = DocumentSchemas(app)
    wrong = []
    for name, schema in checked.document["components"]["schemas"].items():
        for example in schema["examples"]:
            wrong += [f"{name}: {one}" for one in checked.problems(schema, example)]
    for operation in list_operations(checked.document):
        parts = [operation.spec.get("requestBody", {}), *operation.spec["responses"].values()]
        for part in parts:
            body = part.get("content", {}).get("application/json", {})
            if "example" in body:
                found = checked.problems(body["schema"], body["example"])
                wrong += [f"{operation.name}: {one}" for one in found]
        for parameter in operation.spec.get("parameters", []):
            found = checked.problems(parameter["schema"], parameter["example"])
            wrong += [f"{operation.name}, {parameter['name']}: {one}" for one in found]
    assert wrong == []


def test_every_parameter_says_what_it_means_and_shows_an_example(app: FastAPI) -> None:
    bare = [
        f"{operation.name}: {parameter['name']}"
        for operation in list_operations(app.openapi())
        for parameter in operation.spec.get("parameters", [])
        if not parameter.get("description") or "example" not in parameter
    ]
    assert bare == []


def test_every_operation_has_a_summary_a_description_and_a_known_tag(app: FastAPI) -> None:
    document = app.openapi()
    tags = {tag["name"] for tag in document["tags"]}
    summaries = set()
    for operation in list_operations(document):
        spec = operation.spec
        assert spec.get("summary"), operation.name
        assert len(spec.get("description", "").split()) >= 3, operation.name
        assert set(spec["tags"]) <= tags, operation.name
        assert spec["summary"] not in summaries, f"two operations are called {spec['summary']!r}"
        summaries.add(spec["summary"])
        body = spec.get("requestBody")
        assert body is None or body.get("description"), operation.name
        for status, answer in spec["responses"].items():
            assert answer["description"] not in ("", "Successful Response"), (
                operation.name,
                status,
            )


def test_every_operation_lists_the_errors_that_its_signature_implies(app: FastAPI) -> None:
    routes = routes_by_operation()
    operations = list_operations(app.openapi())
    assert len(operations) >= 50
    for operation in operations:
        annotations = routes[operation.method, operation.path].endpoint.__annotations__.values()
        queries = [one for one in operation.spec.get("parameters", []) if one["in"] == "query"]
        expected = {"401"}
        if Admin in annotations or Researcher in annotations:
            expected.add("403")
        if "{" in operation.path:
            expected.add("404")
        if queries or "requestBody" in operation.spec:
            expected.add("422")
        if UploadedBody in annotations:
            expected.add("413")
        missing = expected - set(operation.spec["responses"])
        assert not missing, f"{operation.name} lacks {sorted(missing)}"


def test_every_error_is_a_problem_document_with_its_codes(app: FastAPI) -> None:
    for operation in list_operations(app.openapi()):
        for status, answer in operation.spec["responses"].items():
            if status[0] not in "45" or status == "416":
                continue
            where = f"{operation.name}, {status}"
            assert list(answer["content"]) == ["application/problem+json"], where
            shown = answer["content"]["application/problem+json"]
            assert shown["schema"] == PROBLEM, where
            assert list(shown["examples"]) == codes_in(answer["description"], int(status)), where
            assert shown["examples"], f"{where} names no code"
            for code, example in shown["examples"].items():
                assert Problem(**example["value"]).code == code
                assert example["value"]["status"] == int(status)


def test_every_code_that_is_raised_is_listed_and_no_other(app: FastAPI) -> None:
    raised = {
        code
        for path in (ROOT / "app").rglob("*.py")
        if "inference" not in path.parts
        for code in codes_raised(path)
    }
    assert raised - set(CODES) == PAGES_ALONE
    assert set(CODES) - raised == set()
    named = {
        code
        for operation in list_operations(app.openapi())
        for status, answer in operation.spec["responses"].items()
        for code in codes_in(answer["description"], int(status))
    }
    assert set(CODES) - named == set()


def codes_raised(path: Path) -> set[str]:
    """The codes that a module gives to an error or that an error class has by itself."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "code":
            found |= literal(node.value)
        elif isinstance(node, ast.ClassDef) and path.name == "errors.py":
            for line in node.body:
                if isinstance(line, ast.Assign | ast.AnnAssign) and line.value is not None:
                    target = line.targets[0] if isinstance(line, ast.Assign) else line.target
                    if isinstance(target, ast.Name) and target.id == "code":
                        found |= literal(line.value)
    return found


def literal(node: ast.expr) -> set[str]:
    value = node.value if isinstance(node, ast.Constant) else None
    return {value} if isinstance(value, str) and re.fullmatch("[a-z_]+", value) else set()


def test_the_guide_lists_every_code() -> None:
    guide = (ROOT / "docs/rest.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \| (\d+) \| (.+) \|$", guide, re.MULTILINE)
    assert {(code, int(status), meaning) for code, status, meaning in rows} == {
        (code, status, meaning) for code, (status, meaning) in CODES.items()
    }


def test_the_document_says_how_to_sign_in(app: FastAPI) -> None:
    document = app.openapi()
    assert document["security"] == [{"token": []}]
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert "application/problem+json" in str(document)
    assert "HTTPValidationError" not in str(document)


def test_problems_of_one_status_stand_together() -> None:
    found = problems("round_closed", "round_generating", "no_pairs")
    assert set(found) == {409, 422}
    assert codes_in(found[409]["description"], 409) == ["round_closed", "round_generating"]
    with pytest.raises(KeyError):
        problems("no_such_code")
