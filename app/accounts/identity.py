"""Who is asking."""

from fastapi import Request
from sqlalchemy.orm import Session

from app.models import User


def find_user_of_request(session: Session, request: Request) -> User | None:
    """The person whose bearer token or session cookie the request carries."""
    return None
