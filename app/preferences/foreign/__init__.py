"""Rankings and pairs made elsewhere: one small module per family, one list of them all."""

from collections import Counter
from collections.abc import Sequence

from app.errors import Invalid
from app.preferences.foreign.argilla import ARGILLA, ARGILLA_V1
from app.preferences.foreign.helpsteer3 import HELPSTEER3
from app.preferences.foreign.hh import HH
from app.preferences.foreign.label_studio import LABEL_STUDIO
from app.preferences.foreign.lmarena import LMARENA
from app.preferences.foreign.nectar import NECTAR
from app.preferences.foreign.oasst import OASST
from app.preferences.foreign.podium import PODIUM
from app.preferences.foreign.podium_pairs import PODIUM_PAIRS
from app.preferences.foreign.shape import ForeignFormat, Row
from app.preferences.foreign.summarize import SUMMARIZE
from app.preferences.foreign.trl import TRL, TRL_CONVERSATIONAL
from app.preferences.foreign.trl_unpaired import TRL_UNPAIRED
from app.preferences.foreign.ultrafeedback import ULTRAFEEDBACK

FORMATS: tuple[ForeignFormat, ...] = (
    PODIUM,
    PODIUM_PAIRS,
    TRL,
    TRL_CONVERSATIONAL,
    TRL_UNPAIRED,
    HH,
    OASST,
    ULTRAFEEDBACK,
    NECTAR,
    HELPSTEER3,
    SUMMARIZE,
    ARGILLA,
    ARGILLA_V1,
    LABEL_STUDIO,
    LMARENA,
)
"""Every format that can be read. Of two that a row looks like, the first is meant."""


def get_format(name: str) -> ForeignFormat:
    """The format of this name; Invalid lists those there are."""
    for foreign in FORMATS:
        if foreign.name == name:
            return foreign
    accepted = ", ".join(foreign.name for foreign in FORMATS)
    raise Invalid(
        f"There is no format {name!r}. Accepted: {accepted}.",
        code="unknown_format",
        fields={"format": accepted},
    )


def detect_format(rows: Sequence[Row]) -> ForeignFormat:
    """What most of the rows look like; Invalid names the keys found where that is nothing."""
    found: Counter[str] = Counter()
    for row in rows:
        first = next((foreign for foreign in FORMATS if foreign.matches(row)), None)
        if first is not None:
            found[first.name] += 1
    if not found:
        keys = sorted({str(key) for row in rows for key in row})
        listed = ", ".join(keys[:20]) + (", …" if len(keys) > 20 else "")
        accepted = ", ".join(foreign.name for foreign in FORMATS)
        raise Invalid(
            f"These rows are of no format that is known here. Found: {listed or 'nothing'}. "
            f"Name the format if it is one of {accepted}.",
            code="unknown_format",
            fields={"format": accepted},
        )
    return get_format(found.most_common(1)[0][0])
