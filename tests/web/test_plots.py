from dataclasses import dataclass
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.plots import (
    CalibrationBin,
    ScatterPoint,
    as_decimal,
    as_seconds,
    leaves_out,
    lies_below,
    plot_calibration,
    plot_days,
    plot_forest,
    plot_histogram,
    plot_matrix,
    plot_mirrored,
    plot_scatter,
    plot_weeks,
    spark_days,
)
from app.web.plots.scales import Scale, fit_scale, nice_steps
from app.web.plots.scatter import choose_sides, find_apart, find_room
from app.web.templating import get_environment

TODAY = date(2026, 11, 20)
MONDAY = date(2026, 10, 5)


@dataclass(frozen=True)
class Figure:
    value: float | None
    low: float | None
    high: float | None
    n: int


NOTHING = Figure(None, None, None, 0)


def around(value: float, width: float = 0.05, n: int = 40) -> Figure:
    return Figure(value, value - width, value + width, n)


def draw(macro: str, plot: object) -> str:
    source = '{% import "shared/_plots.html" as plots %}{{ plots.' + macro + "(plot) }}"
    return get_environment().from_string(source).render(plot=plot)


@given(
    low=st.floats(-1e6, 1e6),
    span=st.floats(1e-3, 1e6),
    most=st.integers(1, 14),
)
def test_round_steps_enclose_both_ends_and_are_few(low: float, span: float, most: int) -> None:
    steps = nice_steps(low, low + span, most)
    assert 2 <= len(steps) <= most + 2
    slack = 1e-6 * max(abs(low), span)
    assert steps[0] <= low + slack
    assert steps[-1] >= low + span - slack


@given(st.lists(st.floats(0, 1), max_size=20))
def test_a_scale_of_shares_shows_all_and_never_leaves_0_to_1(values: list[float]) -> None:
    scale, steps = fit_scale(values, floor=0.0, ceiling=1.0)
    assert steps[0] >= 0
    assert steps[-1] <= 1
    assert all(scale.low - 1e-9 <= value <= scale.high + 1e-9 for value in values)


def test_places_are_percent_from_the_left_and_from_above() -> None:
    scale = Scale(low=0.4, high=0.6)
    assert scale.at(0.45) == 25.0
    assert scale.up(0.45) == 75.0
    assert scale.at(9) == 100.0


def test_days_fill_the_gaps_between_14_and_90() -> None:
    plot = plot_days("d", "Days", {TODAY: 4, TODAY - timedelta(days=2): 2}, TODAY)
    assert [(bar.label, bar.height) for bar in plot.bars] == [
        ("18 Nov: 2 rankings", 50.0),
        ("20 Nov: 4 rankings", 100.0),
    ]
    assert plot.bars[1].x + plot.bars[1].width == pytest.approx(100 - 0.1 * 100 / 14, abs=0.02)
    assert plot.finding == ("6 rankings on 2 of the last 14 days; the most on 20 Nov (4).")
    assert plot.table.rows == [["2026-11-20", "4"], ["2026-11-18", "2"]]
    year = plot_days("d", "Days", {TODAY - timedelta(days=365): 9, TODAY: 1}, TODAY)
    assert len(year.bars) == 1
    assert "of the last 90 days" in year.finding


def test_no_day_is_said_in_words() -> None:
    plot = plot_days("d", "Days", {}, TODAY)
    assert plot.bars == []
    assert plot.finding == "Nothing in the last 14 days."


def test_sparkline_holds_the_last_fourteen_days() -> None:
    spark = spark_days({TODAY: 3, TODAY - timedelta(days=14): 50}, TODAY)
    assert spark.text == "3 in 14 days"
    assert len(spark.bars) == 1


def test_histogram_counts_every_value_once_and_marks_the_median() -> None:
    values = [1000.0 * second for second in [*range(1, 100), 4000]]
    plot = plot_histogram("h", "Time", values, noun="ranking")
    counted = sum(int(count) for _, count in plot.table.rows)
    assert counted == 100
    assert plot.table.rows[-1][0].endswith("or more")
    assert plot.reference is not None
    assert plot.reference.label == "median 50 s"
    assert plot_histogram("h", "Time", [], noun="ranking").bars == []
    assert plot_histogram("h", "Time", [0, 0], noun="ranking").table.rows


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(450, "0.45 s"), (9000, "9 s"), (59_400, "59 s"), (59_600, "1:00 min"), (95_000, "1:35 min")],
)
def test_times_are_short(milliseconds: float, text: str) -> None:
    assert as_seconds(milliseconds) == text


