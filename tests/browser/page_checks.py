"""What holds for every page, looked at in a browser. Each check gives its findings in words, and
none where all is well."""

from typing import Any

from playwright.sync_api import Page

from tests.browser.conftest import AXE

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
MOST_STOPS = 600

# Shared by the checks below: what a person can act on, and where on the screen it is.
PRELUDE = """
const CONTROLS = "a[href], button, input:not([type=hidden]), select, textarea, summary," +
  " [tabindex]:not([tabindex='-1'])";
const name = (element) => {
  const words = (element.getAttribute("aria-label") || element.textContent || element.name || "")
    .trim().replace(/\\s+/g, " ").slice(0, 40);
  return `${element.tagName.toLowerCase()}${element.id && "#" + element.id} "${words}"`;
};
const controls = () => [...document.querySelectorAll(CONTROLS)].filter((element) =>
  !element.disabled && !element.closest("[inert]") &&
  element.checkVisibility({visibilityProperty: true, opacityProperty: true}) &&
  element.getClientRects().length > 0);
"""


def find_axe_violations(page: Page) -> list[str]:
    """Breaches of WCAG 2.0 to 2.2 A and AA (target size among them) and of axe's best practices.

    The order of headings is checked by `find_bad_structure`: here Markdown of models and people
    would count, which brings headings of its own.
    """
    rules = {"heading-order": {"enabled": False}, "target-size": {"enabled": True}}
    return _run_axe(page, {"runOnly": WCAG, "rules": rules})


def find_small_targets(page: Page) -> list[str]:
    """Controls under 24 by 24 px with others too near (WCAG 2.5.8)."""
    return _run_axe(page, {"runOnly": {"type": "rule", "values": ["target-size"]}})


def _run_axe(page: Page, options: dict[str, Any]) -> list[str]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    found = page.evaluate(
        """async (options) => (await axe.run("html", {...options, resultTypes: ["violations"]}))
             .violations.flatMap((rule) => rule.nodes.map((node) =>
               `${rule.id}: ${node.target.join(" ")}: ${node.failureSummary}`))""",
        options,
    )
    return list(found)


def find_overflow(page: Page) -> list[str]:
    """What makes the document wider than its window."""
    found = page.evaluate(
        """() => {
             const root = document.documentElement;
             if (root.scrollWidth <= root.clientWidth) return [];
             const wide = [...document.querySelectorAll("body *")].filter((element) =>
               element.getBoundingClientRect().right > root.clientWidth + 1);
             return [`${root.scrollWidth} px wide in ${root.clientWidth}`,
               ...wide.slice(0, 5).map((element) => element.outerHTML.slice(0, 120))];
           }"""
    )
    return list(found)


def find_overlaps(page: Page) -> list[str]:
    """Controls that lie over one another.

    What stays in place while the page scrolls (the header, a bar at the bottom) lies over what
    passes below it by intention and is compared with its own kind only.
    """
    found = page.evaluate(
        """() => {"""
        + PRELUDE
        + """
             const stuck = (element) => {
               for (let at = element; at; at = at.parentElement)
                 if (["fixed", "sticky"].includes(getComputedStyle(at).position)) return at;
               return null;
             };
             const visible = (element) => {
               const clips = [];
               for (let at = element.parentElement; at; at = at.parentElement)
                 if (getComputedStyle(at).overflow !== "visible")
                   clips.push(at.getBoundingClientRect());
               return [...element.getClientRects()].map((box) => clips.reduce((seen, clip) => ({
                 left: Math.max(seen.left, clip.left), right: Math.min(seen.right, clip.right),
                 top: Math.max(seen.top, clip.top), bottom: Math.min(seen.bottom, clip.bottom),
               }), box)).filter((box) => box.right - box.left > 1 && box.bottom - box.top > 1);
             };
             const all = controls()
               .filter((element) => getComputedStyle(element).opacity !== "0" &&
                 !element.matches(".visually-hidden, .skip-link"))
               .map((element) => ({element, boxes: visible(element), stuck: stuck(element)}));
             const over = (one, other) =>
               Math.min(one.right, other.right) - Math.max(one.left, other.left) > 2 &&
               Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > 2;
             const found = [];
             all.forEach((one, place) => all.slice(place + 1).forEach((other) => {
               if (one.stuck !== other.stuck) return;
               if (one.element.contains(other.element) || other.element.contains(one.element))
                 return;
               if (one.boxes.some((box) => other.boxes.some((second) => over(box, second))))
                 found.push(`${name(one.element)} lies over ${name(other.element)}`);
             }));
             return found;
           }"""
    )
    return list(found)


