"""Is it alive, is it ready, and how is it doing: for supervisors, proxies and Prometheus."""

from functools import lru_cache

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.assets import list_missing_assets
from app.dependencies import AppDatabase, ReadSession
from app.models import Job, JobState, Ranking
from app.settings import ROOT
from app.web.metrics import RequestMetrics

router = APIRouter()


@router.get("/healthz")
def healthz() -> Response:
    """The process answers; nothing else is looked at."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
def readyz(database: AppDatabase) -> Response:
    """200 when this process can serve people, 503 with the reasons otherwise."""
    checks = {
        "database": check_database(database),
        "assets": check_assets(),
    }
    problems = {name: problem for name, problem in checks.items() if problem}
    body = {
        "status": "unavailable" if problems else "ready",
        "checks": {name: problem or "ok" for name, problem in checks.items()},
    }
    return JSONResponse(body, 503 if problems else 200, headers={"Cache-Control": "no-store"})


def check_database(database: AppDatabase) -> str:
    """What keeps the database from being used, or nothing."""
    try:
        with database.read() as session:
            found = set(session.scalars(text("SELECT version_num FROM alembic_version")))
    except SQLAlchemyError as error:
        return f"cannot be read ({type(error).__name__}); is it running, was it migrated?"
    wanted = read_migration_heads()
    if found != wanted:
        return (
            f"is at migration {', '.join(sorted(found)) or 'none'} and this release needs "
            f"{', '.join(sorted(wanted))}: run `podium migrate`"
        )
    return ""


@lru_cache(maxsize=1)
def read_migration_heads() -> frozenset[str]:
    """The newest migrations in this release's files; alembic is imported for this alone."""
    from alembic.script import ScriptDirectory

    return frozenset(ScriptDirectory(str(ROOT / "migrations")).get_heads())


def check_assets() -> str:
    """Which browser assets are missing, or nothing."""
    missing = list_missing_assets(ROOT)
    return f"missing {', '.join(missing)}: run `podium assets`" if missing else ""


@router.get("/metrics")
def metrics(request: Request, session: ReadSession) -> Response:
    """Prometheus text: requests of this process, jobs and rankings of the whole deployment."""
    registry: RequestMetrics = request.app.state.request_metrics
    content, media_type = registry.render(count_jobs(session), count_rankings(session))
    return Response(content, media_type=media_type)


def count_jobs(session: Session) -> dict[str, int]:
    """Jobs by state, with zero for states nothing is in."""
    rows = session.execute(select(Job.state, func.count()).group_by(Job.state))
    return {state.value: 0 for state in JobState} | dict(rows.all())


def count_rankings(session: Session) -> dict[str, int]:
    """Current rankings by where they came from."""
    rows = session.execute(
        select(Ranking.source, func.count()).where(Ranking.current).group_by(Ranking.source)
    )
    return dict(rows.all())
