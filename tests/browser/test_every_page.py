"""Every page of the app, filled with everything, is accessible and fits every screen."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from fastapi.routing import APIRoute
from playwright.sync_api import Browser, Page

from app.accounts.links import create_setup_link
from app.accounts.sessions import SESSION_COOKIE, create_session
from app.main import WEB_ROUTERS
from tests.browser.conftest import LiveServer, serve
from tests.browser.page_checks import (
    find_axe_violations,
    find_bad_structure,
    find_keyboard_problems,
    find_overflow,
    find_overlaps,
    find_small_targets,
)
from tests.browser.whole_project import WholeProject, fill
from tests.browser.whole_uploads import add_uploads

SMALLEST = {"width": 320, "height": 640}
DESKTOP = {"width": 1280, "height": 800}
MOST_UNFOLDED = 12
LARGEST = {"width": 3840, "height": 2160}


@dataclass(frozen=True)
class Shown:
    """A page: the route that gives it, who opens it, and its address where that is not the
    route's own with the ids of the whole project."""

    route: str
    role: str = "admin"
    address: str = ""

    def __str__(self) -> str:
        return f"{self.address or self.route} as {self.role}"


PAGES = [
    Shown("/sign-in", "nobody"),
    Shown("/invite/{token}", "nobody", "/invite/{invite}"),
    Shown("/setup/{token}", "first", "/setup/{setup}"),
    Shown("/account"),
    Shown("/account", "labeler"),
    Shown("/people"),
    Shown("/people/audit"),
    Shown("/api/docs", "researcher"),
    Shown("/projects"),
    Shown("/projects", "researcher"),
    Shown("/projects/new"),
    Shown("/projects/{project_id}"),
    Shown("/projects/{project_id}", "researcher"),
    Shown("/projects/{project_id}", "admin", "/projects/{empty_id}"),
    Shown("/projects/{project_id}/settings"),
    Shown("/projects/{project_id}/guidelines"),
    Shown("/projects/{project_id}/prompts"),
    Shown(
        "/projects/{project_id}/prompts",
        "admin",
        "/projects/{project_id}/prompts?query=nothing",
    ),
    Shown("/projects/{project_id}/prompts/add"),
    Shown(
        "/projects/{project_id}/prompts/add/{upload_id}",
        "admin",
        "/projects/{project_id}/prompts/add/{waiting_prompts}",
    ),
    Shown(
        "/projects/{project_id}/prompts/add/{upload_id}",
        "admin",
        "/projects/{project_id}/prompts/add/{unknown_prompts}",
    ),
    Shown("/projects/{project_id}/rankings/import"),
    Shown(
        "/projects/{project_id}/rankings/import/{upload_id}",
        "admin",
        "/projects/{project_id}/rankings/import/{waiting_rankings}",
    ),
    Shown(
        "/projects/{project_id}/rankings/import/{upload_id}",
        "admin",
        "/projects/{project_id}/rankings/import/{strange_rankings}",
    ),
    Shown(
        "/projects/{project_id}/imports/{upload_id}",
        "admin",
        "/projects/{project_id}/imports/{done_import}",
    ),
    Shown(
        "/projects/{project_id}/imports/{upload_id}",
        "admin",
        "/projects/{project_id}/imports/{stopped_import}",
    ),
    Shown("/projects/{project_id}/rounds"),
    Shown("/projects/{project_id}/rounds", "admin", "/projects/{empty_id}/rounds"),
    Shown("/projects/{project_id}/rounds/new"),
    Shown("/rounds/{round_id}"),
    Shown("/rounds/{round_id}", "admin", "/rounds/{generating_round_id}"),
    Shown("/rounds/{round_id}", "admin", "/rounds/{short_round_id}"),
    Shown("/jobs/{job_id}/evaluation", "admin", "/jobs/{tuned_job_id}/evaluation"),
    Shown("/rounds/{round_id}/evaluation", "admin", "/rounds/{ab_round_id}/evaluation"),
    Shown(
        "/rounds/{round_id}/evaluation",
        "researcher",
        "/rounds/{ab_round_id}/evaluation?said=against_model&labeler=nadia",
    ),
    Shown("/rounds/{round_id}/evaluation", "admin", "/rounds/{unranked_round_id}/evaluation"),
    Shown(
        "/rounds/{round_id}/evaluation",
        "researcher",
        "/rounds/{ab_round_id}/evaluation?candidate=smollm2-135m-instruct&baseline={asked_policy_id}",
    ),
    Shown("/rounds/{round_id}", "admin", "/rounds/{ab_round_id}"),
    Shown("/projects/{project_id}/promotions"),
    Shown(
        "/projects/{project_id}/promotions",
        "admin",
        "/projects/{evaluation_project_id}/promotions",
    ),
    Shown("/projects/{project_id}", "admin", "/projects/{evaluation_project_id}"),
    Shown("/jobs/{job_id}", "admin", "/jobs/{compared_job_id}"),
    Shown("/models/{model_id}", "admin", "/models/{asked_policy_id}"),
    Shown("/projects/{project_id}/pairs"),
    Shown("/projects/{project_id}/pairs", "admin", "/projects/{empty_id}/pairs"),
    Shown(
        "/projects/{project_id}/pairs",
        "admin",
        "/projects/{project_id}/pairs?view=rankings&length=longer&min_length_difference=2"
        "&without_flag=unsafe&repeats=none",
    ),
    Shown(
        "/projects/{project_id}/pairs", "researcher", "/projects/{project_id}/pairs?labeler=nobody"
    ),
    Shown("/projects/{project_id}/pairs/counts"),
    Shown("/projects/{project_id}/pairs/plots"),
    Shown("/projects/{project_id}/pairs/plots", "admin", "/projects/{empty_id}/pairs/plots"),
    Shown("/rankings/{ranking_id}"),
    Shown("/rankings/{ranking_id}", "researcher", "/rankings/{earlier_ranking_id}"),
    Shown("/rankings/{ranking_id}", "admin", "/rankings/{revoked_ranking_id}"),
    Shown("/rankings/{ranking_id}", "admin", "/rankings/{erased_ranking_id}"),
    Shown("/rankings/{ranking_id}", "admin", "/rankings/{imported_ranking_id}"),
    Shown("/projects/{project_id}/snapshots"),
    Shown("/projects/{project_id}/snapshots", "admin", "/projects/{empty_id}/snapshots"),
    Shown("/snapshots/{snapshot_id}", "researcher"),
    Shown("/snapshots/{snapshot_id}", "admin", "/snapshots/{split_snapshot_id}"),
    Shown(
        "/snapshots/{snapshot_id}/diff",
        "researcher",
        "/snapshots/{snapshot_id}/diff?against={split_snapshot_id}",
    ),
    Shown("/projects/{project_id}/agreement"),
    Shown("/projects/{project_id}/agreement", "admin", "/projects/{empty_id}/agreement"),
    Shown("/projects/{project_id}/people"),
    Shown("/projects/{project_id}/people", "admin", "/projects/{empty_id}/people"),
    Shown(
        "/projects/{project_id}/people/labeler",
        "admin",
        "/projects/{project_id}/people/labeler?name={labeler}",
    ),
    Shown(
        "/projects/{project_id}/people/labeler",
        "admin",
        "/projects/{project_id}/people/labeler?name={revoked}",
    ),
    Shown(
        "/projects/{project_id}/people/labeler/revoke",
        "admin",
        "/projects/{project_id}/people/labeler/revoke?name={labeler}",
    ),
    Shown(
        "/projects/{project_id}/people/labeler/erase",
        "admin",
        "/projects/{project_id}/people/labeler/erase?name={labeler}",
    ),
    Shown("/projects/{project_id}/gold"),
    Shown("/projects/{project_id}/gold", "admin", "/projects/{empty_id}/gold"),
    Shown("/tasks/{task_id}/gold"),
    Shown("/tasks/{task_id}/gold", "admin", "/tasks/{ordinary_task_id}/gold"),
    Shown("/projects/{project_id}/jobs/new"),
    Shown("/projects/{project_id}/jobs/new", "admin", "/projects/{project_id}/jobs/new?kind=ppo"),
    Shown(
        "/projects/{project_id}/jobs/new",
        "admin",
        "/projects/{project_id}/jobs/new?kind=reward_model",
    ),
    Shown("/projects/{project_id}/jobs/compare"),
    Shown(
        "/projects/{project_id}/jobs/compare",
        "admin",
        "/projects/{project_id}/jobs/compare?job={compared_job_id}",
    ),
    Shown("/projects/{project_id}/jobs/compare", "admin", "/projects/{empty_id}/jobs/compare"),
    Shown("/jobs"),
    Shown("/jobs/{job_id}", "admin", "/jobs/{running_job_id}"),
    Shown("/jobs/{job_id}", "admin", "/jobs/{done_job_id}"),
    Shown("/jobs/{job_id}", "admin", "/jobs/{tuned_job_id}"),
    Shown("/jobs/{job_id}", "admin", "/jobs/{failed_job_id}"),
    Shown("/models"),
    Shown("/models/new"),
    Shown("/models/{model_id}", "admin", "/models/{reward_model_id}"),
    Shown("/models/{model_id}", "admin", "/models/{policy_id}"),
    Shown("/models/{model_id}/report", "admin", "/models/{reward_model_id}/report"),
    Shown("/models/{model_id}/report", "researcher", "/models/{collapsed_id}/report"),
    Shown("/models/{model_id}/report", "admin", "/models/{earlier_id}/report"),
    Shown("/models/{model_id}/report", "researcher", "/models/{registered_id}/report"),
    Shown("/models/{model_id}", "researcher", "/models/{served_id}"),
    Shown("/my-rankings", "labeler"),
    Shown("/my-rankings", "idle"),
    Shown("/queue", "labeler"),
    Shown("/queue", "idle"),
    Shown("/projects/{project_id}/rank", "idle"),
    Shown("/projects/{project_id}/rank", "idle", "/projects/{empty_id}/rank"),
    Shown("/assignments/{assignment_id}", "labeler"),
    Shown("/assignments/{assignment_id}", "labeler", "/assignments/{ranked_assignment_id}"),
    Shown("/assignments/{assignment_id}", "labeler", "/assignments/{skipped_assignment_id}"),
]
"""Every address of the app that gives a page, with whoever it is for."""

