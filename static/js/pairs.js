// The pairs browser: results follow the filters, differences are marked, plots are remembered open.

import { bindDifferences } from "./pair-differences.js";
import { bindExports } from "./pair-exports.js";
import { bindFreezing } from "./pair-freezing.js";

const PLOTS = "podium.pairs.plots";
const form = document.querySelector("[data-pair-filters]");
const said = document.querySelector("[data-pair-status]");

function bindResults() {
  const results = document.getElementById("pair-results");
  if (!results || "bound" in results.dataset) return;
  results.dataset.bound = "";
  bindDifferences(results);
  bindExports(results);
  bindFreezing(results);
  bindPlots(results.querySelector("[data-pair-plots]"));
}

function bindPlots(plots) {
  if (!plots) return;
  plots.addEventListener("toggle", () => {
    try {
      localStorage.setItem(PLOTS, plots.open ? "open" : "closed");
    } catch {
      // It stays as it is until the page is left.
    }
  });
  try {
    if (localStorage.getItem(PLOTS) === "open") plots.open = true;
  } catch {
    // It stays closed.
  }
}

if (form) {
  form.querySelector("[data-without-script]").closest(".filter-buttons").remove();
  // A condition on metadata means nothing until it is whole: it waits for Enter, or for leaving.
  const metadata = form.elements.metadata;
  metadata.addEventListener("input", (event) => event.stopPropagation());
  metadata.addEventListener("change", () => form.requestSubmit());
}

document.addEventListener("htmx:after:swap", () => {
  bindResults();
  const summary = document.querySelector("[data-pair-summary]")?.dataset.pairSummary;
  if (said && summary && said.textContent !== summary) said.textContent = summary;
});

// Going back is a page load: the filters of then come with it.
document.addEventListener("htmx:before:history:restore", (event) => {
  event.preventDefault();
  window.location.reload();
});

bindResults();
