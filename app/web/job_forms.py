"""The form of a new job, made from its kind's config."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.jobs.kind import JobKind
from app.jobs.schema import ConfigField, config_fields, show_value
from app.models import Model, ModelKind, ModelSource, Project, Snapshot
from app.registry.service import list_models

MADE_ELSEWHERE = "round"
"""A kind that needs one of these is started where it is made, not by a form of its own."""

MODELS_FOR = {
    "policy": (ModelKind.POLICY,),
    "reward_model": (ModelKind.REWARD_MODEL,),
    "backbone": (ModelKind.ENCODER, ModelKind.POLICY, ModelKind.REWARD_MODEL),
}
NOTHING_YET = {
    "policy": "There is no policy whose weights are here.",
    "reward_model": "There is no reward model yet: train one on the project's pairs first.",
    "backbone": "There is no model to start from.",
    "snapshot": "There is no snapshot yet.",
}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One option of a reference."""

    value: str
    label: str


@dataclass(frozen=True, kw_only=True)
class FormField:
    """One input, with what was entered and what is wrong with it."""

    config: ConfigField
    value: str
    problem: str | None = None
    choices: list[Choice] | None = None
    hints: list[str] = field(default_factory=list)

    @property
    def nothing_to_choose(self) -> str | None:
        """What to say where a required reference has no choice."""
        if self.choices is None or self.choices or not self.config.required:
            return None
        return NOTHING_YET.get(self.config.reference or "", "There is nothing to choose yet.")


@dataclass(frozen=True, kw_only=True)
class JobForm:
    """The form: what everyone looks at, and what is folded away."""

    kind: JobKind
    main: list[FormField]
    advanced: list[FormField]
    problem: str | None

    @property
    def advanced_open(self) -> bool:
        """Whether a folded field needs attention or was changed."""
        return any(
            item.problem or item.value != show_value(item.config.default) for item in self.advanced
        )

    @property
    def can_start(self) -> bool:
        """Whether every reference can be chosen."""
        return not any(item.nothing_to_choose for item in [*self.main, *self.advanced])


def has_form(kind: JobKind) -> bool:
    """Whether people start this kind by its own form."""
    return all(item.reference != MADE_ELSEWHERE for item in config_fields(kind.config_type))


def build_form(
    session: Session,
    project: Project,
    kind: JobKind,
    *,
    values: Mapping[str, str] | None = None,
    entered: bool = False,
    problems: Mapping[str, str] | None = None,
    problem: str | None = None,
) -> JobForm:
    """A form filled with `values`, defaults elsewhere.

    `entered` says that the values were sent in by a person: an empty one is then empty, and an
    absent checkbox is off.
    """
    values = values or {}
    problems = problems or {}
    made: list[FormField] = []
    for item in config_fields(kind.config_type):
        default = show_value(item.default) if not entered else ""
        choices = list_choices(session, project, item)
        value = values.get(item.name, default)
        if not value and choices and item.required:
            value = choices[0].value
        made.append(
            FormField(
                config=item,
                value=value,
                problem=problems.get(item.name),
                choices=choices,
                hints=describe_range(item),
            )
        )
    named = {item.config.name for item in made}
    elsewhere = [text for name, text in problems.items() if name not in named]
    return JobForm(
        kind=kind,
        main=[item for item in made if not item.config.advanced],
        advanced=[item for item in made if item.config.advanced],
        problem=problem if problem and (elsewhere or not problems) else None,
    )


def describe_range(item: ConfigField) -> list[str]:
    """The range and the default, each in a few words."""
    hints: list[str] = []
    if item.minimum is not None and item.maximum is not None:
        hints.append(f"{item.minimum:,g} to {item.maximum:,g}")
    elif item.minimum is not None:
        hints.append(f"at least {item.minimum:,g}")
    elif item.maximum is not None:
        hints.append(f"at most {item.maximum:,g}")
    if not item.required and item.default is not None and not isinstance(item.default, bool):
        hints.append(f"default {show_value(item.default)}")
    return hints


def list_choices(session: Session, project: Project, item: ConfigField) -> list[Choice] | None:
    """What a field can be, where that can be listed; None for other fields."""
    if item.choices:
        return [Choice(value=value, label=value) for value in item.choices]
    if item.reference in MODELS_FOR:
        kinds = MODELS_FOR[item.reference]
        models = [
            model
            for kind in kinds
            for model in list_models(session, kind, project.id)
            if model.source != ModelSource.ENDPOINT
        ]
        return [Choice(value=model.id, label=describe_model(model)) for model in models]
    if item.reference == "snapshot":
        query = select(Snapshot).where(Snapshot.project_id == project.id, Snapshot.pairs > 0)
        snapshots = session.scalars(query.order_by(Snapshot.id.desc()).limit(100))
        return [Choice(value=one.id, label=describe_snapshot(one)) for one in snapshots]
    return None


def describe_model(model: Model) -> str:
    """A model as an option of a select."""
    words = [model.id]
    if model.parameters:
        words.append(f"{model.parameters / 1e6:,.0f}M parameters")
    accuracy = model.metrics.get("accuracy")
    if isinstance(accuracy, float):
        words.append(f"{accuracy:.0%} pair accuracy")
    if model.simulated_labels:
        words.append("simulated labels")
    return " · ".join(words)


def describe_snapshot(snapshot: Snapshot) -> str:
    """A snapshot as an option of a select."""
    name = snapshot.name or f"{snapshot.created_at:%Y-%m-%d %H:%M} UTC"
    simulated = " · simulated" if snapshot.simulated_rankings else ""
    return f"{name} · {snapshot.pairs:,} pairs from {snapshot.rankings:,} rankings{simulated}"