NOT_PAGES = {
    "/": "leads on to another page",
    "/healthz": "for machines",
    "/readyz": "for machines",
    "/metrics": "for machines",
    "/assignments/{assignment_id}/texts": "for the page's script",
    "/projects/{project_id}/loop": "a fragment of the project's page",
    "/projects/{project_id}/rounds/estimate": "a fragment of the form of a round",
    "/jobs/{job_id}/evaluation/plan": "a fragment of the form that asks people",
    "/projects/{project_id}/pairs/export": "leads on to a file",
    "/snapshots/{snapshot_id}/download": "leads on to a file",
    "/projects/{project_id}/imports/{upload_id}/rejected.csv": "a file",
}


@dataclass
class Looker:
    """One person's browser, used again for every page they open."""

    page: Page
    ids: dict[str, str]
    problems: list[str] = field(default_factory=list)
    """What the console said."""

    def open(self, shown: Shown) -> Page:
        """The page, once what it loads has come."""
        self.problems.clear()
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size(DESKTOP)
        self.page.goto((shown.address or shown.route).format(**self.ids), wait_until="load")
        return self.page


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One app for all tests of this module, which only look."""
    with serve(tmp_path_factory.mktemp("whole") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def whole(server: LiveServer) -> WholeProject:
    """The project with everything in it."""
    whole = fill(server.database)
    uploads_dir = server.settings.uploads_dir
    whole.ids.update(add_uploads(server.database, uploads_dir, whole.people["admin"], whole.ids))
    return whole


@pytest.fixture(scope="module")
def fresh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """An app that nobody has an account of yet."""
    with serve(tmp_path_factory.mktemp("fresh") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def look(
    browser: Browser, server: LiveServer, fresh_server: LiveServer, whole: WholeProject
) -> Iterator[Callable[[str], Looker]]:
    """A factory of browsers by role, each made once."""
    lookers: dict[str, Looker] = {}

    def make(role: str) -> Looker:
        at, ids = (fresh_server, {}) if role == "first" else (server, whole.ids)
        context = browser.new_context(base_url=at.url, reduced_motion="reduce")
        context.set_default_timeout(10_000)
        with at.database.write() as session:
            if role == "first":
                ids = {"setup": create_setup_link(session) or ""}
            elif role != "nobody":
                token = create_session(session, whole.people[role])
                cookie = {"name": SESSION_COOKIE, "value": token, "url": at.url}
                context.add_cookies([cookie])
        looker = Looker(context.new_page(), ids)
        looker.page.on("pageerror", lambda error: looker.problems.append(str(error)))
        looker.page.on(
            "console",
            lambda message: (
                looker.problems.append(message.text) if message.type == "error" else None
            ),
        )
        return looker

    def find(role: str) -> Looker:
        if role not in lookers:
            lookers[role] = make(role)
        return lookers[role]

    yield find
    for looker in lookers.values():
        looker.page.context.close()


def test_every_page_is_in_the_list() -> None:
    routes = {
        route.path
        for router in WEB_ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and "GET" in route.methods
    }
    listed = {shown.route for shown in PAGES}
    assert routes - listed - NOT_PAGES.keys() == set(), "pages that no test looks at"
    assert listed | NOT_PAGES.keys() <= routes, "addresses the app does not have"
    assert listed.isdisjoint(NOT_PAGES)


@pytest.mark.parametrize("shown", PAGES, ids=str)
def test_the_page_is_accessible_and_fits_every_screen(
    look: Callable[[str], Looker], shown: Shown
) -> None:
    looker = look(shown.role)
    page = looker.open(shown)
    found = {
        "structure": find_bad_structure(page),
        "light": find_axe_violations(page),
        "overlaps": find_overlaps(page),
    }
    turn_dark(page)
    unfold(page)
    found |= {
        "dark, unfolded": find_axe_violations(page),
        "unfolded overlaps": find_overlaps(page),
        "overflow": find_overflow(page),
    }
    page.set_viewport_size(LARGEST)
    found |= {"4K overflow": find_overflow(page), "4K overlaps": find_overlaps(page)}
    page.set_viewport_size(SMALLEST)
    found |= {
        "320 px overflow": find_overflow(page),
        "320 px overlaps": find_overlaps(page),
        "320 px targets": find_small_targets(page),
        "keyboard": find_keyboard_problems(page),
        "console": looker.problems,
    }
    problems = [f"{check}: {what}" for check, all_of_it in found.items() for what in all_of_it]
    assert not problems, "\n".join(problems)


def turn_dark(page: Page) -> None:
    """As the system's own change of theme does, once all colours have followed."""
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("() => document.documentElement.dataset.bsTheme === 'dark'")
    page.evaluate(
        "() => Promise.all(document.getAnimations().map((one) => one.finished.catch(() => 0)))"
    )


def unfold(page: Page) -> None:
    """Open what is folded away; of many like one another some. Menus stay closed: they lie over
    the page by intention."""
    page.evaluate(
        """most => [...document.querySelectorAll("details:not([data-menu])")].slice(0, most)
             .forEach((one) => one.open = true)""",
        MOST_UNFOLDED,
    )


def test_every_page_has_a_title_of_its_own(look: Callable[[str], Looker]) -> None:
    routes: dict[str, set[str]] = {}
    for shown in PAGES:
        page = look(shown.role).page
        text = page.request.get(
            (shown.address or shown.route).format(**look(shown.role).ids)
        ).text()
        title = re.search(r"<title>(.*?)</title>", text, re.DOTALL)
        assert title, shown
        routes.setdefault(title[1], set()).add(shown.route)
    assert {title: sorted(same) for title, same in routes.items() if len(same) > 1} == {}