def test_forest_marks_rows_whose_interval_leaves_the_reference_out() -> None:
    plot = plot_forest(
        "f",
        "First slot",
        [("ann", "/a", around(0.5)), ("bob", "", around(0.6)), ("cy", "", NOTHING)],
        row_title="Labeler",
        noun="pair",
        reference=0.5,
    )
    assert [row.off for row in plot.rows] == [False, True, False]
    assert [leaves_out(around(value), 0.5) for value in (0.4, 0.48, 0.6)] == [True, False, True]
    assert [lies_below(around(value), 0.5) for value in (0.4, 0.48, 0.6)] == [True, False, False]
    assert plot.finding == "1 of 3 lie off 50%."
    assert (plot.rows[0].text, plot.rows[0].interval) == ("50%", "45% to 55%")
    assert (plot.rows[2].text, plot.rows[2].at, plot.rows[2].count) == ("–", None, "0 pairs")
    assert plot.reference is not None
    assert plot.reference.at == plot.rows[0].at


def test_weeks_without_a_figure_are_gaps_in_the_line() -> None:
    weeks = [
        (MONDAY + timedelta(weeks=week), NOTHING if week == 2 else around(0.7 + 0.01 * week))
        for week in range(5)
    ]
    plot = plot_weeks("w", "Weeks", weeks, noun="pair")
    assert plot.line.count("M") == 2
    assert plot.band.count("Z") == 2
    assert [dot.x for dot in plot.dots] == [4, 27, 73, 96]
    assert len(plot.table.rows) == 5
    assert plot.finding == (
        "From 70% to 74% in 4 weeks: the intervals of the first and the last week overlap."
    )


def test_one_week_is_a_dot_in_the_middle() -> None:
    plot = plot_weeks("w", "Weeks", [(MONDAY, around(0.7))], noun="pair")
    assert [dot.x for dot in plot.dots] == [50.0]
    assert plot.line == ""
    assert plot_weeks("w", "Weeks", [], noun="pair").finding.startswith("No week")


def test_scatter_leaves_out_who_has_no_figure() -> None:
    points = [
        ScatterPoint(name="ann", href="/a", x=20, y=around(0.6)),
        ScatterPoint(name="bob", href="/b", x=40, y=NOTHING),
    ]
    plot = plot_scatter("s", "S", points, finding="", x_title="per hour", y_title="agreement")
    assert [dot.name for dot in plot.dots] == ["ann"]
    assert plot.dots[0].label == "ann: 20 per hour, 60% agreement"


def test_names_that_would_cover_each_other_are_left_out() -> None:
    places = [(10.0, 50.0), (11.0, 51.0), (50.0, 90.0)]
    right = [False] * 3
    assert find_room(places, ["ann", "bob", "cy"], right, 600) == {1, 2}
    assert find_room([(10.0, 50.0), (12.0, 56.0)], ["ann", "bob"], right[:2], 600) == {0}
    long = "a name longer than the phone is wide"
    assert find_room([(30.0, 50.0)], [long], [False], 200) == set()


def test_names_stand_where_there_is_room() -> None:
    places = [(40.0, 50.0), (41.0, 51.0), (90.0, 50.0)]
    assert choose_sides(places, ["ann", "bob", "cy"], 600) == [True, False, True]


def test_dots_on_top_of_each_other_lead_nowhere() -> None:
    assert find_apart([(10.0, 50.0), (12.0, 52.0), (60.0, 50.0)]) == {0, 2}


def test_matrix_is_symmetric_and_shades_only_what_has_enough() -> None:
    plot = plot_matrix(
        "m",
        "M",
        [("ann", "/a"), ("bob", ""), ("cy", "")],
        {("ann", "bob"): around(0.65, n=40), ("cy", "ann"): around(0.9, n=3)},
        finding="",
        noun="task",
        least=10,
    )
    assert plot.rows[0][1] == plot.rows[1][0].__class__(
        text="65%", note="40", shade=2, title="ann and bob: 65% (60% to 70%), 40 tasks"
    )
    assert plot.rows[1][0].text == "65%"
    assert plot.rows[0][2].shade is None
    assert plot.rows[1][2].text == "–"
    assert plot.rows[0][0].text == ""
    assert plot.legend[0] == "under 50%"


