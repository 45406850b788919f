"""One station of the loop page."""

from dataclasses import dataclass

from app.projects.next_step import JobProgress
from app.web.next_steps import Link


@dataclass(frozen=True, kw_only=True)
class Note:
    """A line under a station's number; `tone` is "quiet", "simulated" or "problem"."""

    text: str
    tone: str = "quiet"
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class Bar:
    """How far something is: `value` of `maximum`, and what that means."""

    value: float
    maximum: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Station:
    """One station. `tone`: "empty" before anything is there, "done", "working" or "failed"."""

    key: str
    title: str
    icon: str
    meaning: str
    tone: str = "empty"
    value: int | str = 0
    unit: str = ""
    notes: tuple[Note, ...] = ()
    bar: Bar | None = None
    job: JobProgress | None = None
    links: tuple[Link, ...] = ()
    action: Link | None = None
    is_next: bool = False
