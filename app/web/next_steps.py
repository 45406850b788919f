"""The next step of a loop in words: its button, its sentence, and how soon to look again."""

from dataclasses import dataclass
from urllib.parse import urlencode

from app.projects.loop import LoopState
from app.projects.next_step import NextStep


@dataclass(frozen=True, kw_only=True)
class Link:
    """Where a button or a quiet link leads."""

    label: str
    url: str


@dataclass(frozen=True, kw_only=True)
class Headline:
    """What to do next, in one sentence, above the stations. The label is "Next" or "Now"."""

    title: str
    sentence: str
    label: str = "Next"


def next_action(state: LoopState, base: str) -> Link:
    """The button of the next step."""
    match state.next_step:
        case NextStep.ADD_PROMPTS:
            return Link(label="Add prompts", url=f"{base}/prompts")
        case NextStep.START_ROUND:
            return Link(label="Start a round", url=f"{base}/rounds/new")
        case NextStep.WATCH_GENERATION:
            return _watch(state, "generation", "Watch it write")
        case NextStep.REPAIR_GENERATION:
            return _watch(state, "generation", "See what went wrong")
        case NextStep.RANK:
            return Link(label="Rank completions", url=f"{base}/rank")
        case NextStep.TRAIN_REWARD_MODEL:
            return Link(label="Train a reward model", url=f"{base}/jobs/new?kind=reward_model")
        case NextStep.WATCH_REWARD_MODEL:
            return _watch(state, "reward_model", "Watch it learn")
        case NextStep.TUNE_POLICY:
            return Link(label="Tune the policy", url=ppo_url(state, base))
        case NextStep.WATCH_PPO:
            return _watch(state, "ppo", "Watch it learn")
        case NextStep.WATCH_DPO:
            return _watch(state, "dpo", "Watch it learn")
        case NextStep.COMPARE_POLICY:
            job_id = state.policy.job_id if state.policy else ""
            return Link(label="Ask people", url=f"/jobs/{job_id}/evaluation")
        case NextStep.DECIDE_POLICY:
            round_id = state.trial_round.id if state.trial_round else ""
            return Link(label="See the verdict", url=f"/rounds/{round_id}/evaluation")


def build_headline(state: LoopState) -> Headline:
    """What to do next and why."""
    match state.next_step:
        case NextStep.ADD_PROMPTS:
            return Headline(
                title="Add prompts",
                sentence="The loop begins with what you want the model to be asked.",
            )
        case NextStep.START_ROUND if state.trial_round is not None and state.promoted:
            return Headline(
                title="Start the next round",
                sentence=f"{state.promoted} is promoted: it writes what people rank next.",
            )
        case NextStep.START_ROUND if state.rounds:
            return Headline(
                title="Start another round",
                sentence="Everything ranked so far is a tie, so there is nothing to learn from "
                "yet.",
            )
        case NextStep.START_ROUND:
            return Headline(
                title="Start a round",
                sentence="A policy writes several completions for every prompt.",
            )
        case NextStep.WATCH_GENERATION:
            return Headline(
                title="Completions are being written",
                label="Now",
                sentence="Ranking opens with the first finished prompt.",
            )
        case NextStep.REPAIR_GENERATION:
            return Headline(
                title="Some completions are missing",
                label="Now",
                sentence="The generation job ended early. It can be resumed from where it stopped.",
            )
        case NextStep.RANK:
            many = (
                f"{state.rankings_missing:,} rankings are"
                if state.rankings_missing > 1
                else ("One ranking is")
            )
            return Headline(
                title="Rank completions",
                sentence=f"{many} still wanted. Invite labelers, or rank some yourself.",
            )
        case NextStep.TRAIN_REWARD_MODEL:
            return Headline(
                title="Train a reward model",
                sentence=f"{state.pairs:,} pairs are ready to learn from.",
            )
        case NextStep.WATCH_REWARD_MODEL:
            return Headline(
                title="A reward model is being trained",
                label="Now",
                sentence="It learns to score completions the way people ranked them.",
            )
        case NextStep.TUNE_POLICY:
            return Headline(
                title="Tune the policy",
                sentence="PPO moves the policy towards what the reward model likes; DPO learns "
                "from the rankings themselves.",
            )
        case NextStep.WATCH_PPO:
            return Headline(
                title="The policy is being tuned",
                label="Now",
                sentence="Watch the reward rise while the KL stays small.",
            )
        case NextStep.WATCH_DPO:
            return Headline(
                title="The policy is being tuned",
                label="Now",
                sentence="Watch the accuracy on held-out rankings rise.",
            )
        case NextStep.COMPARE_POLICY:
            return Headline(
                title="Ask people whether it is better",
                sentence="A blind round of the old policy and the new one closes the loop.",
            )
        case NextStep.DECIDE_POLICY:
            return Headline(
                title="Decide which policy goes on",
                sentence="People have compared the two. Promote the one that the next round asks.",
            )


def poll_seconds(state: LoopState) -> int | None:
    """How often the page should look again: often beside a job, gently while people rank."""
    if state.any_active_job:
        return 3
    if state.rankings_missing or state.ranking_now:
        return 10
    return None


def _watch(state: LoopState, kind: str, label: str) -> Link:
    return Link(label=label, url=f"/jobs/{state.jobs[kind].id}")


def ppo_url(state: LoopState, base: str) -> str:
    """The form of a PPO job, with the newest reward model chosen."""
    query = {"kind": "ppo"}
    if state.reward_model is not None:
        query["reward_model"] = state.reward_model.id
    return f"{base}/jobs/new?{urlencode(query)}"


def dpo_url(base: str) -> str:
    """The form of a DPO job."""
    return f"{base}/jobs/new?kind=dpo"
