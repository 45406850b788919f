"""Making a round's completions from a run directory: several prompts in flight, one file grown.

`items.jsonl` says what is missing, an item for each task and policy; every answer becomes one line
of `completions.jsonl` as it comes in. A run that was killed goes on with what is not in that file.
"""

import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import httpx

from app.generation.client import (
    Answer,
    Endpoint,
    EndpointError,
    Sampling,
    complete,
    derive_seed,
    list_served_models,
)
from app.training.report import Report, TrainingError

INPUTS_FILE = "inputs.json"
ITEMS_FILE = "items.jsonl"
COMPLETIONS_FILE = "completions.jsonl"
FINISHED_FILE = "finished.json"

IN_FLIGHT = 6
"""Prompts asked for at the same time, so that a server can batch them."""
SERVER_WAIT_SECONDS = 60.0
"""How long a server may take to come up."""
PROBE_TIMEOUT_SECONDS = 10.0
UNREACHABLE_IN_A_ROW = 2 * IN_FLIGHT
"""Prompts in a row that met no server before the run gives up."""
REPORT_SECONDS = 2.0


class Stopped(Exception):
    """The run ends; a request that was waiting to be repeated is given up."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """What one policy still has to make for one task."""

    task_id: str
    policy: str
    positions: list[int]
    messages: list[dict[str, str]]


@dataclass
class Progress:
    """What was made so far, and how fast."""

    wanted: int
    made: int = 0
    missed: int = 0
    at_start: int = 0
    started: float = 0.0

    @property
    def fraction(self) -> float:
        """Completions that are settled, made or missed, of all."""
        return min(1.0, (self.made + self.missed) / self.wanted) if self.wanted else 1.0

    @property
    def seconds(self) -> float:
        """Since this run began to ask."""
        return time.monotonic() - self.started

    @property
    def eta_seconds(self) -> float | None:
        """For the rest at the speed so far."""
        settled = self.made + self.missed - self.at_start
        if not settled:
            return None
        return self.seconds / settled * max(0, self.wanted - self.made - self.missed)


def make_completions(run_dir: Path, report: Report, api_keys: Mapping[str, str]) -> None:
    """Ask for every missing completion; `finished.json` says what became of the run.

    Raises:
        TrainingError: no server answers, or one went away; what was made is kept.
        Cancelled: the run was asked to stop.
    """
    inputs = json.loads((run_dir / INPUTS_FILE).read_text("utf-8"))
    sampling = Sampling(**inputs["sampling"])
    endpoints = {
        policy: Endpoint(given["base_url"], given["model"], api_keys.get(given["base_url"]))
        for policy, given in inputs["endpoints"].items()
    }
    path = run_dir / COMPLETIONS_FILE
    drop_torn_line(path)
    done = read_done(path)
    had = inputs["completions"] - sum(
        len(item.positions) for item in iter_items(run_dir / ITEMS_FILE, done)
    )
    progress = Progress(wanted=inputs["completions"], made=had, at_start=had)
    away = wait_for_servers(endpoints, report)
    progress.started = time.monotonic()
    stop = threading.Event()
    unreachable: Counter[str] = Counter()
    timeout = httpx.Timeout(inputs["timeout_seconds"], connect=PROBE_TIMEOUT_SECONDS)
    limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    report.log(f"Asking for {progress.wanted - progress.made} completions, {IN_FLIGHT} at a time.")
    report.progress(progress.fraction, "Waiting for the first completions; a model loads first")

    def ask(http: httpx.Client, item: Item) -> Answer:
        if item.policy in away:
            return Answer([], away[item.policy])
        # Positions differ from one attempt to the next, and so do the seeds: a server that honours
        # them must not give again what is there already.
        seed = derive_seed(inputs["seed"], item.task_id, item.policy, item.positions[0])
        endpoint = endpoints[item.policy]
        wanted = len(item.positions)

        def wait(seconds: float) -> None:
            if stop.wait(seconds):
                raise Stopped

        return complete(http, endpoint, item.messages, wanted, sampling, seed, wait=wait)

    with (
        path.open("a", encoding="utf-8") as file,
        httpx.Client(timeout=timeout, limits=limits) as http,
    ):
        tell = _Teller(report, progress)
        try:
            for item, answer in _asked(iter_items(run_dir / ITEMS_FILE, done), ask, http, report):
                write_answer(file, item, answer)
                progress.made += len(answer.choices)
                progress.missed += len(item.positions) - len(answer.choices)
                unreachable[item.policy] = unreachable[item.policy] + 1 if answer.unreachable else 0
                if unreachable[item.policy] >= UNREACHABLE_IN_A_ROW:
                    raise _server_gone(endpoints[item.policy])
                tell(item, answer)
        finally:
            stop.set()
    finished = {"made": progress.made, "missed": progress.missed, "seconds": progress.seconds}
    finished["made_now"] = progress.made - progress.at_start
    report.progress(1.0, "Storing the last completions", 0.0)
    report.log(f"{progress.made} completions made, {progress.missed} could not be had.")
    temporary = run_dir / f".{FINISHED_FILE}"
    temporary.write_text(json.dumps(finished), "utf-8")
    temporary.rename(run_dir / FINISHED_FILE)


def wait_for_servers(endpoints: Mapping[str, Endpoint], report: Report) -> dict[str, str]:
    """Wait until the servers answer; the policies whose server does not, with the reason.

    Raises:
        TrainingError: none answers.
    """
    deadline = time.monotonic() + SERVER_WAIT_SECONDS
    away: dict[str, str] = {}
    for policy, endpoint in endpoints.items():
        while True:
            report.check_cancelled()
            try:
                list_served_models(endpoint, timeout_seconds=PROBE_TIMEOUT_SECONDS)
            except EndpointError as error:
                # Any answer at all shows that there is a server; some have no list of models.
                if not error.unreachable:
                    break
                if time.monotonic() >= deadline:
                    away[policy] = f"no server answers at {endpoint.base_url}"
                    report.log(f"{policy}: {away[policy]}.")
                    break
                report.progress(0.0, f"Waiting for the server at {endpoint.base_url}")
                time.sleep(1.0)
            else:
                break
    if len(away) == len(endpoints):
        raise _server_gone(next(iter(endpoints.values())))
    return away


def iter_items(path: Path, done: set[tuple[str, int]]) -> Iterator[Item]:
    """The items that still lack something, reduced to what they lack."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            raw = json.loads(line)
            raw["positions"] = [p for p in raw["positions"] if (raw["task_id"], p) not in done]
            if raw["positions"]:
                yield Item(**raw)


