"""Signing in and out, the first admin's set-up link, invitations, and the start page."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from app.accounts import links, sessions, users
from app.accounts.audit import record
from app.accounts.throttle import SignInThrottle
from app.dependencies import (
    AppDatabase,
    AppSettings,
    CurrentUser,
    OptionalUser,
    ReadSession,
    WriteSession,
)
from app.errors import AppError, Invalid
from app.labeling.slots import return_leases
from app.models import Role, User
from app.settings import Settings
from app.web.templating import redirect, redirect_with_message, render

router = APIRouter()

WRONG = "The address or the password is wrong."
Text = Annotated[str, Form()]


def get_throttle(request: Request) -> SignInThrottle:
    """The process's one counter of wrong passwords."""
    throttle: SignInThrottle = request.app.state.sign_in_throttle
    return throttle


Throttle = Annotated[SignInThrottle, Depends(get_throttle)]


@router.get("/")
def start_page(user: CurrentUser) -> Response:
    """Where each role begins."""
    return redirect("/queue" if user.role == Role.LABELER else "/projects")


@router.get("/sign-in")
def sign_in_page(
    request: Request,
    session: ReadSession,
    user: OptionalUser,
    next: str = "",  # noqa: A002  # the name in the address
) -> Response:
    """The form; people who are signed in go on."""
    target = target_after_sign_in(next)
    if user is not None:
        return redirect(target)
    context = {
        "next": target,
        "email": "",
        "error": None,
        "nobody_yet": not links.person_exists(session),
    }
    return render(request, "sign_in/page.html", context)


@router.post("/sign-in")
def sign_in(
    request: Request,
    database: AppDatabase,
    settings: AppSettings,
    throttle: Throttle,
    email: Text = "",
    password: Text = "",
    next: Text = "",  # noqa: A002  # the name of the field
) -> Response:
    """Check the password, outside of any write transaction because that is slow on purpose."""
    email, address = email.strip().lower()[:400], request.client.host if request.client else ""
    target = target_after_sign_in(next)
    context = {"next": target, "email": email, "nobody_yet": False}
    try:
        throttle.check(email, address)
        with database.read() as session:
            user = users.authenticate(session, email, password[:2_000])
        if user is None:
            throttle.record_failure(email, address)
            raise Invalid(WRONG, code="wrong_password")
    except AppError as error:
        response: Response = render(
            request, "sign_in/page.html", {**context, "error": error}, int(error.status)
        )
        response.headers.update(error.headers)
        return response
    throttle.record_success(email)
    with database.write() as session:
        old_token = request.cookies.get(sessions.SESSION_COOKIE)
        if old_token:
            sessions.end_session(session, old_token)
        return start_session(request, session, user, settings, target)


def start_session(
    request: Request, session: WriteSession, user: User, settings: Settings, target: str
) -> Response:
    """Sign this browser in and go on to `target`."""
    token = sessions.create_session(
        session,
        user,
        user_agent=request.headers.get("User-Agent", ""),
        days=settings.session_days,
    )
    record(session, user, "user.sign_in", "user", user.id)
    response = redirect(target)
    response.set_cookie(
        sessions.SESSION_COOKIE,
        token,
        max_age=settings.session_days * 86_400,
        httponly=True,
        samesite="lax",
        secure=settings.secure_cookies or request.url.scheme == "https",
    )
    return response


@router.post("/sign-out")
def sign_out(request: Request, session: WriteSession) -> Response:
    """End this browser's session and give the person's tasks back, drafts kept; doing it twice
    does no harm."""
    token = request.cookies.get(sessions.SESSION_COOKIE)
    found = sessions.find_session(session, token) if token else None
    if token and found:
        return_leases(session, found[1])
        sessions.end_session(session, token)
    response = redirect_with_message("/sign-in", "You are signed out.")
    response.delete_cookie(sessions.SESSION_COOKIE)
    return response


@router.get("/setup/{token}")
def setup_page(request: Request, session: ReadSession, token: str) -> Response:
    """The form that creates the first admin."""
    links.get_link(session, token, "setup")
    return render(
        request, "sign_in/setup.html", {"token": token, "email": "", "name": "", "error": None}
    )


@router.post("/setup/{token}")
def setup(
    request: Request,
    database: AppDatabase,
    settings: AppSettings,
    token: str,
    email: Text = "",
    name: Text = "",
    password: Text = "",
) -> Response:
    """Create the first admin and sign them in; the link ends with it."""
    try:
        with database.write() as session:
            links.use_link(session, token, "setup")
            user = users.create_user(
                session, email=email, name=name, role=Role.ADMIN, password=password
            )
            record(session, user, "user.create", "user", user.id, role=user.role, by="setup link")
            return start_session(request, session, user, settings, "/")
    except Invalid as error:
        context = {"token": token, "email": email, "name": name, "error": error}
        return render(request, "sign_in/setup.html", context, int(error.status))


@router.get("/invite/{token}")
def invite_page(request: Request, session: ReadSession, token: str) -> Response:
    """The form by which an invited person chooses a password."""
    link = links.get_link(session, token, "invite")
    invited = users.get_user(session, link.user_id or "")
    return render(
        request, "sign_in/invite.html", {"token": token, "invited": invited, "error": None}
    )


@router.post("/invite/{token}")
def accept_invite(
    request: Request,
    database: AppDatabase,
    settings: AppSettings,
    token: str,
    password: Text = "",
) -> Response:
    """Set the password and sign the person in; the link ends with it."""
    try:
        with database.write() as session:
            link = links.use_link(session, token, "invite")
            user = users.get_user(session, link.user_id or "")
            users.set_password(session, user, password)
            record(session, user, "user.accept_invite", "user", user.id)
            return start_session(request, session, user, settings, "/")
    except Invalid as error:
        with database.read() as session:
            link = links.get_link(session, token, "invite")
            invited = users.get_user(session, link.user_id or "")
        context = {"token": token, "invited": invited, "error": error}
        return render(request, "sign_in/invite.html", context, int(error.status))


def safe_next(target: str) -> str:
    """The path to go on to, if it is one of this site; the start page otherwise.

    Browsers read a backslash as a slash and drop tabs and newlines, so `/\\evil.example` would
    lead away as surely as `//evil.example`.
    """
    if not target.startswith("/") or target.startswith("//"):
        return "/"
    if "\\" in target or any(ord(letter) < 32 for letter in target):
        return "/"
    parts = urlsplit(target)
    return "/" if parts.scheme or parts.netloc else target


def target_after_sign_in(target: str) -> str:
    """Where to go once signed in: never back to the form."""
    target = safe_next(target)
    return "/" if urlsplit(target).path == "/sign-in" else target
