"""Files under `/static`, cached for ever where the address carries a content hash."""

from urllib.parse import parse_qs

from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from app.settings import ROOT


class HashedStaticFiles(StaticFiles):
    """`?v=<hash>` makes an answer immutable; without it the browser asks again (ETag)."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, with the caching its address allows."""
        response = await super().get_response(path, scope)
        hashed = "v" in parse_qs(scope.get("query_string", b"").decode("latin-1"))
        response.headers["Cache-Control"] = (
            "public, max-age=31536000, immutable" if hashed else "no-cache"
        )
        return response


def static_app() -> ASGIApp:
    """The files, compressed for those who take it."""
    files = HashedStaticFiles(directory=ROOT / "static", check_dir=False)
    return GZipMiddleware(files, minimum_size=1024, compresslevel=6)
