// The pages of snapshots: the chooser of downloads, and the form that freezes.

import { bindExports } from "./pair-exports.js";
import { bindFreezing } from "./pair-freezing.js";

bindExports(document);
bindFreezing(document);
