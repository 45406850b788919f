"""The app in a real Chromium: a live server on a free port, browsers of people signed in to it,
and the accessibility check."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from app.accounts.sessions import SESSION_COOKIE, create_session
from app.accounts.users import create_user
from app.db import Database
from app.main import create_app
from app.models import Base, User
from app.settings import ROOT, Settings

AXE = ROOT / "static/vendor/axe/axe.min.js"
LAUNCH = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


@dataclass(frozen=True, kw_only=True)
class LiveServer:
    """The web process on a SQLite database of its own."""

    url: str
    database: Database
    settings: Settings


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a test module, the system's where there is one.

    Playwright keeps an event loop running in this thread: not for the whole session, or tests of
    other modules could not run one.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=LAUNCH)
        yield browser
        browser.close()


@contextmanager
def serve(data_dir: Path) -> Iterator[LiveServer]:
    """A running app with empty tables, its data in this new folder."""
    settings = Settings(data_dir=data_dir, database_url=None)
    settings.data_dir.mkdir(parents=True)
    app = create_app(settings)
    Base.metadata.create_all(app.state.database.writer)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="live-server", daemon=True
        )
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield LiveServer(
            url=f"http://127.0.0.1:{listener.getsockname()[1]}",
            database=app.state.database,
            settings=settings,
        )
        server.should_exit = True
        thread.join(timeout=10)
    app.state.database.dispose()


@pytest.fixture
def live_server(tmp_path: Path) -> Iterator[LiveServer]:
    """A running app with empty tables."""
    with serve(tmp_path / "data") as server:
        yield server


@pytest.fixture
def make_person(live_server: LiveServer) -> Callable[..., User]:
    """A factory of people: `make_person("labeler", name=…)`."""
    count = 0

    def make(role: str = "labeler", **fields: str) -> User:
        nonlocal count
        count += 1
        fields.setdefault("email", f"{role}{count}@example.org")
        with live_server.database.write() as session:
            return create_user(session, role=role, **fields)

    return make


@pytest.fixture
def page_as(
    browser: Browser, live_server: LiveServer, make_person: Callable[..., User]
) -> Iterator[Callable[..., Page]]:
    """A factory of pages whose addresses are relative to the live server.

    `page_as("admin")` is signed in as a new admin, `page_as(user=someone)` as that person,
    `page_as(None)` is nobody. `theme` is light or dark, `viewport` a size; other options
    (`java_script_enabled=False`, `has_touch=True`, …) go to the browser context. A script error or
    a breach of the content security policy fails the test.
    """
    contexts = []
    problems: list[str] = []

    def open_page(
        role: str | None = "labeler",
        *,
        user: User | None = None,
        theme: str = "light",
        viewport: dict[str, int] | None = None,
        **options: Any,
    ) -> Page:
        context = browser.new_context(
            base_url=live_server.url,
            viewport=viewport or DESKTOP,
            color_scheme=theme,
            reduced_motion="reduce",
            **options,
        )
        contexts.append(context)
        context.set_default_timeout(10_000)
        if user is None and role is not None:
            user = make_person(role)
        if user is not None:
            with live_server.database.write() as session:
                token = create_session(session, user)
            context.add_cookies([{"name": SESSION_COOKIE, "value": token, "url": live_server.url}])
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"{page.url}: {error}"))
        page.on(
            "console",
            lambda message: (
                problems.append(f"{page.url}: {message.text}")
                if "Content Security Policy" in message.text
                else None
            ),
        )
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def axe() -> Callable[..., list[str]]:
    """`axe(page)` gives every breach of WCAG 2.2 AA and of axe's best practices on the page, empty
    when there is none. The order of headings is left out: Markdown of models and people brings
    headings of its own."""

    def check(page: Page, *, within: str = "html") -> list[str]:
        page.evaluate(AXE.read_text())
        found = page.evaluate(
            """async (within) => (await axe.run(within, {
                 runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
                 rules: {"heading-order": {enabled: false}},
               })).violations.flatMap((rule) => rule.nodes.map((node) =>
                 `${rule.id}: ${node.target.join(" ")}: ${node.failureSummary}`))""",
            within,
        )
        return list(found)

    return check
