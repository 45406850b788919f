"""What Prometheus reads: requests by route and status, and how long they took."""

import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class RequestMetrics:
    """The counters of one app, in a registry of its own so that several apps can live at once."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ["method", "route"]
        self.requests = Counter(
            "podium_requests", "Requests answered.", [*labels, "status"], registry=self.registry
        )
        self.latency = Histogram(
            "podium_request_seconds",
            "Seconds from the request to the end of its answer; event streams are left out.",
            labels,
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.jobs = Gauge("podium_jobs", "Jobs by state.", ["state"], registry=self.registry)
        self.rankings = Gauge(
            "podium_rankings", "Current rankings by source.", ["source"], registry=self.registry
        )

    def observe(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count one answer; None seconds for one that streams for as long as a page is open."""
        self.requests.labels(method, route, str(status)).inc()
        if seconds is not None:
            self.latency.labels(method, route).observe(seconds)

    def render(self, jobs: dict[str, int], rankings: dict[str, int]) -> tuple[bytes, str]:
        """Everything as text, with its media type."""
        for state, count in jobs.items():
            self.jobs.labels(state).set(count)
        for source, count in rankings.items():
            self.rankings.labels(source).set(count)
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class CountRequests:
    """Count every answer under its route's template, never under its address: addresses hold ids
    and one-time links."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and look at the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        status, streams = 500, False

        async def send_and_look(message: Message) -> None:
            nonlocal status, streams
            if message["type"] == "http.response.start":
                status = message["status"]
                media_type = dict(message.get("headers", ())).get(b"content-type", b"")
                streams = media_type.startswith(b"text/event-stream")
            await send(message)

        try:
            await self.app(scope, receive, send_and_look)
        finally:
            seconds = None if streams else time.perf_counter() - began
            self.metrics.observe(scope["method"], route_of(scope), status, seconds)


def route_of(scope: Scope) -> str:
    """The template of the matched route, such as `/jobs/{job_id}`."""
    route: Any = scope.get("route")
    if route is not None:
        return str(getattr(route, "path", "other"))
    return "/static" if scope.get("path", "").startswith("/static/") else "other"
