"""Walking the OpenAPI document: its operations, fields and examples."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from app.main import API_ROUTERS

Json = dict[str, Any]
METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Operation:
    """One method of one path with what the document says of it."""

    method: str
    path: str
    spec: Json

    @property
    def name(self) -> str:
        return f"{self.method.upper()} {self.path.removeprefix('/api/v1')}"


def list_operations(document: Json) -> list[Operation]:
    return [
        Operation(method, path, item[method])
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]


def list_fields(name: str, schema: Json) -> Iterator[tuple[str, Json]]:
    """Every property of a schema and of those written inside it, by dotted name."""
    for field, value in schema.get("properties", {}).items():
        yield f"{name}.{field}", value
        yield from list_fields(f"{name}.{field}", value)
        yield from list_fields(f"{name}.{field}[]", value.get("items", {}))


def routes_by_operation() -> dict[tuple[str, str], APIRoute]:
    routers: list[APIRouter] = API_ROUTERS
    return {
        (method.lower(), f"/api/v1{route.path_format}"): route
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
        for method in route.methods or ()
    }


class DocumentSchemas:
    """Checks values against the schemas of the document."""

    def __init__(self, app: FastAPI) -> None:
        self.document: Json = app.openapi()
        resource = Resource.from_contents(self.document, default_specification=DRAFT202012)
        self.registry: Any = Registry().with_resource("urn:document", resource)

    def problems(self, schema: Json, value: Any) -> list[str]:
        """What does not fit, in words."""
        validator = Draft202012Validator(absolute_references(schema), registry=self.registry)
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def absolute_references(schema: Any) -> Any:
    """The schema with its references leading into the registered document."""
    if isinstance(schema, list):
        return [absolute_references(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: f"urn:document{value}"
        if key == "$ref" and isinstance(value, str)
        else absolute_references(value)
        for key, value in schema.items()
    }
