"""Which policy a project goes on with, and what was known when that was decided."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.errors import Conflict, Invalid, NotFound
from app.evaluation.outcomes import get_contestants
from app.evaluation.results import Evaluation, evaluate_round
from app.evaluation.win_rates import Rate
from app.models import Model, ModelKind, Project, Promotion, Round, User
from app.registry.service import list_models, require_model

LONGEST_NOTE = 2000


@dataclass(frozen=True, kw_only=True)
class Promoted:
    """A promotion with the round it rests on and who decided."""

    promotion: Promotion
    round_number: int | None
    by: str | None


def promote(
    session: Session,
    user: User | None,
    project: Project,
    model_id: str,
    *,
    round_id: str | None = None,
    note: str = "",
) -> Promotion:
    """Make a policy the one that the project goes on with: the default of its next round.

    Afterwards there is a promotion with the evidence as it is now, and the act is in the audit
    log. Without a round the evidence says that nobody was asked. Going back to an earlier policy
    is promoting that one. For admins: the edge checks that.

    Raises:
        Invalid: not a policy of this project, or a round that it had no part in; `fields`.
        Conflict: `already_promoted`, or `project_archived`.
    """
    if project.archived_at is not None:
        raise Conflict("This project is archived; restore it first.", code="project_archived")
    note = note.strip()
    if len(note) > LONGEST_NOTE:
        accepted = f"at most {LONGEST_NOTE} characters"
        raise Invalid(f"A note has {accepted}.", fields={"note": accepted})
    model = require_model(session, model_id, "model_id", ModelKind.POLICY)
    if model.project_id not in (None, project.id):
        raise Invalid(
            f"{model.id} was made in another project.",
            fields={"model_id": "the id of a policy of this project, or of none"},
        )
    session.execute(select(Project.id).where(Project.id == project.id).with_for_update())
    previous = find_promotion(session, project.id)
    if previous is not None and previous.model_id == model.id:
        raise Conflict(f"{model.id} is promoted already.", code="already_promoted")
    round_ = _round_of(session, project, model, round_id) if round_id else None
    evidence = describe_evidence(_evaluate(session, round_, model)) if round_ else NOBODY_ASKED
    promotion = Promotion(
        project_id=project.id,
        model_id=model.id,
        previous_model_id=previous.model_id if previous else None,
        round_id=round_.id if round_ else None,
        evidence=evidence,
        note=note,
        created_by=user.id if user else None,
    )
    session.add(promotion)
    session.flush()
    record(
        session,
        user,
        "model.promote",
        "model",
        model.id,
        project=project.id,
        previous=promotion.previous_model_id,
        round=promotion.round_id,
        win_rate=evidence.get("win_rate"),
    )
    return promotion


def find_promotion(session: Session, project_id: str) -> Promotion | None:
    """The promotion in force; None where a project never promoted anything."""
    return session.scalar(
        select(Promotion)
        .where(Promotion.project_id == project_id)
        .order_by(Promotion.id.desc())
        .limit(1)
    )


def list_promotions(
    session: Session, *, project_id: str | None = None, model_id: str | None = None
) -> list[Promoted]:
    """Promotions of a project, of a model, or of one in the other; the newest first."""
    query = (
        select(Promotion, Round.number, User)
        .outerjoin(Round, Round.id == Promotion.round_id)
        .outerjoin(User, User.id == Promotion.created_by)
        .order_by(Promotion.id.desc())
    )
    if project_id is not None:
        query = query.where(Promotion.project_id == project_id)
    if model_id is not None:
        query = query.where(Promotion.model_id == model_id)
    return [
        Promoted(promotion=promotion, round_number=number, by=(by.name or by.email) if by else None)
        for promotion, number, by in session.execute(query)
    ]


def default_policy(session: Session, project_id: str) -> Model | None:
    """The policy to go on with: the promoted one, or else the newest there is."""
    promotion = find_promotion(session, project_id)
    if promotion is not None:
        model = session.get_one(Model, promotion.model_id)
        if model.archived_at is None:
            return model
    models = list_models(session, ModelKind.POLICY, project_id)
    return models[0] if models else None


def default_policies(session: Session, project_id: str) -> list[str]:
    """The policies of a round that names none: the one to go on with, or none."""
    policy = default_policy(session, project_id)
    return [policy.id] if policy else []


NOBODY_ASKED: dict[str, Any] = {"asked": False}


def describe_evidence(evaluation: Evaluation) -> dict[str, Any]:
    """What an evaluation says now, to be kept as it is; `asked` is false where nobody ranked."""
    rate, corrected, agreement = evaluation.win_rate, evaluation.corrected, evaluation.agreement
    always = evaluation.always_valid
    facts: dict[str, Any] = {
        "asked": rate.n > 0,
        "round_number": evaluation.round.number,
        "candidate": evaluation.contestants.candidate.id,
        "baseline": evaluation.contestants.baseline.id,
    }
    if not rate.n:
        return facts
    return {
        **facts,
        "verdict": evaluation.verdict.value,
        "win_rate": rate.value,
        "low": rate.low,
        "high": rate.high,
        "through": evaluation.through,
        "always_valid": (
            {"low": always.low, "high": always.high, "rankings": always.n} if always else None
        ),
        "rankings": rate.n,
        "prompts": rate.prompts,
        "labelers": len(evaluation.labelers),
        "simulated_rankings": evaluation.simulated_rankings,
        "won": evaluation.tally.won,
        "tied": evaluation.tally.tied,
        "lost": evaluation.tally.lost,
        "length_corrected": (
            {"value": corrected.value, "low": corrected.low, "high": corrected.high}
            if corrected
            else None
        ),
        "reward_model": (
            {
                "model_id": evaluation.judge.id,
                "agreement": _rate_json(agreement.agreement),
                "win_rate": _rate_json(agreement.model_win_rate),
            }
            if evaluation.judge and agreement
            else None
        ),
    }


def _evaluate(session: Session, round_: Round, model: Model) -> Evaluation:
    """The round as it was opened; where the policy is a third one, that one against the old."""
    own = get_contestants(session, round_)
    known = model.id in (own.candidate.id, own.baseline.id)
    return evaluate_round(session, round_, candidate_id=None if known else model.id)


def _rate_json(rate: Rate) -> dict[str, Any]:
    return {"value": rate.value, "low": rate.low, "high": rate.high, "n": rate.n}


def _round_of(session: Session, project: Project, model: Model, round_id: str) -> Round:
    round_ = session.get(Round, round_id)
    if round_ is None or round_.project_id != project.id:
        raise NotFound("There is no such round.", code="round_not_found")
    if model.id not in round_.policies or len(round_.policies) < 2:
        raise Invalid(
            f"Round {round_.number} does not compare {model.id} with another policy.",
            fields={"round_id": "a round in which the policy stood against another"},
        )
    return round_
