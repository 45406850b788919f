import re
from datetime import timedelta

import pytest
from jinja2 import UndefinedError

from app.models import utc_now
from app.settings import ROOT
from app.web import filters, templating

PAGES = ["/account", "/api/docs", "/people", "/people/audit"]


def read_nav(html: str) -> list[str]:
    nav = re.search(r'<nav class="shell-nav".*?</nav>', html, re.DOTALL).group(0)
    return re.findall(r"<span>(\w+)</span>", nav)


def test_the_navigation_offers_what_the_role_may_open(
    admin_client, researcher_client, labeler_client
):
    offered = {
        "admin": read_nav(admin_client.get("/account").text),
        "researcher": read_nav(researcher_client.get("/account").text),
        "labeler": read_nav(labeler_client.get("/account").text),
    }
    assert offered == {
        "admin": ["Projects", "Rank", "Jobs", "Models", "People"],
        "researcher": ["Projects", "Rank", "Models"],
        "labeler": ["Rank"],
    }


@pytest.mark.parametrize("path", PAGES)
def test_pages_have_one_heading_a_title_landmarks_and_a_skip_link(admin_client, path):
    page = admin_client.get(path).text
    assert page.count("<h1") == 1
    assert re.search(r"<title>[^<]+ · Podium</title>", page)
    assert '<a class="skip-link" href="#main">' in page
    assert '<main id="main"' in page
    assert 'role="status" aria-live="polite"' in page


@pytest.mark.parametrize("path", [*PAGES, "/nowhere"])
def test_pages_hold_nothing_inline(admin_client, path):
    page = admin_client.get(path).text
    assert not re.search(r"<script(?![^>]*\ssrc=)", page)
    assert not re.search(r"\sstyle=|<style|\son\w+=|javascript:", page)
    assert not re.search(r'(src|href)="(https?:)?//', page)


def test_ids_of_a_page_are_unique(admin_client):
    for path in PAGES:
        ids = re.findall(r'\sid="([^"]+)"', admin_client.get(path).text)
        assert len(ids) == len(set(ids)), path


def test_the_page_of_here_is_marked_in_the_navigation(admin_client):
    page = admin_client.get("/people/audit").text
    assert re.search(r'href="/people" aria-current="page"', page)
    assert page.count('aria-current="page"') == 2  # the navigation and the breadcrumb


def test_unknown_addresses_keep_the_shell_of_a_signed_in_person(admin_client):
    page = admin_client.get("/people/none/of/this").text
    assert "data-error-detail" in page


def test_messages_are_escaped_and_shown_once(app, client):
    client.cookies.set(templating.MESSAGE_COOKIE, "success:%3Cb%3Ehi%3C%2Fb%3E")
    assert "&lt;b&gt;hi&lt;/b&gt;" in client.get("/sign-in").text
    client.cookies.set(templating.MESSAGE_COOKIE, "nonsense")
    assert client.get("/sign-in").status_code == 200


def test_an_undefined_name_in_a_template_is_an_error():
    with pytest.raises(UndefinedError):
        templating.get_environment().from_string("{{ nothing }}").render()


def test_every_template_can_be_read():
    environment = templating.get_environment()
    for name in environment.list_templates():
        environment.get_template(name)


def test_static_addresses_change_with_the_content_and_are_cached_for_ever(client):
    url = templating.static_url("js/app.js")
    assert re.fullmatch(r"/static/js/app\.js\?v=[0-9a-f]{10}", url)
    response = client.get(url)
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert response.headers["content-encoding"] == "gzip"
    assert client.get("/static/js/app.js").headers["cache-control"] == "no-cache"
    assert client.get("/static/../app/main.py").status_code == 404
    assert client.get("/static/%2e%2e/app/main.py").status_code == 404


def test_icons_are_named_in_the_sprite():
    if not templating.SPRITE.is_file():
        pytest.skip("the browser assets are not installed")
    used = set()
    for file in (ROOT / "templates").rglob("*.html"):
        used |= set(re.findall(r'\bicon\("([\w-]+)"', file.read_text()))
    for name in used:
        assert "<svg" in templating.icon(name)
    with pytest.raises(LookupError):
        templating.icon("no-such-icon")


def test_the_reference_documents_every_operation(app, admin_client):
    page = admin_client.get("/api/docs").text
    for path in app.openapi()["paths"]:
        assert f"<code>{path}</code>" in page


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "now"), (45, "45 s ago"), (200, "3 min ago"), (7300, "2 h ago"), (200_000, "2 days ago"),
     (-200, "in 3 min")],
)  # fmt: skip
def test_ages_read_in_a_few_words(seconds, words):
    assert filters.describe_age(seconds) == words


def test_ago_carries_the_exact_moment():
    html = filters.ago(utc_now() - timedelta(minutes=5))
    assert re.search(r'<time datetime="\S+\+00:00" title="[^"]+ UTC">5 min ago</time>', html)
    assert "never" in filters.ago(None)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "–"), (0.04, "0.0 s"), (9.94, "9.9 s"), (59.6, "1 m 0 s"), (130, "2 m 10 s"),
     (3599.7, "1 h 0 m"), (7260, "2 h 1 m")],
)  # fmt: skip
def test_durations_read_in_two_units(seconds, words):
    assert filters.duration(seconds) == words


def test_numbers_shares_and_sizes():
    assert filters.number(12345) == "12,345"
    assert filters.number(0.126) == "0.13"
    assert filters.number(None) == "–"
    assert filters.percent(0.1234) == "12.3%"
    assert filters.filesize(4_200_000) == "4.2 MB"
    assert filters.plural(1, "pair") == "1 pair"
    assert filters.plural(2, "pair") == "2 pairs"


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
         "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0",
         "Edge on Windows"),
        ("curl/8.0", "curl/8.0"),
        ("", "Unknown browser"),
    ],
)  # fmt: skip
def test_browsers_have_names(agent, name):
    assert filters.browser_name(agent) == name
