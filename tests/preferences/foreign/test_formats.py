"""What holds of every format: found by its rows, read, never more than a line refused."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import Invalid
from app.preferences.foreign import FORMATS, detect_format, get_format
from app.preferences.parsing import parse_ranking
from app.projects.reading import RowError
from tests.preferences.foreign.examples import EXAMPLES
from tests.preferences.foreign.reading import preview, said

NAMES = [foreign.name for foreign in FORMATS]


def test_every_format_has_an_example_and_a_name_of_its_own() -> None:
    assert sorted(NAMES) == sorted(EXAMPLES)
    assert all(foreign.direction.endswith(".") and foreign.title for foreign in FORMATS)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_of_one_format_alone(name: str) -> None:
    row = EXAMPLES[name]
    assert [foreign.name for foreign in FORMATS if foreign.matches(row)] == [name]
    assert detect_format([row]).name == name
    needed = get_format(name).columns
    assert any(set(columns) <= row.keys() for columns in needed)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"trl-unpaired"}))
def test_every_example_prefers_the_good_answer(name: str) -> None:
    found = preview([EXAMPLES[name]])
    assert (found.format.name, found.detected, found.rejected) == (name, True, [])
    ranking = found.rankings[0]
    good = next(text for text in said(ranking) if text != "It is not.")
    assert said(ranking) == {good: 1, "It is not.": 2}
    assert ranking.origin is not None
    assert ranking.origin["format"] == name


def test_most_rows_decide_and_strange_ones_do_not() -> None:
    rows = [EXAMPLES["nectar"], {"a": 1}, EXAMPLES["nectar"], EXAMPLES["trl"]]
    assert detect_format(rows).name == "nectar"


def test_unknown_rows_are_refused_with_the_keys_found() -> None:
    with pytest.raises(Invalid) as caught:
        detect_format([{"winner_text": "x", "loser_text": "y"}])
    assert "loser_text, winner_text" in caught.value.detail
    assert caught.value.code == "unknown_format"
    assert "helpsteer3" in caught.value.fields["format"]


def test_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(Invalid) as caught:
        get_format("csv")
    assert caught.value.fields == {"format": ", ".join(NAMES)}


def test_a_named_format_is_not_guessed() -> None:
    found = preview([EXAMPLES["podium-pairs"]], "trl")
    assert (found.format.name, found.detected) == ("trl", False)
    assert found.rankings[0].origin is not None
    assert found.rankings[0].origin["ranking_id"] == "r1"


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 12),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=5),
        st.sampled_from(["1", "model_a", "left", "\x00", "\n\nHuman: a\n\nAssistant: b"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def broken(draw: st.DrawFn, value: Any) -> Any:
    """The value, anything inside it possibly another one."""
    if draw(st.integers(0, 9)) == 0:
        return draw(VALUES)
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if draw(st.integers(0, 14))}
        return {key: broken(draw, item) for key, item in kept.items()}
    if isinstance(value, list):
        return [broken(draw, item) for item in value for _ in range(draw(st.sampled_from([1, 2])))]
    return value


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_broken_row_raises_row_errors_and_nothing_else(name: str, data: st.DataObject) -> None:
    row = data.draw(st.composite(lambda draw: broken(draw, EXAMPLES[name]))())
    if not isinstance(row, dict):
        return
    foreign = get_format(name)
    foreign.matches(row)
    with suppress(RowError):
        for values in foreign.rankings(row):
            parse_ranking(values)
