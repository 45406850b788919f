"""Errors rendered once for HTML and once for JSON (RFC 9457 problem+json)."""

from fastapi import FastAPI


def install_error_handlers(app: FastAPI) -> None:
    """Make every error a page under `/` and a problem document under `/api`."""
