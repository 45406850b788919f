from datetime import date, timedelta

import pytest
from sqlalchemy import select

from app.labeling.agreement import measure_project_agreement
from app.labeling.labelers import LabelerRecord, reason_key
from app.labeling.pauses import pause_labeler, resume_labeler
from app.labeling.quality import measure_quality, summarize_quality
from app.labeling.queue import lease_next_task, skip_assignment
from app.labeling.rankings import store_ranking
from app.labeling.revocation import revoke_rankings
from app.labeling.tallies import monday
from app.models import Completion, Ranking, TaskPurpose
from app.preferences.filters import PairFilters

from .factory import make_project, make_tasks, make_user
from .judged import NOON, judged_task, judgement


def record(labeler, **fields):
    values = {
        "user_id": None,
        "simulated": False,
        "paused": False,
        "revoked": 0,
        "skip_reasons": {},
    }
    return LabelerRecord(labeler=labeler, **values | fields)


def summarize(tasks, *names):
    quality = summarize_quality(tasks, [record(name) for name in names])
    return quality, {labeler.labeler: labeler for labeler in quality.labelers}


def test_first_slot_and_places_by_hand():
    """Ann sees completion 2 first and puts it first: it wins both of its pairs. In the other task
    the one shown first ties one and loses to one: half a pair of two. 2.5 of 4."""
    tasks = [
        judged_task([judgement("ann", [2, 3, 1], shown=[2, 0, 1])], task_id="t1"),
        judged_task([judgement("ann", [2, 2, 1], shown=[0, 1, 2])], task_id="t2"),
        judged_task([judgement("ann", [1, 2, 3])], task_id="t3"),
    ]
    quality, labelers = summarize(tasks, "ann")
    ann = labelers["ann"]
    assert (ann.first_slot.value, ann.first_slot.n) == (0.625, 4)
    assert quality.first_slot == ann.first_slot
    # Places 2 and 3: 1 + 0.5 of 4 and 0 + 2 of 4; every pair has one winner in all.
    assert [(slot, one.value, one.n) for slot, one in quality.position_wins] == [
        (1, 0.625, 4),
        (2, 0.375, 4),
        (3, 0.5, 4),
    ]


def test_tasks_are_resampled_and_not_rankings():
    both = [judgement("ann", [1, 2], shown=[0, 1]), judgement("bob", [2, 1], shown=[0, 1])]
    quality, labelers = summarize([judged_task(both)], "ann", "bob")
    # One task has no interval, however many ranked it.
    assert (quality.first_slot.n, quality.first_slot.low) == (2, None)
    again = [judged_task(both, task_id=f"t{number}") for number in range(5)]
    quality, labelers = summarize(again, "ann", "bob")
    # Every task is half and half, so no resample of tasks is anything else.
    assert (quality.first_slot.low, quality.first_slot.high) == (0.5, 0.5)
    assert quality.weeks[0].first_slot == quality.first_slot
    assert labelers["ann"].first_slot.n == 5


def test_an_even_labeler_has_no_first_slot_preference_whatever_the_number_shown():
    tasks = [
        judged_task(
            [judgement("ann", ranks, shown=list(range(len(ranks))))], task_id=f"{len(ranks)}-{turn}"
        )
        for ranks in ([1, 2], [1, 2, 3], [1, 2, 3, 4, 5])
        for turn, ranks in enumerate((ranks, ranks[::-1]))
    ]
    quality, _ = summarize(tasks, "ann")
    assert quality.first_slot.value == 0.5
    assert [one.value for _, one in quality.position_wins[:2]] == [0.5, 0.5]


def test_agreement_with_others_and_with_calibration_tasks():
    tasks = [
        judged_task({"ann": [1, 2, 3], "bob": [1, 2, 3], "cyd": [3, 2, 1]}, task_id="t1"),
        judged_task({"ann": [1, 2], "bob": [2, 1]}, task_id="t2", purpose="calibration"),
        judged_task({"ann": [1, 2]}, task_id="t3"),
    ]
    quality, labelers = summarize(tasks, "ann", "bob", "cyd")
    ann, cyd = labelers["ann"], labelers["cyd"]
    # With Bob 3 of 3 and with Cyd 0 of 3 on the first task, 0 of 1 on the second.
    assert (ann.agreement.value, ann.agreement.n) == (pytest.approx(3 / 7), 7)
    assert (ann.tau_b.value, ann.tau_b.n) == (pytest.approx(-1 / 3), 3)
    assert (ann.calibration_agreement.value, ann.calibration_agreement.n) == (0, 1)
    assert ann.rankings == 3
    assert (cyd.agreement.value, cyd.tau_b.value) == (0, -1)
    assert cyd.calibration_agreement.value is None
    assert (quality.calibration_agreement.value, quality.calibration_agreement.n) == (0, 1)
    # Once for the project, though for both labelers: 3 of 10 pairs.
    assert quality.weeks[0].agreement.n == 10
    assert quality.weeks[0].agreement.value == pytest.approx(0.3)


