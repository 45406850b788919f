import re

import orjson
import pytest

from app.preferences.foreign import FORMATS, detect_format
from app.preferences.foreign.shape import ForeignFormat
from app.settings import ROOT
from tests.preferences.foreign.reading import read_one, said

ROW = re.compile(r"^\| `(\S+)` \| (.+?) \| `(\{.+\})` \| (.+) \|$", re.MULTILINE)


def section() -> str:
    page = (ROOT / "docs/preference-data.md").read_text("utf-8")
    return page.split("## Rankings and pairs made elsewhere")[1].split("\n## ")[0]


@pytest.mark.parametrize("foreign", FORMATS, ids=lambda foreign: foreign.name)
def test_every_format_is_documented_with_a_row_that_is_read_as_it_says(
    foreign: ForeignFormat,
) -> None:
    rows = {name: rest for name, *rest in ROW.findall(section())}
    title, example, direction = rows[foreign.name]
    assert (title, direction) == (foreign.title, foreign.direction)
    row = orjson.loads(example)
    assert detect_format([row]) is foreign
    if foreign.name != "trl-unpaired":
        assert said(read_one(row)) == {"b": 1, "a": 2}


def test_no_other_format_is_documented() -> None:
    assert [name for name, *_ in ROW.findall(section())] == [foreign.name for foreign in FORMATS]
