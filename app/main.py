"""The web process: FastAPI, every router, error handlers and static files."""

from fastapi import FastAPI

from app.accounts.throttle import SignInThrottle
from app.api import agreement as api_agreement
from app.api import assignments as api_assignments
from app.api import deletion as api_deletion
from app.api import evaluation as api_evaluation
from app.api import gold as api_gold
from app.api import guidelines as api_guidelines
from app.api import jobs as api_jobs
from app.api import labelers as api_labelers
from app.api import lineage as api_lineage
from app.api import me as api_me
from app.api import models as api_models
from app.api import pairs as api_pairs
from app.api import projects as api_projects
from app.api import rankings as api_rankings
from app.api import rounds as api_rounds
from app.api import snapshot_files as api_snapshot_files
from app.api.document import DocumentedApp
from app.db import Database
from app.dependencies import end_transactions
from app.settings import Settings, load_settings
from app.web import (
    account,
    agreement,
    api_docs,
    deletion,
    evaluation,
    gold,
    guidelines,
    health,
    jobs,
    labelers,
    models,
    my_rankings,
    new_round,
    pairs,
    people,
    project_settings,
    projects,
    promotions,
    prompt_imports,
    prompts,
    queue,
    ranking,
    ranking_imports,
    rankings,
    reward_report,
    rounds,
    sign_in,
    snapshots,
    tuning_comparison,
    uploads,
)
from app.web.errors import install_error_handlers
from app.web.guard import SameOriginGuard
from app.web.last_seen import LastSeen
from app.web.metrics import CountRequests, RequestMetrics
from app.web.security_headers import SecurityHeaders
from app.web.static_files import static_app

API_ROUTERS = [
    # Looked through in this order: the first is called for every ranking.
    api_assignments.router,
    api_projects.router,
    api_guidelines.router,
    api_rounds.router,
    api_gold.router,
    api_me.router,
    api_rankings.router,
    api_pairs.router,
    api_snapshot_files.router,
    api_agreement.router,
    api_labelers.router,
    api_jobs.router,
    api_models.router,
    api_lineage.router,
    api_deletion.router,
    api_evaluation.router,
]
WEB_ROUTERS = [
    health.router,
    api_docs.router,
    sign_in.router,
    account.router,
    people.router,
    projects.router,
    project_settings.router,
    guidelines.router,
    prompts.router,
    prompt_imports.router,
    ranking_imports.router,
    uploads.router,
    new_round.router,
    rounds.router,
    evaluation.router,
    promotions.router,
    gold.router,
    queue.router,
    ranking.router,
    my_rankings.router,
    pairs.router,
    rankings.router,
    snapshots.router,
    agreement.router,
    labelers.router,
    deletion.router,
    jobs.router,
    tuning_comparison.router,
    models.router,
    reward_report.router,
]


WEB_CONNECTIONS = 20
"""Kept open to PostgreSQL by each web process, half of what its threads could use at once."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application on its database; nothing is read from the environment but here."""
    settings = settings or load_settings()
    app = DocumentedApp(title="Podium", version="0.1.0", docs_url=None, redoc_url=None)
    app.state.settings = settings
    app.state.api_routers = API_ROUTERS
    app.state.database = Database(settings.resolved_database_url, pool_size=WEB_CONNECTIONS)
    app.state.sign_in_throttle = SignInThrottle()
    install_error_handlers(app)
    app.add_middleware(SameOriginGuard, public_url=settings.public_url)
    app.add_middleware(LastSeen, database=app.state.database)
    app.add_middleware(SecurityHeaders)
    app.state.request_metrics = RequestMetrics()
    app.add_middleware(CountRequests, metrics=app.state.request_metrics)
    for router in (*API_ROUTERS, *WEB_ROUTERS):
        end_transactions(router)
    for router in API_ROUTERS:
        app.include_router(router, prefix="/api/v1")
    for router in WEB_ROUTERS:
        app.include_router(router, include_in_schema=False)
    app.mount("/static", static_app(), name="static")
    return app
