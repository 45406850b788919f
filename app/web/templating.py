"""Jinja2 set up once; pages are rendered with `render`."""

import hashlib
import re
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app.jobs.schema import label_of
from app.settings import ROOT
from app.web.filters import (
    ago,
    browser_name,
    duration,
    filesize,
    number,
    percent,
    plural,
    short_time,
)
from app.web.rendering import render_markdown

MESSAGE_COOKIE = "podium_message"
THEME_COOKIE = "podium_theme"
THEMES = ("auto", "light", "dark")
SPRITE = ROOT / "static/vendor/icons/tabler-sprite.svg"
LONGEST_MESSAGE = 500


@lru_cache(maxsize=1)
def get_environment() -> Environment:
    """The one Jinja environment: everything escaped, and an undefined name is an error."""
    environment = Environment(
        loader=FileSystemLoader(ROOT / "templates"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    environment.filters.update(
        ago=ago,
        browser_name=browser_name,
        duration=duration,
        filesize=filesize,
        label=label_of,
        markdown=render_markdown,
        number=number,
        percent=percent,
        plural=plural,
        short_time=short_time,
        urlencode_query=urlencode,
    )
    environment.globals.update(icon=icon, static_url=static_url, themes=THEMES)
    return environment


def render(
    request: Request, name: str, context: dict[str, Any] | None = None, status_code: int = 200
) -> HTMLResponse:
    """Render `templates/<name>` for this request.

    Besides the context a template has `request`, `user` (None when nobody is signed in),
    `settings`, `theme` and `message` (what the previous page left to say, once).
    """
    message = take_message(request)
    values = {
        "request": request,
        "user": getattr(request.state, "user", None),
        "settings": request.app.state.settings,
        "theme": get_theme(request),
        "message": message,
        **(context or {}),
    }
    response = HTMLResponse(get_environment().get_template(name).render(values), status_code)
    response.headers["Cache-Control"] = "no-store"
    if message is not None:
        response.delete_cookie(MESSAGE_COOKIE)
    return response


def redirect(url: str) -> RedirectResponse:
    """Go to a page after a form was taken (303, so that a reload does not send it again)."""
    return RedirectResponse(url, status_code=303)


def redirect_with_message(url: str, text: str, *, kind: str = "success") -> RedirectResponse:
    """Go to a page that shows `text` once; `kind` is success, info, warning or danger."""
    response = redirect(url)
    response.set_cookie(
        MESSAGE_COOKIE,
        f"{kind}:{quote(text[:LONGEST_MESSAGE])}",
        max_age=60,
        httponly=True,
        samesite="lax",
    )
    return response


def take_message(request: Request) -> dict[str, str] | None:
    """The message a redirect left for this page; pages escape it like any other text."""
    kind, colon, text = request.cookies.get(MESSAGE_COOKIE, "").partition(":")
    if not colon or kind not in ("success", "info", "warning", "danger"):
        return None
    return {"kind": kind, "text": unquote(text)[:LONGEST_MESSAGE]}


def get_theme(request: Request) -> str:
    """The theme this browser chose: auto, light or dark."""
    theme = request.cookies.get(THEME_COOKIE, "auto")
    return theme if theme in THEMES else "auto"


def static_url(path: str) -> str:
    """The address of a file under `static/`, with a hash of its content so that it may be cached
    for ever."""
    file = ROOT / "static" / path
    try:
        stat = file.stat()
    except FileNotFoundError:
        return f"/static/{path}"
    return f"/static/{path}?v={hash_file(path, stat.st_mtime_ns, stat.st_size)}"


@lru_cache(maxsize=512)
def hash_file(path: str, _modified_ns: int, _size_bytes: int) -> str:
    """Ten hex digits of the file's SHA-256, computed again when the file changes."""
    return hashlib.sha256((ROOT / "static" / path).read_bytes()).hexdigest()[:10]


@lru_cache(maxsize=512)
def icon(name: str, classes: str = "") -> Markup:
    """A Tabler icon as inline SVG, hidden from screen readers: the words beside it say it all.

    Only the icons a page uses reach the browser (the sprite is 2 MB). Without installed assets
    there is no icon, and `/readyz` says so.
    """
    if not SPRITE.is_file():
        return Markup("")
    sprite = SPRITE.read_text()
    match = re.search(rf'<symbol id="tabler-{re.escape(name)}"([^>]*)>(.*?)</symbol>', sprite)
    if match is None:
        raise LookupError(f"no icon named {name!r} in the Tabler sprite")
    attributes, shapes = match.groups()
    return Markup(  # noqa: S704  # from our own pinned package, no input of anybody
        f'<svg xmlns="http://www.w3.org/2000/svg" class="icon {classes}" width="24" height="24"'
        f'{attributes} aria-hidden="true" focusable="false">{shapes}</svg>'
    )
