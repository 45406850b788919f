"""Whatever a model wrote, the page gets only harmless elements, and the words stay readable."""

import re

import pytest

from app.web.rendering import render_markdown

HARMLESS_TAGS = re.compile(r"</?([a-z0-9]+)")

PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<iframe src='javascript:alert(1)'></iframe>",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt:alert(1))",
    "[click](java&#x73;cript:alert(1))",
    "[click](vbscript:msgbox(1))",
    "[click](data:text/html;base64,PHNjcmlwdD4=)",
    "[click](//evil.example/x)",
    "[click](/sign-out)",
    "![alt](https://evil.example/pixel.png)",
    "![alt](data:image/svg+xml;base64,PHN2Zz4=)",
    "![alt][ref]\n\n[ref]: https://evil.example/pixel.png",
    '<https://example.org/"onmouseover=alert(1)>',
    "[x](https://a.example \"' onclick='alert(1)\")",
    '<a href="javascript:alert(1)">x</a>',
    "<style>body{display:none}</style>",
    "<form action=/people><button>go</button></form>",
    "<math><mtext></table><mglyph><style><img src=x onerror=alert(1)>",
    "$\\href{javascript:alert(1)}{x}$",
    "$\\text{<img src=x onerror=alert(1)>}$",
    "$$\n<script>alert(1)</script>\n$$",
    "\\[<img src=x onerror=alert(1)>\\]",
    "```html\n<script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\nx\n```',
    "`<script>alert(1)</script>`",
    "<!-- --><script>alert(1)</script>",
    "<div data-copy=x hx-get=/people hx-trigger=load style=position:fixed class=menu-panel>x</div>",
    "| a |\n|---|\n| <img src=x onerror=alert(1)> |",
]


def find_tags(html: str) -> list[tuple[str, str]]:
    """Real tags with their attributes (escaped text has no `<`)."""
    return re.findall(r"<([a-zA-Z][a-zA-Z0-9]*)([^<>]*)>", html)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_payload_becomes_an_active_element(payload):
    html = str(render_markdown(payload))
    for tag, attributes in find_tags(html):
        assert tag not in {
            "script", "img", "svg", "iframe", "style", "form", "button", "mglyph", "input",
            "object", "embed", "link", "meta", "base", "video", "audio", "maction",
        }  # fmt: skip
        names = re.findall(r"([a-zA-Z:_-]+)=", re.sub(r'"[^"]*"', '""', attributes))
        assert not [n for n in names if n.startswith(("on", "hx-", "data-")) or n == "style"]
        for address in re.findall(r'href="([^"]*)"', attributes):
            assert address.startswith(("https://", "http://", "mailto:"))


def test_raw_html_is_shown_as_the_text_it_is():
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in render_markdown("<script>alert(1)</script>")
    assert "&lt;b&gt;" in render_markdown("a <b>c</b>")


def test_an_image_is_a_link_and_loads_nothing():
    html = render_markdown("![a chart](https://example.org/chart.png)")
    assert "<img" not in html
    assert 'href="https://example.org/chart.png"' in html


def test_links_open_apart_and_tell_nothing():
    html = render_markdown("[x](https://example.org)")
    assert 'target="_blank"' in html
    assert "noopener noreferrer nofollow ugc" in html


def test_headings_lists_emphasis_tables_and_code_survive():
    html = render_markdown(
        "# T\n\n- **a**\n- ~~b~~\n\n3. c\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\n`k`\n\n> q"
    )
    for piece in ("<h1", "<li>", "<strong>a</strong>", "<s>b</s>", '<ol start="3"', "<td>1</td>",
                  "<code>k</code>", "<blockquote"):  # fmt: skip
        assert piece in html


def test_code_in_a_known_language_is_highlighted_by_classes():
    html = render_markdown("```python\ndef f(): return 1\n```")
    assert '<pre class="highlight"><code><span class="k">def</span>' in html


def test_code_in_an_unknown_language_stays_plain():
    assert "<pre><code>x &lt; y" in render_markdown("```nosuch\nx < y\n```")


@pytest.mark.parametrize(
    "text",
    ["$x^2$", "$$\nx^2\n$$", "\\(x^2\\)", "\\[x^2\\]", "\\[\nx^2\n\\]", "so $$x^2$$ it is"],
)
def test_math_becomes_mathml(text):
    html = render_markdown(text)
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in html
    assert "\\" not in html


def test_display_math_stands_on_its_own():
    assert 'display="block"' in render_markdown("\\[x\\]")
    assert 'display="inline"' in render_markdown("$x$")


def test_money_is_not_math():
    assert "<math" not in render_markdown("It costs $5 and then $10 more.")


def test_broken_latex_is_shown_as_written():
    html = render_markdown("$\\frac{1}{$ then text")
    assert "then text" in html
    assert "Traceback" not in html


def test_brackets_inside_code_are_left_alone():
    assert "\\[x\\]" in render_markdown("`\\[x\\]`")
    assert "\\(x\\)" in render_markdown("```\n\\(x\\)\n```")


def test_plain_newlines_are_kept():
    assert "a<br>" in render_markdown("a\nb").replace("<br />", "<br>")


def test_every_block_finds_its_own_direction():
    html = render_markdown("שלום\n\n- مرحبا")
    assert '<p dir="auto">שלום</p>' in html
    assert '<ul dir="auto">' in html


def test_long_and_hostile_input_ends_in_time():
    for text in ("[" * 5_000, "*a_" * 5_000, "> " * 3_000 + "x", "$" * 5_000, "`" * 4_999 + "x",
                 "\\[x" * 20_000, "|" * 5_000, "<" * 10_000):  # fmt: skip
        assert render_markdown(text) is not None


def test_line_breaks_of_a_model_stay_and_wrapped_lines_of_people_are_joined() -> None:
    assert "<br" in render_markdown("one\ntwo")
    assert "<br" not in render_markdown("one\ntwo", join_lines=True)
