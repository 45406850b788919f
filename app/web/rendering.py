"""Markdown of guidelines and completions as HTML that is safe to show.

Whatever a model or a person wrote, the page only ever gets the elements listed here: no images, no
raw HTML (it is shown as text), no scripts, no styles, links that cannot script. Math becomes
MathML, code is highlighted by classes. Every block is `dir="auto"`, so that right-to-left text
reads as it should.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

import nh3
from latex2mathml.converter import convert as latex_to_mathml
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup, escape
from mdit_py_plugins.dollarmath import dollarmath_plugin

LONGEST_MATH = 2_000
LONGEST_HIGHLIGHTED_CODE = 50_000

MATH_TAGS = {
    "math", "mfenced", "mfrac", "mi", "mn", "mo", "mover", "mpadded", "mphantom", "mroot", "mrow",
    "mspace", "msqrt", "mstyle", "msub", "msubsup", "msup", "mtable", "mtd", "mtext", "mtr",
    "munder", "munderover", "menclose", "mmultiscripts", "mprescripts",
}  # fmt: skip
TEXT_TAGS = {
    "a", "blockquote", "br", "code", "del", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr",
    "li", "ol", "p", "pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr",
    "ul",
}  # fmt: skip
MATH_ATTRIBUTES = {
    "accent", "columnalign", "columnlines", "display", "fence", "form", "linethickness", "lspace",
    "mathvariant", "maxsize", "minsize", "movablelimits", "notation", "rowspacing", "rspace",
    "separator", "stretchy", "symmetric", "width",
}  # fmt: skip
BLOCK_TAGS = ("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "blockquote", "table")

# `\(…\)` and `\[…\]` are how language models write math; Markdown would eat the backslashes.
# The bound keeps thousands of openings without an end from taking time in proportion to the square.
BRACKET_MATH = re.compile(
    r"\\\[(?P<display>.{1,2000}?)\\\]|\\\((?P<inline>[^\n]{1,1000}?)\\\)", re.DOTALL
)
CODE = re.compile(
    r"(^|\n)(?P<fence>`{3,}|~{3,})[^\n]*\n.*?(\n[ ]{0,3}(?P=fence)|\Z)"
    r"|(?P<ticks>`+)[^`]+(?P=ticks)",
    re.DOTALL,
)


def render_markdown(text: str, *, join_lines: bool = False) -> Markup:
    """The text as safe HTML, in a fragment without a wrapper of its own.

    A model breaks lines where it means to. `join_lines` is for what people wrote as Markdown
    source, where a single line break is only a wrapped line.
    """
    html = get_parser(line_breaks=not join_lines).render(dollars_for_brackets(text))
    return Markup(get_cleaner().clean(html))  # noqa: S704  # cleaned right here


def dollars_for_brackets(text: str) -> str:
    r"""Write `\(x\)` as `$x$` and `\[x\]` as `$$x$$`, but not inside code."""
    if "\\(" not in text and "\\[" not in text:
        return text
    pieces, end = [], 0
    for code in CODE.finditer(text):
        pieces += [BRACKET_MATH.sub(as_dollars, text[end : code.start()]), code.group()]
        end = code.end()
    return "".join([*pieces, BRACKET_MATH.sub(as_dollars, text[end:])])


def as_dollars(match: re.Match[str]) -> str:
    """One bracketed formula between dollar signs."""
    if match["display"] is not None:
        return f"$${match['display'].strip()}$$"
    return f"${match['inline'].strip()}$"


@lru_cache(maxsize=2)
def get_parser(*, line_breaks: bool) -> MarkdownIt:
    """CommonMark with tables and strikethrough; raw HTML and images are plain text."""
    options = {"html": False, "breaks": line_breaks, "highlight": highlight}
    parser = MarkdownIt("commonmark", options)
    parser.enable(["table", "strikethrough"]).disable(["image", "html_block", "html_inline"])
    parser.use(
        dollarmath_plugin, renderer=render_math, allow_space=False, double_inline=True,
        allow_digits=False,
    )  # fmt: skip
    parser.add_render_rule("math_inline_double", render_double_inline)
    parser.core.ruler.push("direction", set_direction)
    return parser


@lru_cache(maxsize=1)
def get_cleaner() -> nh3.Cleaner:
    """The last word on what reaches the page, whatever the parser let through."""
    return nh3.Cleaner(
        tags=TEXT_TAGS | MATH_TAGS,
        attributes={
            "a": {"href", "title"},
            "ol": {"start"},
            "th": {"scope"},
            "*": {"dir"},
            **{tag: MATH_ATTRIBUTES | {"dir"} for tag in MATH_TAGS},
        },
        allowed_classes={
            "span": set(get_highlight_classes()),
            "div": {"math", "block"},
            "pre": {"highlight"},
        },
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow ugc",
        set_tag_attribute_values={"a": {"target": "_blank"}, "th": {"scope": "col"}},
        url_relative="deny",
    )


def set_direction(state: StateCore) -> None:
    """Give every block element `dir="auto"`."""
    for token in state.tokens:
        if token.nesting == 1 and token.tag in BLOCK_TAGS:
            token.attrSet("dir", "auto")


def render_math(content: str, options: dict[str, bool]) -> str:
    """LaTeX as MathML; what cannot be read is shown as it was written."""
    display = options.get("display_mode", False)
    source = content.strip()
    if len(source) > LONGEST_MATH:
        return f"<code>{escape(source)}</code>"
    try:
        mathml = latex_to_mathml(source, display="block" if display else "inline")
    except Exception:  # noqa: BLE001  # the converter raises anything on LaTeX it does not know
        return f"<code>{escape(source)}</code>"
    return str(mathml)


def render_double_inline(
    _renderer: RendererProtocol,
    tokens: Sequence[Token],
    index: int,
    _options: OptionsDict,
    _env: EnvType,
) -> str:
    """`$$x$$` within a sentence: the plugin's <div> would break the paragraph apart."""
    return render_math(tokens[index].content, {"display_mode": True})


@lru_cache(maxsize=1)
def get_highlight_classes() -> frozenset[str]:
    """The short class names that Pygments gives to pieces of code."""
    from pygments.token import STANDARD_TYPES

    return frozenset(name for name in STANDARD_TYPES.values() if name)


def highlight(code: str, language: str, _attributes: str) -> str:
    """Code in a known language, with Pygments' classes; any other code stays plain."""
    from pygments import highlight as pygments_highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    if not language or len(code) > LONGEST_HIGHLIGHTED_CODE:
        return ""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return ""
    inner = pygments_highlight(code, lexer, HtmlFormatter(nowrap=True))
    return f'<pre class="highlight"><code>{inner}</code></pre>'
