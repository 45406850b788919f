"""What the values in the form of an A/B round can tell, before anybody is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.evaluation.opening import Contest
from app.evaluation.sample_size import Plan, plan_round
from app.projects.round_changes import MOST_LABELERS
from app.projects.rounds import MOST_COMPLETIONS
from app.web.filters import plural
from app.web.forms import read_whole
from app.web.plots import as_percent

EVEN = 0.5
MORE = 3
"""Labelers or completions that are held up as an alternative to fewer."""
AIM = 0.10
"""A difference that people care about: 60% against 50%."""


@dataclass(frozen=True, kw_only=True)
class TrialPlan:
    """A round as planned, in numbers for its form."""

    prompts: int
    completions: int
    rankings: int
    points: str
    """The difference it can tell."""
    rate: str
    """The win rate that this difference is."""
    enough: bool
    """Whether it can tell 10 points."""
    prompts_for_aim: int
    """Prompts that 10 points take, at these labelers and completions."""
    alternatives: list[tuple[str, str]]
    """What would tell more, with the points that it tells."""


def describe_plan(
    contest: Contest, values: Mapping[str, str], others: Sequence[str]
) -> TrialPlan | None:
    """None where the values are none that a round can have; the form says so when it is sent."""
    prompts, labelers, completions = (
        read_whole(values.get(name, ""))
        for name in ("prompts", "labelers_per_task", "completions_per_policy")
    )
    policies = 2 + len(others)
    held_out, most = len(contest.held_out), MOST_COMPLETIONS // policies
    if not (
        1 <= prompts <= held_out and 1 <= labelers <= MOST_LABELERS and 1 <= completions <= most
    ):
        return None
    now = {"prompts": prompts, "labelers": labelers, "completions": completions}
    changes = [
        (f"All {held_out:,} prompts", "prompts", held_out),
        (f"{plural(MORE, 'labeler')} per prompt", "labelers", MORE),
        (f"{plural(min(MORE, most), 'completion')} each", "completions", min(MORE, most)),
    ]
    ways = [(label, {name: value}) for label, name, value in changes if value > now[name]]
    if len(ways) > 1:
        together = {name: value for _, change in ways for name, value in change.items()}
        ways.append(("All of these together", together))
    plan = plan_round(**now)
    return TrialPlan(
        prompts=prompts,
        completions=prompts * completions * policies,
        rankings=plan.rankings,
        points=_points(plan),
        rate=as_percent(min(1.0, EVEN + plan.tellable)),
        enough=plan.tellable <= AIM,
        prompts_for_aim=plan.prompts_needed[AIM],
        alternatives=[(label, _points(plan_round(**{**now, **change}))) for label, change in ways],
    )


def _points(plan: Plan) -> str:
    if plan.tellable > EVEN:
        return "no difference"
    return plural(round(100 * plan.tellable), "point")
