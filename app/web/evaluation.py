"""Pages of the people's verdict: the form that asks them, and what they say."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app.dependencies import Admin, AppDatabase, AppSettings, ReadSession, Researcher, WriteSession
from app.errors import AppError, Invalid
from app.evaluation.opening import (
    Contest,
    default_sampling,
    get_contest,
    list_ab_rounds,
    open_ab_round,
)
from app.evaluation.promotion import find_promotion
from app.evaluation.results import Evaluation, evaluate_round
from app.evaluation.rewards import ask_reward_model_again
from app.evaluation.samples import Said, choose_outcomes, load_samples
from app.jobs.service import find_job, get_job, is_worker_alive
from app.models import JobState, ModelKind, Project, Round, RoundState, User
from app.projects.round_changes import MOST_LABELERS
from app.projects.round_counts import round_counts
from app.projects.rounds import MOST_COMPLETIONS, get_round
from app.projects.service import get_project
from app.registry.service import list_models
from app.settings import Settings
from app.web.forms import FormFields, read_whole, texts_of
from app.web.sampling import read_sampling, sampling_fields
from app.web.several_policies import (
    plot_pairs,
    plot_strengths,
    strengths_note,
    unplaced_sentence,
)
from app.web.templating import redirect_with_message, render
from app.web.trial_plans import describe_plan
from app.web.verdicts import (
    BADGES,
    COLORS,
    length_sentence,
    list_steps,
    model_sentence,
    plot_labelers,
    plot_verdict,
    stop_sentence,
    verdict_sentence,
)

router = APIRouter()

SAMPLES_PER_PAGE = 10
LIVE_SECONDS = 2
RANKING_SECONDS = 10
SAID_WORDS = {
    Said.WON: "New wins",
    Said.LOST: "Old wins",
    Said.TIED: "Ties",
    Said.AGAINST_MODEL: "Reward model disagrees",
}
ANSWERS = {Said.WON: "new", Said.LOST: "old", Said.TIED: "tie"}
ANSWER_COLORS = {Said.WON: "teal", Said.LOST: "orange", Said.TIED: "secondary"}


@router.get("/jobs/{job_id}/evaluation")
def show_form(
    request: Request, job_id: str, session: ReadSession, user: Admin, settings: AppSettings
) -> HTMLResponse:
    """The form that puts a job's new policy before people."""
    contest = get_contest(session, settings, get_job(session, job_id))
    return _render_form(request, session, user, contest, _default_values(contest), [])


@router.post("/jobs/{job_id}/evaluation")
def open_round(
    request: Request,
    job_id: str,
    database: AppDatabase,
    user: Admin,
    settings: AppSettings,
    form: FormFields,
) -> Response:
    """Open the round and go to its verdict, or show the form again with what is wrong."""
    values = {name: value for name, value in form.items() if isinstance(value, str)}
    others = texts_of(form, "others")
    try:
        with database.write() as session:
            round_ = _open(session, user, settings, job_id, values, others)
    except AppError as error:
        if not error.fields and error.code != "already_compared":
            raise
        with database.read() as session:
            contest = get_contest(session, settings, get_job(session, job_id))
            shown = {**_default_values(contest), **values}
            return _render_form(request, session, user, contest, shown, others, _by_field(error))
    return redirect_with_message(
        f"/rounds/{round_.id}/evaluation", f"Round {round_.number} has started: people are asked."
    )


@router.get("/jobs/{job_id}/evaluation/plan")
def show_plan(
    request: Request, job_id: str, session: ReadSession, user: Admin, settings: AppSettings
) -> HTMLResponse:
    """What the values in the form can tell."""
    contest = get_contest(session, settings, get_job(session, job_id))
    values = {**_default_values(contest), **request.query_params}
    plan = describe_plan(contest, values, request.query_params.getlist("others"))
    return render(request, "evaluation/_plan.html", {"plan": plan, "contest": contest})


@router.get("/rounds/{round_id}/evaluation")
def show_verdict(
    request: Request,
    round_id: str,
    session: ReadSession,
    user: Researcher,
    said: str = "",
    labeler: str = "",
    page: int = 1,
    candidate: str = "",
    baseline: str = "",
) -> HTMLResponse:
    """What people say of the new policy, with the texts behind every number.

    `candidate` and `baseline` set two others of the round's policies against each other.
    """
    round_ = get_round(session, round_id, user)
    project = get_project(session, round_.project_id, user)
    found = evaluate_round(
        session, round_, candidate_id=candidate or None, baseline_id=baseline or None
    )
    pair = {"candidate": candidate, "baseline": baseline}
    shown = Said(said) if said in set(Said) else None
    return render(
        request,
        "evaluation/page.html",
        {
            **_numbers_context(session, project, found),
            **_samples_context(session, found, shown, labeler, max(page, 1), pair),
            "own_pair": not (candidate or baseline),
            "promotion": find_promotion(session, project.id),
        },
    )


@router.post("/rounds/{round_id}/evaluation/rewards")
def ask_again(round_id: str, session: WriteSession, user: Admin) -> Response:
    """Have the reward model score what it could not score before."""
    ask_reward_model_again(session, user, get_round(session, round_id, user))
    return redirect_with_message(
        f"/rounds/{round_id}/evaluation", "The reward model is being asked.", kind="info"
    )


