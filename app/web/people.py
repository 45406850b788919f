"""People: who has an account, what they may do, and what was done."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.accounts import links, users
from app.accounts.audit import list_events, record
from app.accounts.listing import list_people
from app.dependencies import Admin, AppDatabase, AppSettings, ReadSession, WriteSession
from app.errors import AppError, Conflict, Invalid
from app.models import Role, User
from app.settings import Settings
from app.web.templating import redirect_with_message, render

router = APIRouter()

EVENTS_PER_PAGE = 50
Text = Annotated[str, Form()]


@router.get("/people")
def people_page(request: Request, session: ReadSession, admin: Admin) -> Response:
    """Everybody with an account, and the form that invites one more."""
    return render(request, "people/page.html", people_context(session))


def people_context(
    session: Session,
    *,
    error: AppError | None = None,
    form: dict[str, str] | None = None,
    invited: User | None = None,
    invite_url: str = "",
) -> dict[str, Any]:
    """What the page shows; the link of a fresh invitation is in it just this once."""
    return {
        "people": list_people(session),
        "roles": [role.value for role in Role],
        "error": error,
        "form": form or {"email": "", "name": "", "role": Role.LABELER.value},
        "invited": invited,
        "invite_url": invite_url,
    }


def invite_url(request: Request, settings: Settings, token: str) -> str:
    """The whole address of an invitation."""
    base = settings.public_url or str(request.base_url)
    return f"{base.rstrip('/')}/invite/{token}"


@router.post("/people")
def create_person(
    request: Request,
    database: AppDatabase,
    settings: AppSettings,
    admin: Admin,
    email: Text = "",
    name: Text = "",
    role: Text = Role.LABELER.value,
) -> Response:
    """Add a person and show their invitation once (so the answer is the page and no redirect)."""
    form = {"email": email, "name": name, "role": role}
    try:
        with database.write() as session:
            user = users.create_user(session, email=email, name=name, role=role)
            token = links.create_invite_link(session, user)
            record(session, admin, "user.create", "user", user.id, email=user.email, role=user.role)
    except (Invalid, Conflict) as error:
        with database.read() as session:
            context = people_context(session, error=error, form=form)
        return render(request, "people/page.html", context, int(error.status))
    with database.read() as session:
        url = invite_url(request, settings, token)
        context = people_context(session, invited=user, invite_url=url)
    return render(request, "people/page.html", context)


@router.post("/people/{user_id}/invite")
def renew_invitation(
    request: Request, database: AppDatabase, settings: AppSettings, admin: Admin, user_id: str
) -> Response:
    """A new link by which the person chooses a password: a lost invitation or password."""
    with database.write() as session:
        user = users.get_user(session, user_id)
        if user.simulated or user.disabled_at is not None:
            raise Conflict("Simulated labelers and disabled people cannot sign in.")
        token = links.create_invite_link(session, user)
        record(session, admin, "user.invite", "user", user.id, email=user.email)
    with database.read() as session:
        url = invite_url(request, settings, token)
        context = people_context(session, invited=user, invite_url=url)
    return render(request, "people/page.html", context)


@router.post("/people/{user_id}/role")
def change_role(session: WriteSession, admin: Admin, user_id: str, role: Text = "") -> Response:
    """Change what a person may do; the last admin stays one."""
    user = users.change_role(session, admin, user_id, role)
    return redirect_with_message("/people", f"{user.email} is now {user.role}.")


@router.post("/people/{user_id}/disable")
def disable(session: WriteSession, admin: Admin, user_id: str) -> Response:
    """Shut a person out at once; their rankings stay."""
    user = users.disable_user(session, admin, user_id)
    return redirect_with_message("/people", f"{user.email} is disabled and signed out everywhere.")


@router.post("/people/{user_id}/enable")
def enable(session: WriteSession, admin: Admin, user_id: str) -> Response:
    """Let a person in again."""
    user = users.enable_user(session, admin, user_id)
    return redirect_with_message("/people", f"{user.email} can sign in again.")


@router.get("/people/audit")
def audit_page(request: Request, session: ReadSession, admin: Admin, before: str = "") -> Response:
    """Who did what, newest first."""
    events = list_events(session, before=before or None, limit=EVENTS_PER_PAGE + 1)
    shown = events[:EVENTS_PER_PAGE]
    context = {
        "events": shown,
        "addresses": users.find_emails(session, [event.subject_id for event, _ in shown]),
        "first_href": "/people/audit" if before else "",
        "next_href": f"/people/audit?before={shown[-1][0].id}" if len(events) > len(shown) else "",
    }
    return render(request, "people/audit.html", context)
