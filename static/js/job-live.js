// A job's page, live: progress, log and charts follow its event stream; what changes its shape (a new
// state, new samples) is read again from the server. Without a stream the page's own polling goes on.

import { Charts } from "./job-charts.js";

const root = () => document.getElementById("job");
const charts = new Charts(document.getElementById("job-charts"));
const REFRESH_MILLISECONDS = 1200;

let stream;
let connected = false;
let refreshTimer;
let layoutTimer;

document.documentElement.classList.add("job-live");
charts.load().then(follow);

function follow() {
  const job = root();
  if ("final" in job.dataset) return;
  stream = new EventSource(`/api/v1/jobs/${job.dataset.job}/events?after=${job.dataset.after}`);
  stream.addEventListener("open", () => (connected = true));
  // The browser connects again by itself and says where it was; polling fills in meanwhile.
  stream.addEventListener("error", () => (connected = false));
  on("job", showJob);
  on("log", ({ tail }) => showLog(tail));
  on("metrics", ({ points }) => {
    if (charts.add(points)) refreshLayout();
  });
  on("samples", refresh);
  on("state", refresh);
  on("note", refresh);
  on("end", () => {
    stream.close();
    connected = false;
    refresh();
  });
}

function on(name, act) {
  stream.addEventListener(name, (event) => act(JSON.parse(event.data)));
}

function live(name) {
  return root().querySelector(`[data-live="${name}"]`);
}

function showJob(job) {
  if (["succeeded", "failed", "cancelled"].includes(job.state)) return;
  const percent = `${Math.round(job.progress * 100)}%`;
  live("bar").value = Math.round(job.progress * 1000) / 10;
  live("bar").textContent = percent;
  live("percent").textContent = percent;
  live("stage").textContent = job.stage || "Starting";
  const eta = live("eta");
  if (job.eta_seconds === null) {
    delete eta.dataset.seconds;
    eta.textContent = "not known yet";
  } else {
    eta.dataset.seconds = job.eta_seconds;
    eta.textContent = `about ${duration(job.eta_seconds)}`;
  }
}

function showLog(tail) {
  const log = live("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  log.textContent = tail || "Nothing yet.";
  if (atEnd) log.scrollTop = log.scrollHeight;
}

/** Read the page's changing part again, soon, once for many events. */
function refresh() {
  refreshTimer ??= setTimeout(() => {
    refreshTimer = undefined;
    root().dispatchEvent(new CustomEvent("refresh"));
  }, REFRESH_MILLISECONDS);
}

/** A metric without a card has appeared: take the server's layout. */
function refreshLayout() {
  layoutTimer ??= setTimeout(async () => {
    layoutTimer = undefined;
    const answer = await fetch(location.href);
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    charts.takeLayout(page.getElementById("job-charts"));
  }, 300);
}

// While the stream is open the page need not ask every few seconds.
document.addEventListener("htmx:before:request", (event) => {
  const { sourceElement, sourceEvent } = event.detail.ctx;
  if (connected && sourceElement === root() && sourceEvent?.type === "every") event.preventDefault();
});

// A page that polled because there was no stream has new points, too. The charts are left as they are
// by a swap, so that the sentence among them is put there.
document.addEventListener("htmx:after:swap", () => {
  const said = document.querySelector("[data-exploitation-here]");
  const words = root()?.dataset.exploitation;
  if (said && words !== undefined && said.textContent !== words) said.textContent = words;
  if (!connected && document.getElementById("job-charts")) charts.load();
});

setInterval(() => {
  const since = root().querySelector("[data-since]");
  if (since) since.textContent = duration((Date.now() - Date.parse(since.dataset.since)) / 1000);
  const eta = live("eta");
  if (eta?.dataset.seconds) {
    eta.dataset.seconds = Math.max(0, eta.dataset.seconds - 1);
    eta.textContent = `about ${duration(Number(eta.dataset.seconds))}`;
  }
}, 1000);

/** Seconds as "2 m 10 s", as the server writes them. */
function duration(seconds) {
  if (seconds < 9.95) return `${Math.max(0, Math.round(seconds))} s`;
  const whole = Math.round(seconds);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  if (hours) return `${hours} h ${minutes} m`;
  return minutes ? `${minutes} m ${whole % 60} s` : `${whole % 60} s`;
}

const log = live("log");
log.scrollTop = log.scrollHeight;
