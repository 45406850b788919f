"""People: creating them, changing what they may do, and letting them in."""

import re
import secrets
from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.accounts.passwords import check_password_rules, hash_password, verify_password
from app.accounts.sessions import end_other_sessions
from app.errors import Conflict, Invalid, NotFound
from app.models import AccountLink, ApiToken, Role, User, utc_now

EMAIL = re.compile(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+")
LONGEST_EMAIL = 320
LONGEST_NAME = 200


def create_user(
    session: Session,
    *,
    email: str,
    role: str,
    name: str = "",
    password: str | None = None,
    simulation_rule: str | None = None,
    handle: str | None = None,
) -> User:
    """Add a person, or a simulated labeler; without a password they cannot sign in yet.

    Raises Invalid naming the field, and Conflict when the address has an account.
    """
    email = clean_email(email)
    name = clean_name(name)
    role = clean_role(role)
    if password is not None:
        check_password_rules(password, email=email)
    if find_user_by_email(session, email) is not None:
        raise email_taken()
    user = User(
        email=email,
        name=name,
        role=role,
        handle=handle or new_handle(simulation_rule),
        password_hash=hash_password(password) if password is not None else None,
        simulation_rule=simulation_rule,
    )
    try:
        with session.begin_nested():
            session.add(user)
    except IntegrityError:
        raise email_taken() from None
    return user


def email_taken() -> Conflict:
    """What a second account with one address gets, also when both come at the same moment."""
    return Conflict(
        "Somebody has an account with this address.",
        code="email_taken",
        fields={"email": "Use an address that has no account."},
    )


def new_handle(simulation_rule: str | None) -> str:
    """What exports call a new person: it tells neither name nor address."""
    start = "simulated" if simulation_rule is not None else "labeler"
    return f"{start}-{secrets.token_hex(4)}"


def clean_email(email: str) -> str:
    """The address in lower case; Invalid unless it looks like one."""
    email = email.strip().lower()
    if len(email) > LONGEST_EMAIL or not EMAIL.fullmatch(email):
        raise Invalid(
            "That is no e-mail address.",
            fields={"email": "An address such as ada@example.org."},
        )
    return email


def clean_name(name: str) -> str:
    """The name without outer spaces; Invalid when too long."""
    name = name.strip()
    if len(name) > LONGEST_NAME:
        raise Invalid(
            "The name is too long.", fields={"name": f"Use at most {LONGEST_NAME} characters."}
        )
    return name


def clean_role(role: str) -> str:
    """The role; Invalid naming the ones there are."""
    if role not in list(Role):
        raise Invalid(
            f"There is no role {role!r}.", fields={"role": "One of: " + ", ".join(Role) + "."}
        )
    return Role(role).value


def get_user(session: Session, user_id: str) -> User:
    """The person; NotFound when absent."""
    user = session.get(User, user_id)
    if user is None:
        raise NotFound("There is no such person.")
    return user


def find_emails(session: Session, user_ids: Sequence[str]) -> dict[str, str]:
    """Addresses by id; ids that are nobody's are left out."""
    rows = session.execute(select(User.id, User.email).where(User.id.in_(set(user_ids))))
    return dict(rows.all())


def find_user_by_email(session: Session, email: str) -> User | None:
    """The person with this address, whatever its case."""
    return session.scalar(select(User).where(User.email == email.strip().lower()))


def authenticate(session: Session, email: str, password: str) -> User | None:
    """The enabled person with this address and password.

    It takes as long for an address nobody has as for a wrong password.
    """
    user = find_user_by_email(session, email)
    usable = user is not None and user.disabled_at is None
    password_is_right = verify_password(user.password_hash if user and usable else None, password)
    return user if password_is_right else None


def set_password(
    session: Session,
    user: User,
    password: str,
    *,
    keep_token: str | None = None,
    field: str = "password",
) -> None:
    """Give the person a new password and sign out every browser but the one that is kept."""
    check_password_rules(password, email=user.email, field=field)
    user.password_hash = hash_password(password)
    end_other_sessions(session, user.id, keep_token)
    session.flush()


def change_role(session: Session, admin: User, user_id: str, role: str) -> User:
    """Change what a person may do; Conflict for the last enabled admin."""
    user = lock_user(session, user_id)
    role = clean_role(role)
    if user.role == role:
        return user
    if role != Role.ADMIN:
        refuse_for_last_admin(session, user)
    record(session, admin, "user.role", "user", user.id, before=user.role, after=role)
    user.role = role
    session.flush()
    return user


def disable_user(session: Session, admin: User, user_id: str) -> User:
    """Shut a person out at once: sessions, tokens and links end; what they ranked stays."""
    user = lock_user(session, user_id)
    if user.disabled_at is not None:
        return user
    refuse_for_last_admin(session, user)
    now = utc_now()
    user.disabled_at = now
    end_other_sessions(session, user.id)
    session.execute(
        update(ApiToken)
        .where(ApiToken.user_id == user.id, ApiToken.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    session.execute(
        update(AccountLink)
        .where(AccountLink.user_id == user.id, AccountLink.used_at.is_(None))
        .values(used_at=now)
    )
    record(session, admin, "user.disable", "user", user.id, email=user.email)
    session.flush()
    return user


def enable_user(session: Session, admin: User, user_id: str) -> User:
    """Let a person in again, with their old password; sessions and tokens stay ended."""
    user = lock_user(session, user_id)
    if user.disabled_at is not None:
        user.disabled_at = None
        record(session, admin, "user.enable", "user", user.id, email=user.email)
        session.flush()
    return user


def lock_user(session: Session, user_id: str) -> User:
    """The person, after every enabled admin's row was locked.

    Two admins who disable each other at the same moment would otherwise both see the other still
    there. (SQLite has one writer at a time anyway.)
    """
    session.execute(
        select(User.id)
        .where(User.role == Role.ADMIN, User.disabled_at.is_(None))
        .order_by(User.id)
        .with_for_update()
    )
    user = session.get(User, user_id, populate_existing=True)
    if user is None:
        raise NotFound("There is no such person.")
    return user


def refuse_for_last_admin(session: Session, user: User) -> None:
    """Conflict when nobody else could let people in again."""
    if user.role != Role.ADMIN or user.disabled_at is not None or user.simulated:
        return
    others = select(User.id).where(
        User.role == Role.ADMIN,
        User.disabled_at.is_(None),
        User.simulation_rule.is_(None),
        User.id != user.id,
    )
    if session.scalar(others.limit(1)) is None:
        raise Conflict(
            "This is the last admin. Make somebody else an admin first.", code="last_admin"
        )
