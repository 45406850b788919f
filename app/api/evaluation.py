"""The people's verdict over REST: put a new policy before them, read what they say, promote."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.evaluation_schemas import (
    AlwaysValidOut,
    CorrectedOut,
    EvaluationIn,
    EvaluationOut,
    LabelerVerdictOut,
    ModelAgreementOut,
    NeededOut,
    PairRateOut,
    PromotionIn,
    PromotionList,
    PromotionOut,
    RateOut,
    StrengthOut,
)
from app.api.paging import Cursor, Limit, page_of
from app.api.problems import problems
from app.api.rounds import RoundOut
from app.api.rounds import describe as describe_round
from app.dependencies import Admin, AppSettings, ReadSession, Researcher, WriteSession
from app.evaluation.opening import open_ab_round
from app.evaluation.promotion import list_promotions, promote
from app.evaluation.results import Evaluation, LabelerVerdict, Several, evaluate_round
from app.evaluation.rewards import ask_reward_model_again
from app.jobs.service import get_job
from app.models import Promotion
from app.projects.rounds import get_round
from app.projects.service import get_project

router = APIRouter(tags=["evaluation"])

Contestant = Annotated[
    str | None,
    Query(
        max_length=100,
        description="Id of a policy of the round to compare instead of the round's own.",
        examples=[None],
    ),
]


@router.post(
    "/jobs/{job_id}/evaluation",
    status_code=201,
    summary="Put a new policy before people",
    responses=problems(
        "nothing_to_compare",
        "no_held_out_prompts",
        "already_compared",
        "project_archived",
        "invalid",
    ),
)
def open_round(
    job_id: str,
    session: WriteSession,
    user: Admin,
    settings: AppSettings,
    response: Response,
    body: EvaluationIn | None = None,
) -> RoundOut:
    """Open a blind A/B round from a finished job that tuned a policy.

    The new policy and its parent each write for the prompts that the job held out, and people rank
    them in the ordinary queue. Read the verdict at `GET /rounds/{id}/evaluation`.
    """
    body = body or EvaluationIn()
    round_ = open_ab_round(
        session,
        user,
        settings,
        get_job(session, job_id),
        prompts=body.prompts,
        labelers_per_task=body.labelers_per_task,
        completions_per_policy=body.completions_per_policy,
        others=body.others,
        sampling=body.sampling.model_dump(exclude_unset=True) if body.sampling else None,
        again=body.again,
    )
    response.headers["Location"] = f"/api/v1/rounds/{round_.id}"
    return describe_round(session, round_)


@router.get(
    "/rounds/{round_id}/evaluation",
    summary="Read what people say of a policy",
    responses=problems("nothing_to_compare", "invalid"),
)
def show(
    round_id: str,
    session: ReadSession,
    user: Researcher,
    candidate: Contestant = None,
    baseline: Contestant = None,
) -> EvaluationOut:
    """Win rate, what it takes to tell more, correction for length, and the reward model's view.

    Of any round of at least two policies; where nobody said which is on trial, it is the youngest
    against the oldest.
    """
    round_ = get_round(session, round_id, user)
    found = evaluate_round(session, round_, candidate_id=candidate, baseline_id=baseline)
    return describe(found)


@router.post(
    "/rounds/{round_id}/evaluation/rewards",
    status_code=202,
    summary="Ask the reward model again",
    responses=problems(
        "no_reward_model",
        "nothing_to_compare",
        "nothing_missing",
        "round_generating",
        "round_closed",
    ),
)
def ask_again(round_id: str, session: WriteSession, user: Admin) -> RoundOut:
    """A job that has the reward model score what it could not score when the round was made."""
    round_ = get_round(session, round_id, user)
    ask_reward_model_again(session, user, round_)
    return describe_round(session, round_)


@router.post(
    "/projects/{project_id}/promotions",
    status_code=201,
    summary="Promote a policy",
    responses=problems("already_promoted", "project_archived", "round_not_found", "invalid"),
)
def create(project_id: str, body: PromotionIn, session: WriteSession, user: Admin) -> PromotionOut:
    """Make a policy the default of the next round, and keep the evidence as it is now.

    Going back to an earlier policy is promoting that one.
    """
    project = get_project(session, project_id, user)
    promotion = promote(
        session, user, project, body.model_id, round_id=body.round_id, note=body.note
    )
    return describe_promotion(promotion)


@router.get("/projects/{project_id}/promotions", summary="List promotions")
def list_all(
    project_id: str,
    session: ReadSession,
    user: Researcher,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PromotionList:
    """Every policy that the project went on with, the newest first: the first is in force."""
    project = get_project(session, project_id, user)
    found = [one.promotion for one in list_promotions(session, project_id=project.id)]
    page, next_cursor = page_of(found, lambda one: one.id, limit, cursor)
    return PromotionList(items=[describe_promotion(one) for one in page], next_cursor=next_cursor)


def describe(found: Evaluation) -> EvaluationOut:
    """An evaluation as REST gives it."""
    return EvaluationOut(
        round_id=found.round.id,
        round_number=found.round.number,
        candidate=found.contestants.candidate.id,
        baseline=found.contestants.baseline.id,
        policies=found.contestants.policies,
        verdict=found.verdict,
        win_rate=RateOut.model_validate(found.win_rate),
        always_valid=(
            AlwaysValidOut.model_validate(found.always_valid) if found.always_valid else None
        ),
        through=found.through,
        won=found.tally.won,
        tied=found.tally.tied,
        lost=found.tally.lost,
        simulated_rankings=found.simulated_rankings,
        needed=[NeededOut.model_validate(one) for one in found.needed],
        tellable_difference=found.tellable,
        planned_difference=found.plan.tellable if found.plan else None,
        length_corrected=CorrectedOut.model_validate(found.corrected) if found.corrected else None,
        reward_model=_describe_agreement(found),
        rewards_missing=found.rewards_missing,
        strengths=_describe_strengths(found.several),
        unplaced=found.several.unplaced if found.several else [],
        pair_rates=_describe_pair_rates(found.several),
        labelers=[_describe_labeler(one) for one in found.labelers],
        candidate_first=found.candidate_first,
        baseline_first=found.baseline_first,
        first_won=RateOut.model_validate(found.first_won),
    )


def describe_promotion(promotion: Promotion) -> PromotionOut:
    """A promotion as REST gives it."""
    return PromotionOut(
        id=promotion.id,
        project_id=promotion.project_id,
        model_id=promotion.model_id,
        previous_model_id=promotion.previous_model_id,
        round_id=promotion.round_id,
        evidence=promotion.evidence,
        note=promotion.note,
        created_at=promotion.created_at,
        created_by=promotion.created_by,
    )


def _describe_agreement(found: Evaluation) -> ModelAgreementOut | None:
    if found.judge is None or found.agreement is None:
        return None
    return ModelAgreementOut(
        model_id=found.judge.id,
        agreement=RateOut.model_validate(found.agreement.agreement),
        tied_by_people=found.agreement.tied_by_people,
        win_rate=RateOut.model_validate(found.agreement.model_win_rate),
    )


def _describe_strengths(several: Several | None) -> list[StrengthOut] | None:
    if several is None or several.strengths is None:
        return None
    return [
        StrengthOut(
            policy=policy,
            strength=strength.value,
            low=strength.low,
            high=strength.high,
            beats_baseline=strength.beats_baseline,
        )
        for policy, strength in zip(several.placed, several.strengths.strengths, strict=True)
    ]


def _describe_pair_rates(several: Several | None) -> list[PairRateOut] | None:
    if several is None:
        return None
    return [
        PairRateOut(policy=policy, over=over, win_rate=RateOut.model_validate(rate))
        for (policy, over), rate in several.rates.items()
    ]


def _describe_labeler(one: LabelerVerdict) -> LabelerVerdictOut:
    return LabelerVerdictOut(
        labeler=one.labeler,
        simulated=one.simulated,
        won=one.tally.won,
        tied=one.tally.tied,
        lost=one.tally.lost,
        win_rate=RateOut.model_validate(one.rate),
        candidate_first=one.candidate_first,
        baseline_first=one.baseline_first,
    )
