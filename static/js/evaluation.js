// The people's verdict: differences between the new and the old texts are marked.

import { bindDifferences } from "./pair-differences.js";

const samples = document.querySelector("[data-samples]");
if (samples) bindDifferences(samples);
