"""The filters of pairs as a page's form has them, in words, and as the services take them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.labeling.flags import known_flags
from app.models import Project, TaskPurpose
from app.preferences.filters import AbRounds, PairFilters
from app.preferences.queries import list_completion_models, list_labelers
from app.projects.rounds import list_rounds
from app.projects.tags import list_tags, parse_metadata_filter
from app.web.filters import plural
from app.web.forms import FormFields, read_percent, text_of

SIMULATED = {"": None, "only": True, "none": False}
ABOUT_AS_LONG = 50
"""Texts that differ by at most so many characters are about as long."""
LENGTHS: dict[str, tuple[str, int | None, int | None]] = {
    "shorter": ("Shorter wins", None, -1),
    "longer": ("Longer wins", 1, None),
    "similar": ("About as long", -ABOUT_AS_LONG, ABOUT_AS_LONG),
}
"""Choices of a difference in length: their words, and the least and the most of it."""
LARGEST_DIFFERENCE = 10_000_000
NAMES = (
    "round_id",
    "labeler",
    "model",
    "tag",
    "simulated",
    "purpose",
    "repeats",
    "ab_rounds",
    "metadata",
    "flag",
    "without_flag",
    "min_agreement",
    "max_agreement",
    "length",
    "min_length_difference",
    "max_length_difference",
    "created_after",
    "created_before",
)


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A filter that is set, in words, with the query that leaves it out."""

    words: str
    query_without: str


@dataclass(frozen=True, kw_only=True)
class FilterForm:
    """Every filter as a text, empty for any."""

    values: Mapping[str, str]

    @property
    def query(self) -> str:
        """The filters that are set, for a link to a page."""
        return urlencode(self.set_values)

    @property
    def set_values(self) -> dict[str, str]:
        """The filters that are set."""
        return {name: value for name, value in self.values.items() if value}

    @property
    def unfolded(self) -> bool:
        """Whether one of those is set that are folded away while none is."""
        first = ("round_id", "labeler", "model", "tag", "simulated")
        return any(name not in first for name in self.set_values)

    def as_filters(self) -> PairFilters:
        """The filters as the services take them; Invalid names a value that is none."""
        values = self.values
        if values["metadata"]:
            parse_metadata_filter(values["metadata"])
        _, least, most = LENGTHS.get(values["length"], ("", None, None))
        return PairFilters(
            round_id=values["round_id"] or None,
            labeler=values["labeler"] or None,
            model=values["model"] or None,
            tag=values["tag"] or None,
            metadata=values["metadata"] or None,
            flag=values["flag"] or None,
            without_flag=values["without_flag"] or None,
            simulated=SIMULATED.get(values["simulated"]),
            repeats=values["repeats"] != "none",
            purpose=self._purpose(),
            ab_rounds=self._ab_rounds(),
            min_agreement=read_percent("min_agreement", values["min_agreement"], most=100),
            max_agreement=read_percent("max_agreement", values["max_agreement"], most=100),
            min_length_difference=self._characters("min_length_difference", least),
            max_length_difference=self._characters("max_length_difference", most),
            created_after=self._day("created_after"),
            created_before=self._day("created_before"),
        )

    def chips(self, round_numbers: Mapping[str, int], flags: Mapping[str, str]) -> list[Chip]:
        """The filters that are set, each with the query that takes it away."""
        given = self.set_values
        return [
            Chip(
                words=self._words(name, value, round_numbers, flags),
                query_without=urlencode({one: kept for one, kept in given.items() if one != name}),
            )
            for name, value in given.items()
        ]

    def _words(
        self, name: str, value: str, round_numbers: Mapping[str, int], flags: Mapping[str, str]
    ) -> str:
        if name == "length" and value in LENGTHS:
            return LENGTHS[value][0].lower()
        if name in ("min_agreement", "max_agreement"):
            return f"agreement {BOUNDS[name[:3]]} {value.strip().removesuffix('%')}%"
        if name.endswith("length_difference"):
            return _describe_length(name[:3], self._characters(name, None) or 0)
        typed: dict[str, Any] = {"simulated": value == "only", "repeats": False}
        return describe_filter(name, typed.get(name, value), round_numbers, flags)

    def _purpose(self) -> TaskPurpose | None:
        """A purpose that there is not lets all pass."""
        value = self.values["purpose"]
        return TaskPurpose(value) if value in set(TaskPurpose) else None

    def _ab_rounds(self) -> AbRounds:
        """Left out unless asked for: these pages are about what models learn from."""
        value = self.values["ab_rounds"]
        return AbRounds(value) if value in set(AbRounds) else AbRounds.EXCLUDE

    def _characters(self, name: str, otherwise: int | None) -> int | None:
        """A number typed goes before the one that a choice of lengths brings."""
        text = self.values[name].strip().replace("−", "-")
        if not text:
            return otherwise
        if not text.removeprefix("-").isdecimal() or abs(int(text)) > LARGEST_DIFFERENCE:
            raise Invalid(
                f"“{self.values[name]}” is not a number of characters.",
                fields={name: "a whole number such as -20 or 100"},
            )
        return int(text)

    def _day(self, name: str) -> datetime | None:
        if not self.values[name]:
            return None
        try:
            day = date.fromisoformat(self.values[name])
        except ValueError as error:
            raise Invalid(
                f"“{self.values[name]}” is not a day.", fields={name: "a day such as 2026-11-30"}
            ) from error
        return datetime.combine(day, time(), UTC)


