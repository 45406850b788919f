"""How numbers, times and sizes read on pages."""

from datetime import datetime

import humanize
from markupsafe import Markup

from app.models.base import utc_now


def ago(moment: datetime | None) -> Markup:
    """ "3 min ago" in a <time> whose title is the exact moment; "never" for None."""
    if moment is None:
        return Markup('<span class="text-secondary">never</span>')
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        moment.isoformat(timespec="seconds"),
        moment.strftime("%Y-%m-%d %H:%M:%S"),
        describe_age((utc_now() - moment).total_seconds()),
    )


def describe_age(seconds: float) -> str:
    """How long ago, or how far ahead, in at most three words."""
    size = abs(seconds)
    if size < 10:
        return "now"
    if size < 60:
        text = f"{size:.0f} s"
    elif size < 3600:
        text = f"{size // 60:.0f} min"
    elif size < 48 * 3600:
        text = f"{size // 3600:.0f} h"
    else:
        text = f"{size // 86400:.0f} days"
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def short_time(moment: datetime) -> Markup:
    """The exact moment to the minute, in UTC."""
    return Markup('<time datetime="{}">{} UTC</time>').format(
        moment.isoformat(timespec="seconds"), moment.strftime("%Y-%m-%d %H:%M")
    )


def duration(seconds: float | None) -> str:
    """Seconds as "2 m 10 s"; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} m"
    return f"{minutes} m {rest} s" if minutes else f"{rest} s"


def number(value: float | None, digits: int | None = None) -> str:
    """12,345; a float with `digits` decimals (2 when not said); a dash for None."""
    if value is None:
        return "–"
    if digits is None:
        digits = 0 if isinstance(value, int) else 2
    return f"{value:,.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 1 as a percentage; a dash for None."""
    return "–" if share is None else f"{share:.{digits}%}"


def filesize(size_bytes: int | None) -> str:
    """Bytes as "4.2 MB"; a dash for None."""
    return "–" if size_bytes is None else humanize.naturalsize(size_bytes)


def plural(count: int, one: str, many: str | None = None) -> str:
    """ "1 pair", "2 pairs": the number with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


BROWSERS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"),
            ("Safari", "Safari"))  # fmt: skip
SYSTEMS = (("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"),
           ("Mac OS", "macOS"), ("Linux", "Linux"))  # fmt: skip


def browser_name(user_agent: str) -> str:
    """A User-Agent as "Firefox on Linux"; its own first words when it is something else."""
    browser = next((name for mark, name in BROWSERS if f"{mark}/" in user_agent), None)
    system = next((name for mark, name in SYSTEMS if mark in user_agent), None)
    if browser is None:
        return user_agent[:40] or "Unknown browser"
    return f"{browser} on {system}" if system else browser
