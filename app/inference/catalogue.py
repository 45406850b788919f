"""What the inference server needs to know of the registry, without knowing the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

ModelKind = Literal["policy", "reward_model", "encoder"]


class ModelUnavailable(Exception):
    """A model cannot be loaded; the message is one line that names it and the way out."""


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """Where one model of the registry is.

    `source` is a local folder or a hub id. Where `starter` is set it is the folder of the starter
    model of that name, which is made when first needed.
    `positive_class` is the index of the preferred class of a two-class reward model.
    """

    id: str
    kind: ModelKind
    source: str
    positive_class: int | None = None
    starter: bool = False


class Catalogue(Protocol):
    """The models that may be asked for; asked anew at every request, from any thread."""

    def find(self, model_id: str) -> ModelFiles | None:
        """The model of that id, or None."""

    def list(self) -> Sequence[ModelFiles]:
        """Every model, in the order to show them."""
