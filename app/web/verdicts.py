"""An evaluation in words and plots, for its page and for what links to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.evaluation.opening import list_ab_rounds
from app.evaluation.promotion import find_promotion, list_promotions
from app.evaluation.results import Evaluation, Verdict, evaluate_round, judge_rate
from app.models import Model
from app.web.figures import labeler_href
from app.web.filters import plural
from app.web.plots import ForestPlot, Interval, as_percent, describe_interval, plot_forest

LABELERS_IN_PLOT = 20
EVEN = 0.5
COLORS = {
    Verdict.BETTER: "green",
    Verdict.WORSE: "red",
    Verdict.OPEN: "yellow",
    Verdict.NOBODY_ASKED: "secondary",
}
BADGES = {
    Verdict.BETTER: "new is preferred",
    Verdict.WORSE: "old is preferred",
    Verdict.OPEN: "cannot tell yet",
    Verdict.NOBODY_ASKED: "no ranking yet",
}


@dataclass(frozen=True, kw_only=True)
class Step:
    """How far the rankings are from telling one difference."""

    points: str
    rate: str
    wanted: int
    got: int
    more: int
    prompts: int


def verdict_sentence(found: Evaluation) -> str:
    """Who is preferred, in plain words, with the number and its interval."""
    candidate, baseline = found.contestants.candidate.id, found.contestants.baseline.id
    rate = found.win_rate
    if rate.value is None:
        return "Nobody has ranked yet."
    who = "Simulated labelers" if found.all_simulated else "People"
    numbers = (
        f"{candidate} won {as_percent(rate.value)} of {plural(rate.n, 'ranking')}"
        f"{' so far' if found.going else ''} ({_interval_words(found)})"
    )
    if found.verdict == Verdict.BETTER:
        return f"{who} prefer {candidate}: {numbers}."
    if found.verdict == Verdict.WORSE:
        return f"{who} prefer {baseline}: {numbers}."
    even = ", which holds an even split" if found.through or found.always_valid else ""
    return f"Nobody can tell yet which one is preferred: {numbers}{even}."


def _interval_words(found: Evaluation) -> str:
    if found.through:
        return f"95% interval {describe_interval(found.win_rate)}"
    if found.always_valid is None:
        return "no prompt has all of its rankings yet"
    return f"95% interval at every look {describe_interval(found.always_valid)}"


def stop_sentence(found: Evaluation) -> str:
    """Whether an admin may stop asking before all rankings are in, or has done so rightly."""
    always = found.always_valid
    no = "Not yet" if found.going else "Not all rankings are in"
    if always is None:
        return f"{no}, and no prompt has all of its own."
    interval = (
        f"the interval that holds however often you look is {describe_interval(always)}, "
        f"from {plural(always.n, 'ranking')}"
    )
    if found.through:
        return f"All rankings are in, so the plain interval counts. For comparison: {interval}."
    if always.low > EVEN or always.high < EVEN:
        yes = "Yes" if found.going else "Sure enough, though not all rankings are in"
        return f"{yes}: {interval}, and leaves out 50%."
    return f"{no}: {interval}, which holds 50%."


def length_sentence(found: Evaluation) -> str:
    """What length has to do with it."""
    corrected, rate = found.corrected, found.win_rate
    if corrected is None or rate.value is None:
        return "Known from three prompts on."
    longer = round(corrected.mean_longer_by)
    if longer == 0:
        compared = "Both policies write texts of about one length"
    else:
        word = "longer" if longer > 0 else "shorter"
        compared = f"The new texts are {plural(abs(longer), 'character')} {word} on average"
    change = 100 * (corrected.value - rate.value)
    if abs(change) < 1:
        return f"{compared}; that explains nothing of the win rate."
    way = "less" if change < 0 else "more"
    return f"{compared}; at equal lengths it would win {abs(change):.0f} points {way}."


def model_sentence(found: Evaluation) -> str:
    """The reward model's own verdict beside the people's."""
    if found.agreement is None:
        return ""
    own = found.agreement.model_win_rate.value or 0.0
    people = found.win_rate.value or 0.0
    text = (
        f"It prefers the new text in {as_percent(own)} of these pairs; "
        f"people in {as_percent(people)}."
    )
    right = found.agreement.agreement
    if own - people > 0.2 and right.low is not None and right.low < 0.55:
        text += (
            " The policy may have learned what this model likes and not what people like: train "
            "the next reward model on fresh rankings."
        )
    return text


def plot_verdict(found: Evaluation) -> ForestPlot:
    """The win rate, what it would be at equal lengths, and what the reward model would say."""
    rows: list[tuple[str, str, Interval]] = [("All rankings", "", found.win_rate)]
    if found.always_valid is not None:
        rows.append(("The same, at every look", "", found.always_valid))
    if found.corrected is not None:
        rows.append(("At equal lengths", "", found.corrected))
    if found.agreement is not None:
        rows.append(("By the reward model", "", found.agreement.model_win_rate))
    return plot_forest(
        "win-rate",
        "Win rate of the new policy",
        rows,
        row_title="Judged by",
        noun="ranking",
        finding="Right of the line the new policy is preferred; an interval that crosses it is "
        "open.",
        reference=EVEN,
        reference_label="even",
        bad_below=EVEN,
    )


def plot_labelers(found: Evaluation, project_id: str) -> ForestPlot | None:
    """Each labeler's win rate; None for fewer than two."""
    if len(found.labelers) < 2:
        return None
    rows: list[tuple[str, str, Interval]] = [
        (one.labeler, labeler_href(project_id, one.labeler), one.rate)
        for one in found.labelers[:LABELERS_IN_PLOT]
    ]
    new, old = (
        sum(judge_rate(one.rate, one.rate) == verdict for one in found.labelers)
        for verdict in (Verdict.BETTER, Verdict.WORSE)
    )
    return plot_forest(
        "labelers",
        "Win rate by labeler",
        rows,
        row_title="Labeler",
        noun="ranking",
        finding=f"Each taken alone, {plural(new, 'labeler')} of {len(found.labelers)} surely "
        f"{'prefers' if new == 1 else 'prefer'} the new policy, {old} the old one.",
        reference=EVEN,
        reference_label="even",
        bad_below=EVEN,
    )


