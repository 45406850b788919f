"""The errors a person or a client can act on; rendered once for HTML and once for JSON."""

from http import HTTPStatus


class AppError(Exception):
    """An expected failure: a status, a stable `code` and one sentence that says what to do.

    `fields` names the offending inputs and says what each would accept.
    """

    status: int = HTTPStatus.INTERNAL_SERVER_ERROR
    code: str = "error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        fields: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.fields = fields or {}
        self.headers = headers or {}

    @property
    def title(self) -> str:
        """The status in words."""
        return HTTPStatus(self.status).phrase


class Unauthenticated(AppError):
    """Nobody is signed in, or the token is unknown, revoked or expired."""

    status = HTTPStatus.UNAUTHORIZED
    code = "unauthenticated"


class Forbidden(AppError):
    """The person is known and may not do this."""

    status = HTTPStatus.FORBIDDEN
    code = "forbidden"


class NotFound(AppError):
    """There is no such thing, or the person may not know of it."""

    status = HTTPStatus.NOT_FOUND
    code = "not_found"


class Conflict(AppError):
    """The request was right once, but the state has moved on."""

    status = HTTPStatus.CONFLICT
    code = "conflict"


class Invalid(AppError):
    """Malformed input; `fields` says which and what would be accepted."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "invalid"


class TooLarge(AppError):
    """The body is larger than this server takes."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "too_large"


class TooManyRequests(AppError):
    """Slow down; `Retry-After` says for how long."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    code = "too_many_requests"


class Unavailable(AppError):
    """Something this needs (the inference process, a model's files) is not there now."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "unavailable"