def find_bad_structure(page: Page) -> list[str]:
    """Anything but one `main`, one `h1` in it, a title, and headings that skip no level.

    Headings inside Markdown are people's own.
    """
    found = page.evaluate(
        """() => {
             const found = [];
             const mains = document.querySelectorAll("main");
             if (mains.length !== 1) found.push(`${mains.length} main landmarks`);
             const titles = document.querySelectorAll("main h1");
             const own = [...document.querySelectorAll("h1")]
               .filter((heading) => !heading.closest(".markdown"));
             if (own.length !== 1 || own[0] !== titles[0]) found.push(`${own.length} h1`);
             if (!own[0]?.textContent.trim()) found.push("an empty h1");
             if (!document.title.trim() || document.title.startsWith(" ")) found.push("no title");
             let level = 0;
             for (const heading of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
               if (heading.closest(".markdown") || !heading.checkVisibility()) continue;
               const next = Number(heading.tagName[1]);
               const words = heading.textContent.trim().slice(0, 40);
               if (next > level + 1) found.push(`h${next} "${words}" after h${level}`);
               level = next;
             }
             return found;
           }"""
    )
    return list(found)


# Called at each stop: what was focused before must look different now, and what is focused now
# must be on the screen and not wholly behind something else (WCAG 2.4.7 and 2.4.11).
AT_STOP = (
    """() => {"""
    + PRELUDE
    + """
  const look = (element) => [element, element.nextElementSibling, element.parentElement,
      element.closest("label")].filter(Boolean).map((at) => {
    const style = getComputedStyle(at);
    return [style.outlineStyle, style.outlineWidth, style.outlineColor, style.boxShadow,
      style.borderColor, style.backgroundColor, style.insetBlockStart].join();
  }).join(";");
  const walk = (window.tabWalk ??= {seen: new Set(), last: null, found: []});
  // The parts of a date are stops of their own.
  if (walk.last && walk.last.element === document.activeElement) return "on";
  if (walk.last && look(walk.last.element) === walk.last.look)
    walk.found.push(`the focus on ${name(walk.last.element)} cannot be seen`);
  walk.last = null;
  const element = document.activeElement;
  if (element === document.body || element === null) return "out";
  if (walk.seen.has(element)) return "again";
  walk.seen.add(element);
  walk.last = {element, look: look(element)};
  const target = element.closest("label") ?? element;
  const hit = [...target.getClientRects()].some((box) => {
    const [left, right] = [Math.max(box.left, 0), Math.min(box.right, innerWidth)];
    const [top, bottom] = [Math.max(box.top, 0), Math.min(box.bottom, innerHeight)];
    return [0.1, 0.5, 0.9].some((across) => [0.1, 0.3, 0.5, 0.7, 0.9].some((down) => {
      const x = left + (right - left) * across;
      const at = right > left && bottom > top &&
        document.elementFromPoint(x, top + (bottom - top) * down);
      return at && (target.contains(at) || at.contains(target));
    }));
  });
  const covered = () => {
    const box = target.getBoundingClientRect();
    const at = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
    return `by ${at ? name(at) : "the edge of the window"}`;
  };
  if (!hit || !target.getClientRects().length)
    walk.found.push(`${name(element)} is hidden ${covered()} when it has the focus`);
  return "on";
}"""
)
# Of radio buttons with one name Tab reaches one.
AT_END = (
    """() => {"""
    + PRELUDE
    + """
  const walk = window.tabWalk;
  delete window.tabWalk;
  const group = (element) => element.type === "radio" ? element.name : null;
  const reached = [...walk.seen];
  const missed = controls().filter((element) => !walk.seen.has(element) &&
    !(group(element) && reached.some((other) => group(other) === group(element))));
  return [...walk.found, ...missed.map((element) => `Tab never reaches ${name(element)}`)];
}"""
)


def find_keyboard_problems(page: Page) -> list[str]:
    """Go round the page by Tab: every control is reached, seen to have the focus, not covered."""
    page.evaluate("document.activeElement?.blur(); scrollTo(0, 0)")
    rounds = 0
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        where = page.evaluate(AT_STOP)
        rounds += where == "out"
        if where == "again" or rounds == 2:
            break
    return list(page.evaluate(AT_END))