def _open(
    session: Session,
    user: User,
    settings: Settings,
    job_id: str,
    values: Mapping[str, str],
    others: Sequence[str],
) -> Round:
    return open_ab_round(
        session,
        user,
        settings,
        get_job(session, job_id),
        prompts=read_whole(values.get("prompts", "")),
        labelers_per_task=read_whole(values.get("labelers_per_task", "")),
        completions_per_policy=read_whole(values.get("completions_per_policy", "")),
        others=others,
        sampling=read_sampling(values),
        again=values.get("again") == "yes",
    )


def _by_field(error: AppError) -> AppError:
    """The same error with its fields by the names that the form has for them."""
    error.fields = {name.removeprefix("sampling."): text for name, text in error.fields.items()}
    return error


def _default_values(contest: Contest) -> dict[str, str]:
    sampling = default_sampling(contest.job)
    return {
        "prompts": str(contest.default_prompts),
        "labelers_per_task": "1",
        "completions_per_policy": "1",
        **{name: "" if value is None else f"{value:g}" for name, value in sampling.items()},
    }


def _render_form(
    request: Request,
    session: Session,
    user: User,
    contest: Contest,
    values: Mapping[str, str],
    others: Sequence[str],
    error: AppError | None = None,
) -> HTMLResponse:
    project_id = contest.job.project_id
    if project_id is None:
        raise Invalid("This job belongs to no project.")
    pair = (contest.candidate.id, contest.baseline.id)
    policies = list_models(session, ModelKind.POLICY, project_id)
    earlier = list_ab_rounds(session, [contest.candidate.id])
    return render(
        request,
        "evaluation/new.html",
        {
            "project": get_project(session, project_id, user),
            "contest": contest,
            "earlier": earlier[0] if earlier else None,
            "values": values,
            "plan": describe_plan(contest, values, others),
            "others": [(one, one.id in others) for one in policies if one.id not in pair],
            "sampling_fields": sampling_fields(),
            "most_labelers": MOST_LABELERS,
            "most_completions": MOST_COMPLETIONS // 2,
            "error": error,
        },
        status_code=error.status if error else 200,
    )


def _numbers_context(session: Session, project: Project, found: Evaluation) -> dict[str, Any]:
    round_ = found.round
    counts = round_counts(session, round_.id)
    job = find_job(session, round_.job_id) if round_.job_id else None
    making = job is not None and not JobState(job.state).final
    waiting = round_.state == RoundState.OPEN and counts.rankings_got < counts.rankings_wanted
    return {
        "project": project,
        "round": round_,
        "found": found,
        "counts": counts,
        "job": job,
        "making": making,
        "no_worker": making and not is_worker_alive(session),
        "poll_seconds": LIVE_SECONDS if making else RANKING_SECONDS if waiting else None,
        "sentence": verdict_sentence(found),
        "badge": BADGES[found.verdict],
        "color": COLORS[found.verdict],
        "verdict_plot": plot_verdict(found),
        "labelers_plot": plot_labelers(found, project.id),
        "strengths_plot": plot_strengths(found),
        "strengths_note": strengths_note(found),
        "unplaced_words": unplaced_sentence(found),
        "pairs_plot": plot_pairs(found),
        "steps": list_steps(found),
        "stop_words": stop_sentence(found),
        "length_words": length_sentence(found),
        "model_words": model_sentence(found),
    }


def _samples_context(
    session: Session,
    found: Evaluation,
    said: Said | None,
    labeler: str,
    page: int,
    pair: Mapping[str, str],
) -> dict[str, Any]:
    chosen = choose_outcomes(found, said, labeler or None)
    first = (page - 1) * SAMPLES_PER_PAGE
    tasks = list(chosen)[first : first + SAMPLES_PER_PAGE]
    base = f"/rounds/{found.round.id}/evaluation"

    def address(**change: str | int) -> str:
        values = {**pair, "said": said or "", "labeler": labeler, **change}
        query = urlencode({name: value for name, value in values.items() if value})
        return f"{base}{'?' + query if query else ''}"

    def samples(**change: str | int) -> str:
        return f"{address(**change)}#samples"

    return {
        "samples": load_samples(session, found, {task: chosen[task] for task in tasks}),
        "samples_total": len(chosen),
        "said": said,
        "labeler": labeler,
        "choices": [
            (words, samples(said=value), value == said) for value, words in SAID_WORDS.items()
        ],
        "pair_address": address(said="", labeler=""),
        "said_addresses": {value: samples(said=value, labeler="") for value in Said},
        "labeler_addresses": {
            one.labeler: samples(said="", labeler=one.labeler) for one in found.labelers
        },
        "all_address": samples(said=""),
        "everybody_address": samples(labeler=""),
        "first_address": samples() if page > 1 else "",
        "next_address": (samples(page=page + 1) if first + SAMPLES_PER_PAGE < len(chosen) else ""),
        "answers": ANSWERS,
        "answer_colors": ANSWER_COLORS,
    }