def test_gold_and_self_consistency():
    tasks = [
        judged_task(
            {"ann": [1, 2, 3], "bob": [3, 2, 1]}, task_id="t1", purpose="gold", gold=[1, 2, 3]
        ),
        judged_task({"ann": [1, 1], "bob": [1, 2]}, task_id="t2", purpose="gold", gold=[1, 2]),
        judged_task(
            [
                judgement("ann", [1, 2, 3]),
                judgement("ann", [1, 3, 2], is_repeat=True),
                judgement("bob", [1, 2, 3], is_repeat=True),
            ],
            task_id="t3",
        ),
    ]
    quality, labelers = summarize(tasks, "ann", "bob")
    ann, bob = labelers["ann"], labelers["bob"]
    assert (ann.gold_accuracy.value, ann.gold_accuracy.n) == (3.5 / 4, 4)
    assert (bob.gold_accuracy.value, bob.gold_accuracy.n) == (0.25, 4)
    assert quality.gold_accuracy.value == 4.5 / 8
    assert (ann.self_consistency.value, ann.self_consistency.n) == (pytest.approx(2 / 3), 3)
    # A repeat of what is not there any more compares with nothing.
    assert bob.self_consistency.value is None
    assert quality.self_consistency == ann.self_consistency
    # Repeats are work all the same.
    assert (ann.rankings, bob.rankings) == (4, 3)


def test_pace_days_and_weeks():
    def at(days, ms):
        return judgement("ann", [1, 2], created_at=NOON + timedelta(days=days), active_ms=ms)

    tasks = [
        judged_task([at(0, 10_000)], task_id="t1"),
        judged_task([at(6, 20_000)], task_id="t2", gold=[1, 2]),
        judged_task([at(7, 60_000)], task_id="t3", gold=[2, 1]),
        judged_task([at(7, None)], task_id="t4"),
    ]
    quality, labelers = summarize(tasks, "ann")
    ann = labelers["ann"]
    assert ann.days == {date(2026, 11, 2): 1, date(2026, 11, 8): 1, date(2026, 11, 9): 2}
    assert ann.active_ms == [10_000, 20_000, 60_000]
    assert ann.median_active_ms == 20_000
    # Three rankings in 90 seconds.
    assert ann.per_active_hour == 120
    assert (ann.first_at, ann.last_at) == (NOON, NOON + timedelta(days=7))
    first, second = ann.weeks
    assert (first.week, first.rankings, first.median_active_ms) == (date(2026, 11, 2), 2, 15_000)
    assert (second.week, second.rankings) == (date(2026, 11, 9), 2)
    assert (first.gold_accuracy.value, second.gold_accuracy.value) == (1, 0)
    assert quality.weeks == ann.weeks
    assert monday(NOON + timedelta(days=6, hours=11)) == date(2026, 11, 2)


def test_two_rankings_meet_in_the_week_of_the_later_and_for_a_labeler_in_their_own():
    later = NOON + timedelta(days=14)
    task = judged_task([judgement("ann", [1, 2]), judgement("bob", [1, 2], created_at=later)])
    quality, labelers = summarize([task], "ann", "bob")
    assert [week.agreement.n for week in quality.weeks] == [0, 1]
    (of_ann,), (of_bob,) = labelers["ann"].weeks, labelers["bob"].weeks
    assert (of_ann.week, of_ann.agreement.n) == (date(2026, 11, 2), 1)
    assert (of_bob.week, of_bob.agreement.n) == (date(2026, 11, 16), 1)


def test_a_labeler_without_a_ranking_that_counts_is_listed_with_nothing():
    quality = summarize_quality([], [record("gone", revoked=3)])
    (gone,) = quality.labelers
    assert (gone.rankings, gone.revoked, gone.first_at, gone.weeks) == (0, 3, None, [])
    assert gone.agreement.value is gone.first_slot.value is gone.per_active_hour is None
    assert quality.position_wins == []


def test_the_key_of_a_skip_is_what_stands_before_the_colon():
    assert reason_key("no-good-answer: all of them are wrong: really") == "no-good-answer"
    assert reason_key("I do not know") == "I do not know"


def rank(session, task, labeler, ranks, **fields):
    ids = session.scalars(
        select(Completion.id).where(Completion.task_id == task.id).order_by(Completion.position)
    ).all()
    fields.setdefault("shown_order", ids)
    return store_ranking(
        session,
        task=task,
        labeler=labeler,
        ranks=dict(zip(ids, ranks, strict=True)),
        source="app",
        **fields,
    )


