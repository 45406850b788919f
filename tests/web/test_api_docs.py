"""The REST reference shows all that the OpenAPI document says."""

import html
import re
import shlex

from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.problems import CODES, codes_in
from app.web.api_docs import group_operations
from tests.api.openapi_walk import list_operations

BASE = "http://testserver"


def test_every_operation_shows_its_errors_and_examples(
    app: FastAPI, researcher_client: TestClient
) -> None:
    page = researcher_client.get("/api/docs").text
    document = app.openapi()
    shown = [one for group in group_operations(document, BASE).values() for one in group]
    documented = list_operations(document)
    assert len(shown) == len(documented)
    by_name = {(one.method, one.path): one for one in shown}
    for operation in documented:
        read = by_name[operation.method.upper(), operation.path]
        assert f'id="{read.anchor}"' in page
        codes = {
            code
            for status, answer in operation.spec["responses"].items()
            for code in codes_in(answer["description"], int(status))
        }
        assert {refusal.code for refusal in read.refusals} == codes
        assert len(read.parameters) == len(operation.spec.get("parameters", []))
        for refusal in read.refusals:
            status, meaning = CODES[refusal.code]
            assert (refusal.status, refusal.meaning.lower()) == (status, f"{meaning}.".lower())
        for command in read.commands:
            assert command in html.unescape(page)
        for answer in read.answers:
            assert answer.example in html.unescape(page)


def test_example_requests_are_commands_of_a_shell(app: FastAPI) -> None:
    groups = group_operations(app.openapi(), BASE)
    commands = [command for group in groups.values() for one in group for command in one.commands]
    for command in commands:
        words = shlex.split(command)
        assert words[:3] == ["curl", "-H", "Authorization: Bearer $TOKEN"]
        assert [word for word in words if word.startswith(f"{BASE}/api/v1/")]
        assert "{" not in re.sub(r"--data-binary .*", "", command, flags=re.DOTALL)
    posted = next(one for one in groups["projects"] if one.summary == "Create a project")
    assert shlex.split(posted.commands[0])[-1].startswith('{\n  "name": "Short answers"')


def test_fields_are_shown_with_their_example_as_json(researcher_client: TestClient) -> None:
    page = html.unescape(researcher_client.get("/api/docs").text)
    assert 'e.g. ["Blue.", "Ten."]' in page
    assert "default true" in page
    assert "['" not in page.partition("<h2")[2]