def list_steps(found: Evaluation) -> list[Step]:
    """How far the rankings are from telling 5, 10 and 15 points."""
    return [
        Step(
            points=f"{100 * needed.difference:.0f} points",
            rate=as_percent(EVEN + needed.difference),
            wanted=needed.rankings,
            got=min(found.win_rate.n, needed.rankings),
            more=needed.more,
            prompts=needed.prompts,
        )
        for needed in found.needed
    ]


def describe_verdicts(session: Session, model: Model) -> dict[str, Any]:
    """The context of `models/_verdict.html`: A/B rounds and promotions of a policy."""
    trials = [evaluate_round(session, one) for one in list_ab_rounds(session, [model.id])]
    history = list_promotions(session, model_id=model.id)
    return {
        "trials": [(one, verdict_sentence(one)) for one in trials],
        "promotions": [(one.promotion, evidence_words(one.promotion.evidence)) for one in history],
        "promoted": find_promotion(session, model.project_id) if model.project_id else None,
        "evidence_round": next((one.round for one in trials if one.win_rate.n), None),
    }


def evidence_words(evidence: Mapping[str, Any]) -> str:
    """The evidence of a promotion in a sentence, as it was then."""
    if not evidence.get("asked"):
        return "No people were asked."
    rate = as_percent(evidence["win_rate"])
    interval = f"{as_percent(evidence['low'])} to {as_percent(evidence['high'])}"
    rankings = plural(evidence["rankings"], "ranking")
    text = (
        f"{evidence['candidate']} won {rate} (95% interval {interval}) of {rankings} by "
        f"{plural(evidence['labelers'], 'labeler')} against {evidence['baseline']}."
    )
    if evidence.get("through") is False:
        text += " Not all rankings of the round were in"
        always = evidence.get("always_valid")
        text += (
            f"; an interval that holds at every look was {as_percent(always['low'])} to "
            f"{as_percent(always['high'])}."
            if always
            else "."
        )
    if evidence.get("simulated_rankings"):
        text += f" {plural(evidence['simulated_rankings'], 'ranking')} of these simulated."
    if corrected := evidence.get("length_corrected"):
        text += f" At equal lengths {as_percent(corrected['value'])}."
    if model := evidence.get("reward_model"):
        agreed = model["agreement"]["value"]
        if agreed is not None:
            text += f" {model['model_id']} agreed on {as_percent(agreed)} of the decided pairs."
    return text
