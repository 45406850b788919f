"""A person's own account: name, password, sessions, tokens, theme."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from app.web.sign_in import safe_next
from app.web.templating import THEME_COOKIE, THEMES, redirect

router = APIRouter()

ONE_YEAR = 365 * 86_400


@router.post("/theme")
def choose_theme(
    request: Request,
    theme: Annotated[str, Form()] = "auto",
    next: Annotated[str, Form()] = "/",  # noqa: A002  # the name of the field
) -> Response:
    """Remember this browser's theme; nobody needs to be signed in for it."""
    response = redirect(safe_next(next))
    choice = theme if theme in THEMES else "auto"
    response.set_cookie(THEME_COOKIE, choice, max_age=ONE_YEAR, samesite="lax", httponly=True)
    return response
