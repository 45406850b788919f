"""The registry: every model by its id, where its files are, and who may be used as what."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.errors import Invalid, NotFound, Unavailable
from app.inference.catalogue import ModelFiles
from app.inference.starters import STARTERS, StarterError, ensure_starter
from app.models import Model, ModelKind, ModelSource, User, utc_now
from app.registry.weights import Weights
from app.settings import Settings

LONGEST_ID = 80
RESERVED_IDS = ("new",)
"""Addresses under `/models` that are pages of their own."""
KIND_WORDS = {
    ModelKind.POLICY: "a policy",
    ModelKind.REWARD_MODEL: "a reward model",
    ModelKind.ENCODER: "an encoder",
}


def get_model(session: Session, model_id: str) -> Model:
    """The model with this id, archived or not.

    Raises:
        NotFound: the registry has no such model.
    """
    model = session.get(Model, model_id)
    if model is None:
        raise NotFound(f"There is no model {model_id!r} in the registry.")
    return model


def list_models(
    session: Session,
    kind: ModelKind | str | None = None,
    project_id: str | None = None,
    *,
    include_archived: bool = False,
) -> list[Model]:
    """Models, the newest first; with a project, those made in it and those that belong to none."""
    query = select(Model).order_by(Model.created_at.desc(), Model.id)
    if kind is not None:
        query = query.where(Model.kind == kind)
    if project_id is not None:
        query = query.where((Model.project_id == project_id) | Model.project_id.is_(None))
    if not include_archived:
        query = query.where(Model.archived_at.is_(None))
    return list(session.scalars(query))


def require_model(
    session: Session, model_id: Any, field: str, *kinds: ModelKind, local: bool = False
) -> Model:
    """The model that `field` of a request names, if it may be used as one of `kinds`.

    `local` asks for weights this installation can load, which an endpoint does not give.

    Raises:
        Invalid: unknown, archived, of another kind, or without weights; `field` is named.
    """
    wanted = " or ".join(KIND_WORDS[kind] for kind in kinds)
    accepted = {field: f"the id of {wanted} in the registry"}
    model = session.get(Model, model_id) if isinstance(model_id, str) else None
    if model is None:
        raise Invalid(f"There is no model {model_id!r} in the registry.", fields=accepted)
    if model.kind not in kinds:
        has = KIND_WORDS[ModelKind(model.kind)]
        raise Invalid(f"{model.id} is {has}; {field} wants {wanted}.", fields=accepted)
    if model.archived_at is not None:
        raise Invalid(f"{model.id} is archived; choose another model.", fields=accepted)
    if local and model.source == ModelSource.ENDPOINT:
        raise Invalid(
            f"{model.id} is served at {model.location} and has no weights here to train on.",
            fields=accepted,
        )
    return model


def create_model(
    session: Session,
    *,
    id_hint: str,
    kind: ModelKind,
    source: ModelSource,
    user: User | None = None,
    weights: Weights | None = None,
    **columns: Any,
) -> Model:
    """A new entry of the registry under a readable id that no other model ever had.

    Its id is the hint made a slug, with a number after it where that is taken. Models are archived
    and never deleted, so an id is never given twice.
    """
    model = Model(
        id=free_id(session, id_hint), kind=kind, source=source, created_by=user and user.id
    )
    model.name = columns.pop("name", None) or id_hint
    for column, value in columns.items():
        setattr(model, column, value)
    if weights is not None:
        model.size_bytes = weights.size_bytes
        model.parameters = weights.parameters
        model.sha256 = weights.sha256
    session.add(model)
    session.flush()
    return model


def archive_model(session: Session, user: User | None, model: Model) -> None:
    """Hide the model from lists and choices; its files stay, and what used it still names it."""
    if model.archived_at is None:
        model.archived_at = utc_now()
        record(session, user, "model.archive", "model", model.id)


def restore_model(session: Session, user: User | None, model: Model) -> None:
    """Undo `archive_model`."""
    if model.archived_at is not None:
        model.archived_at = None
        record(session, user, "model.restore", "model", model.id)


def slugify(text: str) -> str:
    """Lower-case letters, digits, dots and dashes, at most `LONGEST_ID`; `model` where none is."""
    slug = re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
    return slug[:LONGEST_ID].strip("-.") or "model"


def free_id(session: Session, hint: str, refused: Collection[str] = ()) -> str:
    """An id made from `hint` that no model has and that is not among the `refused`."""
    slug = slugify(hint)
    like_it = select(Model.id).where(Model.id.startswith(slug, autoescape=True))
    taken = {*refused, *RESERVED_IDS, *session.scalars(like_it)}
    candidate, number = slug, 1
    while candidate in taken:
        number += 1
        candidate = f"{slug}-{number}"
    return candidate


def ensure_starters(session: Session) -> None:
    """The starter models are in the registry afterwards, under their own names."""
    for starter in STARTERS.values():
        if session.get(Model, starter.name) is None:
            session.add(
                Model(
                    id=starter.name,
                    name=starter.name,
                    kind=starter.kind,
                    source=ModelSource.STARTER,
                    description=f"{starter.description}. Licence: {starter.licence}.",
                )
            )
    session.flush()


def model_files(settings: Settings, model: Model) -> ModelFiles:
    """Where this model's files come from: all that a run directory or a server has to be told.

    Raises:
        Invalid: the model is served by an endpoint and has no files.
    """
    if model.source == ModelSource.ENDPOINT:
        raise Invalid(f"{model.id} is served at {model.location}; its files are not here.")
    if model.source == ModelSource.HUB:
        source = model.location
    elif model.source == ModelSource.STARTER:
        source = str(settings.models_dir / model.id)
    else:
        source = str(settings.data_dir.absolute() / model.location)
    return ModelFiles(
        id=model.id,
        kind=ModelKind(model.kind).value,
        source=source,
        positive_class=model.positive_class,
        starter=model.source == ModelSource.STARTER,
    )


def find_folder(settings: Settings, model: Model) -> Path | None:
    """The folder of the model's files if they are there now; nothing is made or downloaded."""
    if model.source in (ModelSource.ENDPOINT, ModelSource.HUB):
        return None
    folder = Path(model_files(settings, model).source)
    return folder if (folder / "config.json").is_file() else None