def write_answer(file: TextIO, item: Item, answer: Answer) -> None:
    """One line, in one write."""
    positions = item.positions[: len(answer.choices)]
    line = {
        "task_id": item.task_id,
        "policy": item.policy,
        "completions": [
            {"position": position, **asdict(choice)}
            for position, choice in zip(positions, answer.choices, strict=True)
        ],
        "problem": answer.problem,
    }
    file.write(json.dumps(line, ensure_ascii=False) + "\n")
    file.flush()


def read_done(path: Path) -> set[tuple[str, int]]:
    """The (task, position) of every completion that is in the file."""
    if not path.exists():
        return set()
    with path.open(encoding="utf-8") as file:
        return {
            (line["task_id"], completion["position"])
            for line in map(json.loads, file)
            for completion in line["completions"]
        }


def drop_torn_line(path: Path) -> None:
    """Cut off a last line that a killed run did not finish."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def _asked(
    items: Iterator[Item], ask: Any, http: httpx.Client, report: Report
) -> Iterator[tuple[Item, Answer]]:
    """Answers in the order they come, `IN_FLIGHT` items asked for at the same time.

    The threads are daemons: a request that hangs must not keep a cancelled run from ending.
    """
    waiting: queue.Queue[Item | None] = queue.Queue()
    answered: queue.Queue[tuple[Item, Answer | Exception]] = queue.Queue()

    def work() -> None:
        while (item := waiting.get()) is not None:
            try:
                answered.put((item, ask(http, item)))
            except Stopped:
                return
            except Exception as error:  # noqa: BLE001  # raised again in the main thread
                answered.put((item, error))

    for _ in range(IN_FLIGHT):
        threading.Thread(target=work, daemon=True).start()
    in_flight = 0
    try:
        while True:
            while in_flight < IN_FLIGHT and (item := next(items, None)) is not None:
                waiting.put(item)
                in_flight += 1
            if not in_flight:
                return
            report.check_cancelled()
            try:
                item, answer = answered.get(timeout=0.5)
            except queue.Empty:
                continue
            in_flight -= 1
            if isinstance(answer, Exception):
                raise answer
            yield item, answer
    finally:
        for _ in range(IN_FLIGHT):
            waiting.put(None)


class _Teller:
    """Says how far the run is; speed and samples only now and then."""

    def __init__(self, report: Report, progress: Progress) -> None:
        self._report = report
        self._progress = progress
        self._told_at = time.monotonic()
        self._told_made = progress.made

    def __call__(self, item: Item, answer: Answer) -> None:
        progress = self._progress
        stage = f"{progress.made} of {progress.wanted} completions"
        if progress.missed:
            stage += f", {progress.missed} could not be had"
        self._report.progress(progress.fraction, stage, progress.eta_seconds)
        if answer.problem:
            self._report.log(f"Task {item.task_id}, {item.policy}: {answer.problem}")
        since = time.monotonic() - self._told_at
        if since < REPORT_SECONDS or progress.made == self._told_made:
            return
        speed = (progress.made - self._told_made) / since
        self._report.metrics(progress.made, {"completions_per_second": speed})
        prompt = item.messages[-1]["content"]
        self._report.samples(
            progress.made,
            [
                {"prompt": prompt, "completion": choice.text, "policy": item.policy}
                for choice in answer.choices[:1]
            ],
        )
        self._told_at, self._told_made = time.monotonic(), progress.made


def _server_gone(endpoint: Endpoint) -> TrainingError:
    return TrainingError(
        f"No inference server answers at {endpoint.base_url}. Start it (`podium inference` for the "
        "built-in one) and resume this job; what was made is kept."
    )
