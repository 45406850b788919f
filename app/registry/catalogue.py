"""The registry as the inference server sees it."""

from app.db import Database
from app.inference.catalogue import ModelFiles
from app.models import Model, ModelSource
from app.registry.service import list_models, model_files
from app.settings import Settings


class DatabaseCatalogue:
    """Models with files, read from the database at every call, so that a new one is there at once.

    Archived models are not listed and can still be asked for by id.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def find(self, model_id: str) -> ModelFiles | None:
        """The model of that id, or None; one that an endpoint serves is not here."""
        with self._database.read() as session:
            model = session.get(Model, model_id)
            return None if model is None else self._files(model)

    def list(self) -> list[ModelFiles]:
        """Every model with files, the newest first."""
        with self._database.read() as session:
            found = [self._files(model) for model in list_models(session)]
        return [files for files in found if files is not None]

    def _files(self, model: Model) -> ModelFiles | None:
        if model.source == ModelSource.ENDPOINT:
            return None
        return model_files(self._settings, model)
