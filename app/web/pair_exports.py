"""Where a set of pairs, or of rankings, can be downloaded: what there is comes from the formats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from app.errors import Invalid
from app.preferences.filters import PairFilters
from app.preferences.formats import (
    RANKING_SCHEMA_MEANINGS,
    SCHEMA_MEANINGS,
    PairFormat,
    PairSchema,
    RankingFormat,
    RankingSchema,
)

FORMAT_NAMES = {
    "jsonl": "JSONL",
    "jsonl.zst": "JSONL, compressed (zstd)",
    "json": "JSON",
    "csv": "CSV",
    "parquet": "Parquet",
}


@dataclass(frozen=True, kw_only=True)
class ExportSchema:
    """A schema with what it holds and the formats it comes in."""

    kind: str
    """`pairs` or `rankings`: the last part of the address."""
    name: str
    meaning: str
    formats: Sequence[str]

    @property
    def value(self) -> str:
        """What the form sends."""
        return f"{self.kind}.{self.name}"


@dataclass(frozen=True, kw_only=True)
class ExportChoices:
    """What `pairs/_exports.html` shows: what to choose from, and where it goes."""

    action: str
    """The page's own address, which leads on to the one chosen."""
    base: str
    """`/api/v1/…`: the kind, then the query, come after it."""
    query: Mapping[str, str]
    """What the form carries along: the filters of the page."""
    api_query: Mapping[str, Any]
    """The same as the addresses take them."""
    schemas: Sequence[ExportSchema]
    splits: Sequence[str]
    format_names: Mapping[str, str]

    def address(self, schema: ExportSchema, layout: str, split: str = "") -> str:
        """The address of one download."""
        return export_address(self.base, self.api_query, schema.kind, schema.name, layout, split)

    @property
    def formats(self) -> list[str]:
        """Every format that some schema comes in."""
        return [name for name in FORMAT_NAMES if any(name in one.formats for one in self.schemas)]


def export_schemas() -> list[ExportSchema]:
    """Every schema of pairs and of rankings that there is."""
    pairs = [
        ExportSchema(
            kind="pairs",
            name=schema.value,
            meaning=SCHEMA_MEANINGS[schema],
            formats=[layout.value for layout in PairFormat],
        )
        for schema in PairSchema
    ]
    rankings = [
        ExportSchema(
            kind="rankings",
            name=schema.value,
            meaning=RANKING_SCHEMA_MEANINGS[schema],
            formats=[layout.value for layout in RankingFormat],
        )
        for schema in RankingSchema
    ]
    return [*pairs, *rankings]


def export_choices(
    action: str,
    base: str,
    *,
    query: Mapping[str, str] | None = None,
    filters: PairFilters | None = None,
    splits: Sequence[str] = (),
) -> ExportChoices:
    """What can be downloaded from `base`."""
    return ExportChoices(
        action=action,
        base=base,
        query=query or {},
        api_query=api_query(filters or PairFilters()),
        schemas=export_schemas(),
        splits=splits,
        format_names=FORMAT_NAMES,
    )


def api_query(filters: PairFilters) -> dict[str, Any]:
    """The filters as REST takes them in an address."""
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in filters.as_json().items()
    }


def chosen_export(
    base: str, filters: Mapping[str, Any], schema: str, layout: str, split: str = ""
) -> str:
    """The address that a chosen schema (`pairs.trl`), format and part lead to; Invalid for a
    choice that there is not."""
    found = next((one for one in export_schemas() if one.value == schema), None)
    if found is None:
        names = ", ".join(one.value for one in export_schemas())
        raise Invalid(f"There is no schema “{schema}”.", fields={"schema": f"one of {names}"})
    if layout not in found.formats:
        formats = ", ".join(FORMAT_NAMES.get(name, name) for name in found.formats)
        raise Invalid(
            f"{found.kind.capitalize()} do not come as {FORMAT_NAMES.get(layout, layout)}; "
            f"take one of {formats}.",
            fields={"format": f"one of {', '.join(found.formats)}"},
        )
    return export_address(base, filters, found.kind, found.name, layout, split)


def export_address(
    base: str, query: Mapping[str, Any], kind: str, schema: str, layout: str, split: str
) -> str:
    """The address of one download; the split is left out where it is empty."""
    parts = {"schema": schema, "format": layout, **({"split": split} if split else {}), **query}
    return f"{base}/{kind}?{urlencode(parts)}"
