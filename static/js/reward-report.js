// The report of a reward model: differences between chosen and rejected texts are marked.

import { bindDifferences } from "./pair-differences.js";

const mistakes = document.querySelector("[data-mistakes]");
if (mistakes) bindDifferences(mistakes);
