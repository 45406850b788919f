"""The same-origin guard of every unsafe request."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import Forbidden
from app.web.errors import respond_to_error

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class SameOriginGuard:
    """Refuse unsafe requests that another site made with a person's cookie.

    A browser says where a request comes from: `Sec-Fetch-Site`, `Origin` or `Referer`. One of them
    must name this very site. Requests with a bearer token pass: another site cannot know the
    token, and with one the cookie counts for nothing.
    """

    def __init__(self, app: ASGIApp, public_url: str | None) -> None:
        self.app = app
        self.public_origin = origin_of(public_url) if public_url else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        bearer = headers.get("authorization", "").lower().startswith("bearer ")
        if bearer or self.is_same_origin(scope, headers):
            await self.app(scope, receive, send)
            return
        error = Forbidden(
            "This request did not come from a page of this site. Open the page again and retry; "
            "scripts send an API token instead of a cookie.",
            code="cross_origin",
        )
        response = respond_to_error(Request(scope, receive), error)
        await response(scope, receive, send)

    def is_same_origin(self, scope: Scope, headers: Headers) -> bool:
        """Whether the browser says that a page of this site made the request.

        `Origin` is looked at first: behind a proxy that changes the host, `public_url` says what
        people see. `null` (a sandboxed frame, a privacy mode) is never the same.
        """
        origin = headers.get("origin")
        if origin is None and headers.get("sec-fetch-site") == "same-origin":
            return True
        claimed = origin or headers.get("referer")
        if not claimed:
            return False
        own = {f"{scope.get('scheme', 'http')}://{headers.get('host', '').lower()}"}
        if self.public_origin:
            own.add(self.public_origin)
        return origin_of(claimed) in own


def origin_of(url: str) -> str | None:
    """`scheme://host[:port]` of an address, without a default port."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return None
    if not parts.scheme or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, default) else "")
