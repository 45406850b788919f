// Marks the words that only one text of a pair has, in the texts as they are shown: <ins> in the
// chosen, <del> in the rejected one.

import { compareWords, countWords, loadWordDiff } from "./text-difference.js";

const REMEMBERED = "podium.pairs.differences";
const LONGEST_MILLISECONDS = 500;
/** Texts that share less of their words are not marked unless asked for: nearly all would be. */
const LEAST_SHARED = 0.25;

let showing;

/** Bind the switch and the pairs that are on the page now. */
export function bindDifferences(root) {
  const box = root.querySelector("[data-show-differences]");
  if (!box) return;
  root.querySelector("[data-difference-switch]").hidden = false;
  box.checked = isWanted();
  box.addEventListener("change", () => {
    remember(box.checked);
    show(root, box.checked);
  });
  show(root, box.checked);
}

function isWanted() {
  try {
    return localStorage.getItem(REMEMBERED) !== "off";
  } catch {
    return true;
  }
}

function remember(wanted) {
  try {
    localStorage.setItem(REMEMBERED, wanted ? "on" : "off");
  } catch {
    // The choice holds until the page is left.
  }
}

async function show(root, wanted) {
  root.querySelector("[data-difference-key]").hidden = !wanted;
  const pairs = [...root.querySelectorAll("[data-pair]")];
  showing = root;
  if (!wanted) {
    pairs.forEach(clear);
    return;
  }
  await loadWordDiff();
  // One after the other, with time between them for the page to answer.
  for (const pair of pairs) {
    await new Promise((resume) => setTimeout(resume));
    if (showing !== root || !root.isConnected || !isOn()) return;
    mark(pair);
  }
}

function isOn() {
  return document.querySelector("[data-show-differences]")?.checked;
}

function mark(pair, evenUnlike = false) {
  const sides = pair.querySelectorAll("[data-pair-text]");
  if (sides.length < 2) return;
  clear(pair);
  const [chosen, rejected] = [...sides].map(readText);
  const changes = compareWords(rejected.text, chosen.text, LONGEST_MILLISECONDS);
  if (!changes) {
    say(pair, "Too long and too different to compare by word.");
    return;
  }
  const shared = shareOfWords(changes);
  if (shared < LEAST_SHARED && !evenUnlike) {
    say(pair, `Little in common: ${Math.round(100 * shared)}% of the words are in both.`);
    offerToMark(pair);
    return;
  }
  const length = (part) => part.value.length;
  wrap(chosen, spans(changes.filter((part) => !part.removed), "added", length), "ins");
  wrap(rejected, spans(changes.filter((part) => !part.added), "removed", length), "del");
}

/** The words in both texts as a share of the words of the longer one. */
function shareOfWords(changes) {
  const count = (keep) =>
    changes.filter(keep).reduce((sum, part) => sum + countWords(part.value), 0);
  const both = count((part) => !part.added && !part.removed);
  const all = both + Math.max(count((part) => part.added), count((part) => part.removed));
  return all ? both / all : 1;
}

/** Where the marked parts of a text begin and end. */
function spans(parts, mine, length) {
  const found = [];
  let at = 0;
  for (const part of parts) {
    const end = at + length(part);
    if (part[mine]) found.push([at, end]);
    at = end;
  }
  return found;
}

/** The text of an element with the text nodes it comes from; formulas are left as they are. */
function readText(element) {
  const nodes = [];
  let text = "";
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    nodes.push({ node, start: text.length, markable: !node.parentElement.closest("math, svg") });
    text += node.data;
  }
  return { nodes, text };
}

/** Put the marked parts of each text node into elements of their own. */
function wrap({ nodes }, marked, tag) {
  for (const { node, start, markable } of nodes) {
    if (!markable) continue;
    const end = start + node.data.length;
    const inside = marked.filter(([from, to]) => from < end && to > start);
    for (const [from, to] of inside.reverse()) {
      const piece = node.splitText(Math.max(from - start, 0));
      piece.splitText(Math.min(to, end) - Math.max(from, start));
      // White space between blocks is not text of its own.
      if (!piece.data.trim()) continue;
      const element = document.createElement(tag);
      element.dataset.difference = "";
      piece.replaceWith(element);
      element.append(piece);
    }
  }
}

function clear(pair) {
  pair.querySelectorAll("[data-difference]").forEach((one) => one.replaceWith(...one.childNodes));
  pair.querySelectorAll("[data-pair-text]").forEach((text) => text.normalize());
  const said = pair.querySelector("[data-pair-said]");
  said.hidden = true;
  said.replaceChildren();
}

function say(pair, words) {
  const said = pair.querySelector("[data-pair-said]");
  said.textContent = words;
  said.hidden = false;
}

function offerToMark(pair) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "btn btn-link btn-sm";
  button.textContent = "Mark the differences";
  button.addEventListener("click", () => {
    mark(pair, true);
    pair.querySelector("[data-pair-text]").focus();
  });
  pair.querySelector("[data-pair-said]").append(" ", button);
}