def test_matrix_of_two_directions_leads_to_what_is_behind_it() -> None:
    plot = plot_matrix(
        "m",
        "M",
        [("ann", "/a"), ("bob", "")],
        {("ann", "bob"): around(0.65, n=40), ("bob", "ann"): around(0.35, n=40)},
        finding="",
        noun="ranking",
        between="against",
        hrefs={("bob", "ann"): "/b?x=1&y=2"},
        numbered=True,
    )
    assert [plot.rows[0][1].text, plot.rows[1][0].text] == ["65%", "35%"]
    assert (plot.rows[0][1].href, plot.rows[1][0].href) == ("", "/b?x=1&y=2")
    drawn = draw("matrix", plot)
    assert 'href="/b?x=1&amp;y=2" aria-label="bob against ann: 35% (30% to 40%), 40 ran' in drawn
    assert '<span aria-hidden="true">1</span><span class="visually-hidden">ann</span>' in drawn


def test_drawings_escape_names_and_carry_no_inline_style() -> None:
    name = '<b>"x"&é'
    figures = [(name, "/p?name=%3Cb%3E", around(0.6)), ("bob", "", NOTHING)]
    weeks = [(MONDAY, around(0.6)), (MONDAY + timedelta(weeks=1), around(0.7))]
    drawn = "".join(
        [
            draw("forest", plot_forest("f", "F", figures, row_title="L", noun="pair")),
            draw("weeks", plot_weeks("w", "W", weeks, noun="pair")),
            draw("bars", plot_days("d", "D", {TODAY: 3}, TODAY)),
            draw("sparkline", spark_days({TODAY: 3}, TODAY)),
            draw(
                "scatter",
                plot_scatter(
                    "s",
                    "S",
                    [ScatterPoint(name=name, href="/p", x=3, y=around(0.6))],
                    finding="",
                    x_title="x",
                    y_title="y",
                ),
            ),
            draw(
                "matrix",
                plot_matrix(
                    "m",
                    "M",
                    [(name, ""), ("bob", "")],
                    {(name, "bob"): around(0.6)},
                    finding="",
                    noun="task",
                ),
            ),
        ]
    )
    assert "<b>" not in drawn
    assert "&lt;b&gt;" in drawn
    assert "style=" not in drawn
    assert drawn.count('role="img"') == 2
    assert "nan" not in drawn


def test_mirrored_bars_grow_from_one_base_on_one_scale() -> None:
    plot = plot_mirrored(
        "rewards",
        "Rewards",
        [-1.0, 0.0, 1.0],
        [0, 8],
        [4, 0],
        finding="Apart.",
        up_title="Chosen",
        down_title="Rejected",
        x_title="Reward",
        noun="pair",
        format_=as_decimal,
    )
    (up,), (down,) = plot.up, plot.down
    assert up.y + up.height == pytest.approx(50)
    assert down.y == 50
    assert up.height == pytest.approx(2 * down.height)
    assert up.x > 50 > down.x + down.width
    assert plot.table.rows == [["−1.00 to 0.00", "0", "4"], ["0.00 to 1.00", "8", "0"]]
    drawn = draw("mirrored", plot)
    assert drawn.count("<rect") == 2
    assert "Rejected, −1.00 to 0.00: 4 pairs" in drawn


def test_calibrated_bins_lie_on_the_line_and_areas_grow_with_pairs() -> None:
    bins = [
        CalibrationBin(low=0.5, high=0.6, sureness=0.55, right=0.55, n=25),
        CalibrationBin(low=0.9, high=1.0, sureness=0.95, right=0.75, n=100),
    ]
    plot = plot_calibration("calibration", "Calibration", bins, finding="Too sure.", noun="pair")
    exact, too_sure = plot.dots

    def line_at(x: float) -> float:
        return plot.line_from + (plot.line_to - plot.line_from) * x / 100

    assert exact.y == pytest.approx(line_at(exact.x))
    assert too_sure.y > line_at(too_sure.x), "below the line, as SVG counts"
    assert too_sure.radius == pytest.approx(2 * exact.radius)
    assert plot.table.rows[1] == ["90% and 100%", "95%", "75%", "100"]
    assert "95% sure, right 75% of the time: 100 pairs" in draw("calibration", plot)
