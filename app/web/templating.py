"""Jinja2 set up once; pages are rendered with `render`."""

from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse


def render(
    request: Request, name: str, context: dict[str, Any] | None = None, status_code: int = 200
) -> HTMLResponse:
    """Render `templates/<name>` for this request."""
    raise NotImplementedError
