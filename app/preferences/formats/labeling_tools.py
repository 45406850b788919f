"""Pairs as the records of other labeling tools, the two completions side by side.

Which side a completion is on is the order its labeler saw, or, where that is unknown, decided by
the ids alone: never by who won, or the next labeler would find the winner always on the left.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from zlib import crc32

from app.preferences.formats.schemas import Row
from app.preferences.pair_stream import Pair
from app.preferences.stored_rankings import RankedCompletion
from app.projects.messages import prompt_text

LABEL_STUDIO_CONFIG = """\
<View>
  <Text name="prompt" value="$prompt"/>
  <Pairwise name="comparison" toName="answer1,answer2"/>
  <Text name="answer1" value="$answer1"/>
  <Text name="answer2" value="$answer2"/>
</View>
"""
"""The labeling interface that reads the tasks (Label Studio's own template for preferences)."""


def argilla_rows(pairs: Sequence[Pair]) -> Iterator[Row]:
    """What `argilla.Record.from_dict` takes (Argilla 2), for `argilla.Settings.for_ranking()`:
    the fields instruction, response1 and response2, the question ranking, the best first."""
    ranking = pairs[0].ranking
    instruction = prompt_text(ranking.prompt.messages)
    user_id = str(uuid5(NAMESPACE_URL, f"podium-labeler:{ranking.labeler}"))
    for pair in pairs:
        first, second = _sides(pair)
        order = ["response1", "response2"]
        if first is not pair.chosen:
            order.reverse()
        yield {
            "id": f"{ranking.id}-{_pair_key(pair)}",
            "fields": {
                "instruction": instruction,
                "response1": first.text,
                "response2": second.text,
            },
            "metadata": _origin(pair)
            | {"response1_model": first.model, "response2_model": second.model},
            "responses": {"ranking": [{"value": order, "user_id": user_id, "status": "submitted"}]},
        }


def label_studio_rows(pairs: Sequence[Pair]) -> Iterator[Row]:
    """Tasks with an annotation each, for the interface in `LABEL_STUDIO_CONFIG`."""
    ranking = pairs[0].ranking
    prompt = prompt_text(ranking.prompt.messages)
    for pair in pairs:
        first, second = _sides(pair)
        yield {
            "data": {
                "prompt": prompt,
                "answer1": first.text,
                "answer2": second.text,
                **_origin(pair),
                "answer1_model": first.model,
                "answer2_model": second.model,
            },
            "annotations": [
                {
                    "ground_truth": False,
                    "was_cancelled": False,
                    "result": [
                        {
                            "id": _pair_key(pair),
                            "from_name": "comparison",
                            "to_name": "answer1",
                            "type": "pairwise",
                            "value": {"selected": "left" if first is pair.chosen else "right"},
                        }
                    ],
                }
            ],
        }


def _sides(pair: Pair) -> tuple[RankedCompletion, RankedCompletion]:
    """The left one and the right one."""
    shown = {item: place for place, item in enumerate(pair.ranking.shown_order)}

    def place(completion: RankedCompletion) -> tuple[int, str]:
        return shown.get(completion.id, crc32(completion.id.encode())), completion.id

    if not {pair.chosen.id, pair.rejected.id} <= shown.keys():
        shown = {}
    if place(pair.chosen) < place(pair.rejected):
        return pair.chosen, pair.rejected
    return pair.rejected, pair.chosen


def _pair_key(pair: Pair) -> str:
    return f"{crc32(f'{pair.ranking.id}{pair.chosen.id}{pair.rejected.id}'.encode()):08x}"


def _origin(pair: Pair) -> dict[str, Any]:
    """Where the pair comes from."""
    ranking = pair.ranking
    return {
        "labeler": ranking.labeler,
        "simulated": "yes" if ranking.simulated else "no",
        "round": ranking.round_number,
        "prompt_id": ranking.prompt.id,
        "task_id": ranking.task_id,
        "ranking_id": ranking.id,
    }