def stored_location(settings: Settings, folder: Path) -> str:
    """How a folder is kept in the registry: relative where it is inside the data directory."""
    folder = folder.absolute()
    data_dir = settings.data_dir.absolute()
    return str(folder.relative_to(data_dir) if folder.is_relative_to(data_dir) else folder)


def resolve_files(files: ModelFiles) -> Path:
    """The folder of a model's files, made or downloaded first where that is still to be done.

    A starter is converted from its package (seconds, once); a model of the hub is downloaded, which
    imports torch.

    Raises:
        Unavailable: the files cannot be had here; one line that names the model and the way out.
    """
    folder = Path(files.source)
    if files.starter:
        try:
            return ensure_starter(folder.name, folder.parent)
        except StarterError as error:
            raise Unavailable(str(error), code="model_files_missing") from error
    if not folder.is_absolute():
        from app.inference.loading import ModelUnavailable, locate

        try:
            return locate(files.source)
        except ModelUnavailable as error:
            raise Unavailable(str(error), code="model_files_missing") from error
    if not (folder / "config.json").is_file():
        raise Unavailable(
            f"The files of {files.id} are not at {folder}; put them back or register them again.",
            code="model_files_missing",
        )
    return folder


def record_weights(model: Model, weights: Weights) -> None:
    """Note size, parameters and hash of a model whose files were not here when it was added."""
    if model.sha256 is None:
        model.size_bytes = weights.size_bytes
        model.parameters = weights.parameters
        model.sha256 = weights.sha256
