"""Once around the loop on the starter models: seconds of every step.

Starts `podium up` on a fresh folder, adds the demo project, starts a round, waits for the first
task a labeler can rank, ranks everything by simulated labelers, trains a reward model and tunes the
policy with PPO, both at their defaults but for the iterations.

Run: python -m benchmarks.loop [PROMPTS] [ITERATIONS]
"""

import sys
import tempfile
import time
from pathlib import Path

from app.db import Database
from app.demo.labelers import simulate_labelers
from tests.running_app import RunningApp, wait_for_job

POLICY = "smollm2-135m-instruct"


class Clock:
    """Prints what each step took since the step before."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def lap(self, step: str, note: str = "") -> None:
        now = time.monotonic()
        print(f"{step:44} {now - self.last:8.1f} s   {note}", flush=True)
        self.last = now


def walk(app: RunningApp, prompts: int, iterations: int) -> None:
    clock = Clock()
    app.wait_until_ready()
    clock.lap("podium up until /readyz")
    admin = app.client("admin@example.org", "admin")
    labeler = app.client("labeler@example.org", "labeler")
    clock.last = time.monotonic()
    app.podium("demo")
    clock.lap("podium demo")
    project = admin.get("/projects").json()["items"][0]["id"]
    body = {"policies": [POLICY], "completions_per_prompt": 4, "prompt_limit": prompts}
    sampling = {"temperature": 0.8, "top_p": 0.95, "max_new_tokens": 48, "seed": 0}
    round_ = admin.post(f"/projects/{project}/rounds", json=body | {"sampling": sampling}).json()
    while labeler.post(f"/projects/{project}/assignments").status_code != 201:
        time.sleep(0.2)
    clock.lap("start of the round until the first task", "converting the starter included")
    wait_for_job(admin, round_["job_id"], 3000)
    clock.lap("the other completions", f"{prompts} prompts x 4 x 48 tokens")
    database = Database(f"sqlite:///{app.data_dir / 'podium.sqlite3'}")
    made = simulate_labelers(database, project)
    clock.lap("simulated rankings", f"{made.rankings} rankings")
    job = {"kind": "reward_model", "project_id": project, "config": {"backbone": "minilm-l6"}}
    outputs = wait_for_job(admin, admin.post("/jobs", json=job).json()["id"], 3000)["outputs"]
    accuracy = outputs["metrics"]["accuracy"]
    clock.lap("reward model", f"accuracy {accuracy} on {outputs['metrics']['eval_pairs']} pairs")
    config = {"policy": POLICY, "reward_model": outputs["model_id"], "iterations": iterations}
    job = {"kind": "ppo", "project_id": project, "config": config}
    done = wait_for_job(admin, admin.post("/jobs", json=job).json()["id"], 6000)
    rewards = [round(done["outputs"][side]["reward_mean"], 4) for side in ("before", "after")]
    clock.lap(f"PPO, {iterations} iterations and both evaluations", f"reward {rewards}")
    series = admin.get(f"/jobs/{done['id']}/metrics").json()["items"]
    for stage in ("generate", "score", "logprobs", "train"):
        values = next(s["values"] for s in series if s["name"] == f"{stage}_seconds")
        print(f"  of an iteration: {stage:25} {sum(values) / len(values):8.1f} s")


def main() -> None:
    numbers = [int(argument) for argument in sys.argv[1:]]
    prompts, iterations = (*numbers, *(16, 4)[len(numbers) :])
    with tempfile.TemporaryDirectory() as folder:
        app = RunningApp(Path(folder) / "data")
        try:
            walk(app, prompts, iterations)
        finally:
            app.stop()


if __name__ == "__main__":
    main()
