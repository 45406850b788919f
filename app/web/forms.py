"""Submitted forms in plain `def` routes."""

from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import FormData

from app.errors import Invalid


async def read_form(request: Request) -> FormData:
    """The submitted form."""
    return await request.form()


def text_of(form: FormData, name: str) -> str:
    """One field as text; empty where it is absent or a file."""
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def texts_of(form: FormData, name: str) -> list[str]:
    """Every value of a field that comes more than once."""
    return [value for value in form.getlist(name) if isinstance(value, str)]


def read_whole(text: str) -> int:
    """A whole number; 0 for what is none, which the services refuse by name."""
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def read_percent(name: str, text: str, *, most: int) -> float | None:
    """A field in percent as a share, None where it is empty; `Invalid` where it is none."""
    text = text.strip().removesuffix("%").replace(",", ".")
    if not text:
        return None
    try:
        percent = float(text)
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= most:
        raise Invalid(
            f"A share must be from 0 to {most} percent.", fields={name: f"from 0 to {most}"}
        )
    return percent / 100


FormFields = Annotated[FormData, Depends(read_form)]
