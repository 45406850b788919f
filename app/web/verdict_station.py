"""The last station of the loop page: whether people prefer the new policy."""

from dataclasses import replace

from app.projects.loop import LoopState
from app.web.filters import plural
from app.web.station import Note, Station


def build_verdict_station(state: LoopState) -> Station:
    """What people say of the new policy, or that they are being asked."""
    station = Station(
        key="next-round",
        title="Blind A/B",
        icon="scale",
        meaning="Old and new policy side by side, blind: which do people really prefer?",
    )
    result = state.comparison
    if result is None:
        waits = Note(text="Waits for a new policy.")
        if state.trial_round is not None:
            asked = f"Round {state.trial_round.number} asks people; nobody has ranked yet."
            waits = Note(text=asked, url=f"/rounds/{state.trial_round.id}/evaluation")
        elif state.policy is not None:
            waits = Note(text=f"{state.policy.name} waits to be compared.")
        return replace(station, value="Not yet", notes=(waits,))
    rate = result.rate
    rankings = plural(rate.n, "ranking")
    going = state.trial_round is not None and (
        state.trial_round.id == result.round_id and state.trial_round.collecting
    )
    notes = [
        # Whoever looks before the end is told by the page whether it is enough, not by a number.
        Note(text=f"so far, of {rankings}")
        if going
        else Note(text=f"95% interval {rate.low or 0:.0%} to {rate.high or 0:.0%}, {rankings}"),
        Note(
            text=f"Round {result.round_number}: {result.policy} against {result.baseline}",
            url=f"/rounds/{result.round_id}/evaluation",
        ),
    ]
    if state.promoted is not None:
        notes.append(Note(text=f"{state.promoted} is promoted", url=f"/models/{state.promoted}"))
    if result.simulated:
        notes.insert(0, Note(text="simulated rankings", tone="simulated"))
    return replace(
        station,
        tone="done",
        value=f"{rate.value or 0:.0%}",
        unit="of rankings won by the new policy",
        notes=tuple(notes),
    )
