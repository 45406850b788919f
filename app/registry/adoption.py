"""Taking the model that a job made into the registry: its files, its row, its lineage."""

import errno
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Job, Model, ModelKind, ModelSource
from app.registry.service import free_id, stored_location
from app.registry.weights import Weights, read_weights
from app.settings import Settings

MODEL_DIR = "model"
"""Where in its run directory a training job leaves the model."""
CLAIM_FILE = "model_id"
WEIGHTS_FILE = "weights.json"
"""What the run read from the weights, so that no transaction is held while they are hashed."""


def note_weights(run_dir: Path, folders: Mapping[str, Path]) -> None:
    """Hash and count the weights of these folders, for whoever imports the run's outputs."""
    noted = {name: asdict(read_weights(folder)) for name, folder in folders.items()}
    (run_dir / WEIGHTS_FILE).write_text(json.dumps(noted), "utf-8")


def noted_weights(run_dir: Path, name: str, folder: Path) -> Weights:
    """What `note_weights` found, or finds now where nobody noted it."""
    path = run_dir / WEIGHTS_FILE
    noted = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return Weights(**noted[name]) if name in noted else read_weights(folder)


def adopt_model(
    session: Session,
    settings: Settings,
    job: Job,
    run_dir: Path,
    *,
    id_hint: str,
    kind: ModelKind,
    **columns: Any,
) -> Model:
    """The registry entry of the model in `run_dir/model`; its files are in the models folder.

    Can be called again after a crash at any moment: the id is claimed once, as an empty folder that
    no other job can claim, and written into the run directory before the files move there.
    """
    model = session.scalar(select(Model).where(Model.job_id == job.id))
    if model is not None:
        return model
    model_id = _claimed_id(session, settings, run_dir, id_hint)
    target = settings.models_dir / model_id
    if (run_dir / MODEL_DIR).is_dir():
        _move_folder(run_dir / MODEL_DIR, target)
    weights = noted_weights(run_dir, MODEL_DIR, target)
    model = Model(
        id=model_id,
        name=model_id,
        kind=kind,
        source=ModelSource.JOB,
        location=stored_location(settings, target),
        project_id=job.project_id,
        job_id=job.id,
        created_by=job.created_by,
        size_bytes=weights.size_bytes,
        parameters=weights.parameters,
        sha256=weights.sha256,
        **columns,
    )
    session.add(model)
    session.flush()
    return model


def _claimed_id(session: Session, settings: Settings, run_dir: Path, id_hint: str) -> str:
    """The id this job claimed before, or a new one that neither a row nor a folder has."""
    claim = run_dir / CLAIM_FILE
    if claim.is_file():
        return claim.read_text("utf-8").strip()
    settings.models_dir.mkdir(parents=True, exist_ok=True)
    refused: set[str] = set()
    while True:
        model_id = free_id(session, id_hint, refused)
        try:
            (settings.models_dir / model_id).mkdir()
        except FileExistsError:
            refused.add(model_id)
            continue
        break
    unfinished = claim.with_suffix(".unfinished")
    unfinished.write_text(model_id, "utf-8")
    unfinished.rename(claim)
    return model_id


def _move_folder(source: Path, target: Path) -> None:
    """Move a folder onto an empty one, whole or not at all, from another file system too."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        unfinished = target.with_name(f".{target.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(source, unfinished)
        unfinished.rename(target)
        shutil.rmtree(source)
