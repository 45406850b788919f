"""The form that freezes pairs in a snapshot: what was typed, and what it asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from starlette.datastructures import FormData

from app.errors import AppError, Invalid
from app.preferences.splits import SplitBy, SplitPlan
from app.web.forms import read_percent, text_of
from app.web.pair_filters import FilterForm

PARTS = {"train": "80", "validation": "10", "test": "10"}
"""The parts offered, with their shares in percent."""
LICENCES = (
    "CC0-1.0",
    "CC-BY-4.0",
    "CC-BY-SA-4.0",
    "CC-BY-NC-4.0",
    "CC-BY-NC-SA-4.0",
    "ODC-By-1.0",
    "ODbL-1.0",
    "CDLA-Permissive-2.0",
    "Apache-2.0",
    "MIT",
)
"""SPDX identifiers that data sets often carry; any other text is taken too."""
FIELDS = ("name", "licence", "split_by", "seed", *(f"share_{part}" for part in PARTS))
LARGEST_SEED = 2**53


@dataclass(frozen=True, kw_only=True)
class FreezeForm:
    """What was typed, which filters go with it, and what is wrong with it."""

    values: Mapping[str, str]
    filters: FilterForm
    error: AppError | None = None

    @classmethod
    def blank(cls, filters: FilterForm) -> Self:
        """The form before anybody typed."""
        shares = {f"share_{part}": share for part, share in PARTS.items()}
        values = {"name": "", "licence": "", "split_by": "", "seed": "0", **shares}
        return cls(values=values, filters=filters)

    @classmethod
    def posted(cls, form: FormData, filters: FilterForm) -> Self:
        """The form as it was sent."""
        return cls(values={name: text_of(form, name) for name in FIELDS}, filters=filters)

    def refused(self, error: AppError) -> Self:
        """The same with what is wrong."""
        return replace(self, error=error)

    @property
    def licences(self) -> tuple[str, ...]:
        """What to propose."""
        return LICENCES

    @property
    def parts(self) -> list[str]:
        """The names of the parts offered."""
        return list(PARTS)

    def as_plan(self) -> SplitPlan | None:
        """How to split the snapshot, None for not at all; Invalid names what cannot be.

        A part whose share is empty or 0 is left out.
        """
        if self.values["split_by"] not in set(SplitBy):
            return None
        shares = {
            part: read_percent(f"share_{part}", self.values[f"share_{part}"], most=100)
            for part in PARTS
        }
        given = {part: share for part, share in shares.items() if share}
        if abs(sum(given.values()) - 1) > 1e-6:
            raise Invalid(
                f"The shares add up to {sum(given.values()):.4%}; they must come to 100%.",
                fields={"splits": "shares that add up to 100%"},
            )
        plan = SplitPlan(shares=given, by=SplitBy(self.values["split_by"]), seed=self._seed())
        plan.check()
        return plan

    def _seed(self) -> int:
        text = self.values["seed"].strip() or "0"
        if not text.isdecimal() or int(text) > LARGEST_SEED:
            raise Invalid(
                f"“{self.values['seed']}” is not a seed.",
                fields={"seed": "a whole number, 0 or more"},
            )
        return int(text)
