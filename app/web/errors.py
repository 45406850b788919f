"""Errors rendered once for HTML and once for JSON (RFC 9457 problem+json)."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from app.errors import AppError, Invalid, Unauthenticated
from app.web.security_headers import HEADERS

log = logging.getLogger(__name__)

CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media"}
DETAILS = {
    404: "There is nothing at this address.",
    405: "This address does not take that method.",
}


def install_error_handlers(app: FastAPI) -> None:
    """Make every error a page under `/` and a problem document under `/api`."""
    app.add_exception_handler(AppError, on_app_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(Exception, on_unexpected_error)


def on_app_error(request: Request, error: Exception) -> Response:
    """An expected failure."""
    assert isinstance(error, AppError)
    return respond_to_error(request, error)


def on_validation_error(request: Request, error: Exception) -> Response:
    """Input that does not fit its schema: every field with what it would accept."""
    assert isinstance(error, RequestValidationError)
    fields = describe_fields(error.errors())
    names = ", ".join(fields)
    return respond_to_error(request, Invalid(f"Please correct: {names}.", fields=fields))


def describe_fields(errors: Sequence[Any]) -> dict[str, str]:
    """pydantic's findings as `{"sampling.temperature": "Input should be …"}`."""
    fields: dict[str, str] = {}
    for finding in errors:
        location = [str(part) for part in finding["loc"]]
        if len(location) > 1 and location[0] in ("body", "query", "path", "header", "cookie"):
            location = location[1:]
        message = str(finding["msg"]).removeprefix("Value error, ")
        if finding["type"] == "json_invalid":
            location = ["body"]
            message = f"A JSON document; this one breaks: {finding['ctx'].get('error', '')}"
        fields.setdefault(".".join(location), message)
    return fields


def on_http_exception(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: unknown address, wrong method."""
    assert isinstance(error, HTTPException)
    detail = DETAILS.get(error.status_code)
    if detail is None:
        detail = str(error.detail)
    shown = AppError(
        detail,
        code=CODES.get(error.status_code, "error"),
        headers=dict(error.headers or {}),
    )
    shown.status = error.status_code
    return respond_to_error(request, shown)


def on_unexpected_error(request: Request, error: Exception) -> Response:
    """A defect: the log has the traceback, the person an apology and nothing of the inside."""
    log.error("unexpected error in %s %s", request.method, request.url.path, exc_info=error)
    apology = "Something went wrong here. It has been logged; try again, or tell an admin."
    response = respond_to_error(request, AppError(apology, code="internal_error"))
    # The framework answers a crash outside of every middleware, so the headers are added here.
    response.headers.update(HEADERS)
    return response


def respond_to_error(request: Request, error: AppError) -> Response:
    """The error in the shape this address speaks: JSON under `/api`, pages elsewhere."""
    if request.url.path.startswith("/api/v1"):
        return problem_response(request, error)
    wants_page = request.method in ("GET", "HEAD") and "HX-Request" not in request.headers
    if isinstance(error, Unauthenticated) and wants_page:
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        where = "/sign-in" if target == "/" else f"/sign-in?next={quote(target)}"
        return RedirectResponse(where, status_code=303)
    return error_page(request, error)


def problem_response(request: Request, error: AppError) -> Response:
    """RFC 9457: `code` is stable, `fields` names the offending inputs."""
    status = int(error.status)
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error.detail,
        "code": error.code,
        "instance": request.url.path,
    }
    if error.fields:
        problem["fields"] = error.fields
    headers = dict(error.headers)
    if status == HTTPStatus.UNAUTHORIZED:
        headers.setdefault("WWW-Authenticate", 'Bearer realm="podium"')
    return Response(
        orjson.dumps(problem), status, headers=headers, media_type="application/problem+json"
    )


def error_page(request: Request, error: AppError) -> Response:
    """A page with the sentence and a way on; scripts know it by the `Podium-Error` header."""
    from app.web.templating import render

    response = render(
        request,
        "errors/page.html",
        {"error": error, "status": int(error.status), "title": HTTPStatus(error.status).phrase},
        status_code=int(error.status),
    )
    response.headers.update(error.headers)
    response.headers["Podium-Error"] = error.code
    return response
