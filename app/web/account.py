"""A person's own account: name, password, sessions, tokens, theme."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.accounts import sessions, tokens, users
from app.accounts.audit import record
from app.accounts.passwords import verify_password
from app.accounts.secrets import hash_secret
from app.dependencies import AppDatabase, CurrentUser, ReadSession, WriteSession
from app.errors import AppError, Invalid
from app.models import User, utc_now
from app.web.sign_in import Throttle, safe_next
from app.web.templating import (
    THEME_COOKIE,
    THEMES,
    redirect,
    redirect_with_message,
    render,
)

router = APIRouter()

ONE_YEAR = 365 * 86_400
Text = Annotated[str, Form()]


@router.get("/account")
def account_page(request: Request, session: ReadSession, user: CurrentUser) -> Response:
    """Everything a person can change about their own account."""
    return render(request, "account/page.html", account_context(request, session, user))


def account_context(
    request: Request,
    session: Session,
    user: User,
    *,
    errors: dict[str, AppError] | None = None,
    new_token: str | None = None,
) -> dict[str, Any]:
    """What the account page shows; `errors` are keyed by the form they belong to."""
    cookie = request.cookies.get(sessions.SESSION_COOKIE, "")
    return {
        "person": users.get_user(session, user.id),
        "browser_sessions": sessions.list_sessions(session, user.id),
        "current_session": hash_secret(cookie),
        "tokens": tokens.list_tokens(session, user.id),
        "new_token": new_token,
        "errors": errors or {},
    }


def show_errors(
    request: Request, database: AppDatabase, user: User, form: str, error: AppError
) -> Response:
    """The page again, with what is wrong beside the field."""
    with database.read() as session:
        context = account_context(request, session, user, errors={form: error})
    return render(request, "account/page.html", context, int(error.status))


@router.post("/account/name")
def save_name(
    request: Request, database: AppDatabase, user: CurrentUser, name: Text = ""
) -> Response:
    """Change what pages call the person."""
    try:
        with database.write() as session:
            users.get_user(session, user.id).name = users.clean_name(name)
    except Invalid as error:
        return show_errors(request, database, user, "name", error)
    return redirect_with_message("/account", "Your name is saved.")


@router.post("/account/password")
def change_password(
    request: Request,
    database: AppDatabase,
    user: CurrentUser,
    throttle: Throttle,
    current_password: Text = "",
    new_password: Text = "",
) -> Response:
    """Change the password with the old one; every other browser is signed out."""
    address = request.client.host if request.client else ""
    try:
        throttle.check(user.email, address)
        if not verify_password(user.password_hash, current_password[:2_000]):
            throttle.record_failure(user.email, address)
            wrong = "This is not the current password."
            raise Invalid(wrong, fields={"current_password": wrong})
        with database.write() as session:
            users.set_password(
                session,
                users.get_user(session, user.id),
                new_password,
                keep_token=request.cookies.get(sessions.SESSION_COOKIE),
                field="new_password",
            )
            record(session, user, "user.password", "user", user.id)
    except AppError as error:
        if not error.fields:
            error.fields["current_password"] = error.detail
        return show_errors(request, database, user, "password", error)
    return redirect_with_message(
        "/account", "The password is changed. Other browsers are signed out."
    )


@router.post("/account/sessions/end")
def end_session(db: WriteSession, user: CurrentUser, session: Text = "") -> Response:
    """Sign out one of the person's browsers."""
    sessions.end_session_of(db, user, session)
    return redirect_with_message("/account#sessions", "That browser is signed out.")


@router.post("/account/sessions/end-others")
def end_other_sessions(request: Request, session: WriteSession, user: CurrentUser) -> Response:
    """Sign out every browser but this one."""
    keep = request.cookies.get(sessions.SESSION_COOKIE)
    sessions.end_other_sessions(session, user.id, keep)
    return redirect_with_message("/account#sessions", "The other browsers are signed out.")


@router.post("/account/tokens")
def create_token(
    request: Request,
    database: AppDatabase,
    user: CurrentUser,
    token_name: Text = "",
    days: Annotated[int, Form(ge=0, le=3650)] = 0,
) -> Response:
    """Create a token and show it, this once (so the answer is the page and no redirect)."""
    try:
        with database.write() as session:
            expires_at = utc_now() + timedelta(days=days) if days else None
            token = tokens.create_token(session, user, token_name, expires_at)
            record(session, user, "token.create", "user", user.id, name=token_name)
    except Invalid as error:
        error.fields["token_name"] = error.fields.pop("name", error.detail)
        return show_errors(request, database, user, "token", error)
    with database.read() as session:
        context = account_context(request, session, user, new_token=token)
    return render(request, "account/page.html", context)


@router.post("/account/tokens/{token_id}/revoke")
def revoke_token(session: WriteSession, user: CurrentUser, token_id: str) -> Response:
    """End one of the person's tokens at once."""
    token = tokens.revoke_token(session, user, token_id)
    record(session, user, "token.revoke", "user", user.id, name=token.name, prefix=token.prefix)
    return redirect_with_message("/account#tokens", "The token is revoked.")


@router.post("/theme")
def choose_theme(theme: Text = "auto", next: Text = "/") -> Response:  # noqa: A002  # the name of the field
    """Remember this browser's theme; nobody needs to be signed in for it."""
    response = redirect(safe_next(next))
    choice = theme if theme in THEMES else "auto"
    response.set_cookie(THEME_COOKIE, choice, max_age=ONE_YEAR, samesite="lax", httponly=True)
    return response
