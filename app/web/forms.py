"""Submitted forms in plain `def` routes."""

from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import FormData


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


FormFields = Annotated[FormData, Depends(read_form)]