def test_the_people_of_a_project_as_the_database_has_them(database):
    with database.write() as session:
        project, other = make_project(session), make_project(session, name="Other")
        gold, calibration, plain, spare = make_tasks(session, project, 4, wanted=3)
        ids = session.scalars(
            select(Completion.id).where(Completion.task_id == gold.id).order_by(Completion.position)
        ).all()
        gold.purpose, gold.gold_ranks = TaskPurpose.GOLD, dict(zip(ids, (1, 2, 3), strict=True))
        calibration.purpose = TaskPurpose.CALIBRATION
        ann, bob, cyd = (make_user(session, name) for name in ("ann", "bob", "cyd"))
        rule = make_user(session, "rule")
        rule.simulation_rule = "plain-words"
        make_user(session, "idle")
        for task in (gold, calibration, plain):
            rank(session, task, ann, (1, 2, 3), active_ms=1000)
            rank(session, task, bob, (3, 2, 1))
        rank(session, plain, ann, (1, 2, 3), is_repeat=True, external_id="again")
        rank(session, plain, "import name", (1, 2, 3))
        rank(session, spare, rule, (1, 2, 3))
        rank(session, spare, cyd, (1, 2, 3))
        revoke_rankings(session, None, project.id, "cyd", reason="clicked through")
        (elsewhere,) = make_tasks(session, other, 1)
        rank(session, elsewhere, make_user(session, "dee"), (1, 2, 3))
        skipped = lease_next_task(session, bob, project.id, lease_seconds=60)
        skip_assignment(session, bob, skipped.id, "language: I do not read Danish")
        pause_labeler(session, None, project.id, bob, reason="Let us talk first.")

        quality = measure_quality(session, project.id)
        people = {labeler.labeler: labeler for labeler in quality.labelers}
        assert list(people) == ["ann", "bob", "cyd", "import name", "rule"]
        assert people["ann"].gold_accuracy.value == 1
        assert people["bob"].gold_accuracy.value == 0
        assert quality.gold_accuracy.value == 0.5
        assert people["ann"].calibration_agreement.value == 0
        assert people["ann"].self_consistency.value == 1
        assert people["ann"].rankings == 4
        assert people["ann"].median_active_ms == 1000
        # Both are shown the same order: what Ann puts first, Bob puts last.
        assert people["ann"].first_slot.value == 1
        assert people["bob"].first_slot.value == 0
        assert (people["bob"].skips, people["bob"].skip_reasons) == (1, {"language": 1})
        assert (people["bob"].paused, people["ann"].paused) == (True, False)
        assert (people["cyd"].rankings, people["cyd"].revoked) == (0, 1)
        assert people["import name"].user_id is None
        assert people["ann"].user_id == ann.id
        assert [one.simulated for one in people.values()] == [False, False, False, False, True]

        resume_labeler(session, None, project.id, bob)
        resumed = {one.labeler: one for one in measure_quality(session, project.id).labelers}
        assert not resumed["bob"].paused
        gold.gold_ranks = dict(zip(ids, (3, 2, 1), strict=True))
        session.flush()
        quality = measure_quality(session, project.id)
        people = {labeler.labeler: labeler for labeler in quality.labelers}
        assert people["ann"].gold_accuracy.value == 0
        assert measure_quality(session, project.id) is quality


def test_filters_choose_labelers_rankings_and_skips(database):
    with database.write() as session:
        project = make_project(session)
        (first,) = make_tasks(session, project, 1, wanted=2)
        (second,) = make_tasks(session, project, 1, wanted=2, number=2)
        ann, bob = make_user(session, "ann"), make_user(session, "bob")
        rank(session, first, ann, (1, 2, 3))
        rank(session, first, bob, (1, 2, 3))
        rank(session, second, bob, (1, 2, 3))
        lease = lease_next_task(session, ann, project.id, lease_seconds=60)
        assert lease.task_id == second.id
        skip_assignment(session, ann, lease.id, "unclear")

        in_first = measure_quality(session, project.id, PairFilters(round_id=first.round_id))
        assert [(one.labeler, one.rankings, one.skips) for one in in_first.labelers] == [
            ("ann", 1, 0),
            ("bob", 1, 0),
        ]
        in_second = measure_quality(session, project.id, PairFilters(round_id=second.round_id))
        assert [one.labeler for one in in_second.labelers] == ["bob"]
        newest = session.scalars(select(Ranking.created_at).order_by(Ranking.id.desc())).first()
        late = PairFilters(created_after=newest + timedelta(hours=1))
        assert measure_quality(session, project.id, late).labelers == []


def test_figures_of_a_labeler_and_of_the_project_tell_the_same(database):
    with database.write() as session:
        project = make_project(session)
        for number, task in enumerate(make_tasks(session, project, 5, wanted=2)):
            rank(session, task, "ann", (1, 2, 3))
            rank(session, task, "bob", (1, 2, 3) if number % 2 else (2, 1, 3))
        agreement = measure_project_agreement(session, project.id)
        ann, bob = measure_quality(session, project.id).labelers
        # Of two labelers each one's agreement with others is that of the project.
        assert ann.agreement == bob.agreement == agreement.pairwise_agreement
        assert ann.tau_b == bob.tau_b == agreement.kendall_tau_b
        assert ann.agreement.low < ann.agreement.value < ann.agreement.high
