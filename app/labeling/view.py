"""How a labeler likes to see completions, remembered with their account."""

from dataclasses import dataclass
from zoneinfo import available_timezones

from sqlalchemy.orm import Session

from app.models import User

LAYOUTS: dict[str, str] = {
    "stacked": "One below the other",
    "two": "Two side by side",
    "three": "Three side by side",
    "one": "One against one",
}
DEFAULT_LAYOUT = "two"


@dataclass(frozen=True, kw_only=True)
class RankingView:
    """What the ranking page looks like to one person."""

    layout: str
    guidelines_open: bool


def get_view(user: User) -> RankingView:
    """The person's choice; two columns and open guidelines until they made one."""
    layout = user.preferences.get("layout")
    return RankingView(
        layout=layout if layout in LAYOUTS else DEFAULT_LAYOUT,
        guidelines_open=user.preferences.get("guidelines") != "closed",
    )


def save_view(
    session: Session, user: User, *, layout: str | None = None, guidelines: str | None = None
) -> None:
    """Remember the choices that are known ones; leave the others as they were."""
    changes = {}
    if layout in LAYOUTS:
        changes["layout"] = layout
    if guidelines in ("open", "closed"):
        changes["guidelines"] = guidelines
    _save(session, user, changes)


def save_time_zone(session: Session, user: User, name: str) -> None:
    """Remember where the person is, so that "today" begins at their midnight."""
    if name and name != user.preferences.get("time_zone") and name in available_timezones():
        _save(session, user, {"time_zone": name})


def _save(session: Session, user: User, changes: dict[str, str]) -> None:
    if not changes:
        return
    stored = session.get_one(User, user.id)
    stored.preferences = {**stored.preferences, **changes}
    session.flush()