def read_query(request: Request) -> FilterForm:
    """The filters in the address."""
    return FilterForm(values={name: request.query_params.get(name, "") for name in NAMES})


def read_posted(form: FormFields) -> FilterForm:
    """The same filters, sent along with a form."""
    return FilterForm(values={name: text_of(form, name) for name in NAMES})


FiltersQuery = Annotated[FilterForm, Depends(read_query)]
FiltersPosted = Annotated[FilterForm, Depends(read_posted)]


def filter_choices(session: Session, project: Project) -> dict[str, Any]:
    """What there is to choose from: the context of `pairs/_filters.html` beside the values."""
    return {
        "rounds": list_rounds(session, project.id),
        "labelers": list_labelers(session, project.id),
        "models": list_completion_models(session, project.id),
        "tags": list_tags(session, project.id),
        "flag_labels": known_flags(project),
        "lengths": {name: words for name, (words, _, _) in LENGTHS.items()},
    }


AB_ROUNDS: dict[str, str] = {
    AbRounds.INCLUDE: "A/B rounds too",
    AbRounds.EXCLUDE: "without A/B rounds",
    AbRounds.ONLY: "A/B rounds only",
}
BOUNDS = {"min": "at least", "max": "at most"}


def describe_filter(
    name: str, value: Any, round_numbers: Mapping[str, int], flags: Mapping[str, str]
) -> str:
    """One filter of `PairFilters.as_json` in words."""
    match name:
        case "round_id":
            return f"round {round_numbers.get(value, value)}"
        case "simulated":
            return "simulated labelers only" if value else "people only"
        case "repeats":
            return "without repeats"
        case "purpose":
            return f"{value} tasks only"
        case "ab_rounds":
            return AB_ROUNDS.get(value, AB_ROUNDS[AbRounds.EXCLUDE])
        case "created_after":
            return f"ranked since {value[:10]}"
        case "created_before":
            return f"ranked before {value[:10]}"
        case "model":
            return f"completions by {value}"
        case "flag":
            return f"flagged “{flags.get(value, value)}”"
        case "without_flag":
            return f"not flagged “{flags.get(value, value)}”"
        case "min_agreement" | "max_agreement":
            return f"agreement {BOUNDS[name[:3]]} {value:.0%}"
        case "min_length_difference" | "max_length_difference":
            return _describe_length(name[:3], int(value))
        case _:
            return f"{name} {value}"


def _describe_length(bound: str, characters: int) -> str:
    if characters >= 0:
        return f"chosen longer by {BOUNDS[bound]} {plural(characters, 'character')}"
    other = {"min": "at most", "max": "at least"}[bound]
    return f"chosen shorter by {other} {plural(-characters, 'character')}"


def describe_filters(
    filters: Mapping[str, Any], round_numbers: Mapping[str, int], flags: Mapping[str, str]
) -> list[str]:
    """A snapshot's filters in words."""
    return [describe_filter(name, value, round_numbers, flags) for name, value in filters.items()]
