"""A line of each format, as its source writes it."""

from typing import Any

Row = dict[str, Any]

USER = {"role": "user", "content": "Why is the sky blue?"}
GOOD = {"role": "assistant", "content": "Air scatters blue light most."}
BAD = {"role": "assistant", "content": "It is not."}
TRANSCRIPT = "\n\nHuman: Why is the sky blue?\n\nAssistant:"


def tree_message(text: str, role: str, rank: int | None = None, **fields: Any) -> Row:
    return {"text": text, "role": role, "rank": rank, "message_id": f"m-{text}", **fields}


def annotation(number: int, who: Any, value: Row, to_name: str = "answer1,answer2") -> Row:
    result = {"from_name": "said", "to_name": to_name, "type": "x", "value": value}
    return {
        "id": number,
        "completed_by": who,
        "was_cancelled": False,
        "lead_time": 4.288,
        "created_at": "2026-03-09T22:16:08.728353Z",
        "result": [result],
    }


def ranker_task(ranker: Any, who: Any = 1) -> Row:
    items = [{"id": name, "title": name, "body": f"text {name}"} for name in "abc"]
    return {
        "id": 5,
        "data": {"prompt": "Which?", "items": items},
        "annotations": [annotation(11, who, {"ranker": ranker}, "results")],
    }


EXAMPLES: dict[str, Row] = {
    "podium": {
        "prompt": "Why is the sky blue?",
        "completions": [{"text": "It is not."}, {"text": "Air scatters blue light most."}],
        "ranks": [2, 1],
        "labeler": "lena",
    },
    "podium-pairs": {
        "prompt": "Why is the sky blue?",
        "chosen": "Air scatters blue light most.",
        "rejected": "It is not.",
        "prompt_messages": [USER],
        "prompt_id": "p1",
        "task_id": "t1",
        "ranking_id": "r1",
        "round": 2,
        "labeler": "lena",
        "simulated": False,
        "is_repeat": False,
        "chosen_id": "c1",
        "rejected_id": "c2",
        "chosen_rank": 1,
        "rejected_rank": 3,
        "chosen_model": "m1",
        "rejected_model": None,
        "weight": 0.5,
        "guidelines_version": 4,
        "created_at": "2026-03-09T22:16:08Z",
    },
    "trl": {
        "prompt": "Why is the sky blue?",
        "chosen": "Air scatters blue light most.",
        "rejected": "It is not.",
    },
    "trl-conversational": {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
    "trl-unpaired": {
        "prompt": "Why is the sky blue?",
        "completion": "Air scatters blue light most.",
        "label": True,
    },
    "hh": {
        "chosen": f"{TRANSCRIPT} Air scatters blue light most.",
        "rejected": f"{TRANSCRIPT} It is not.",
    },
    "oasst": {
        "tree": "t1",
        "depth": 0,
        "prompt": [USER],
        "completions": [
            {"id": "a", "text": "It is not.", "rank": 1},
            {"id": "b", "text": "Air scatters blue light most.", "rank": 0},
        ],
    },
    "ultrafeedback": {
        "source": "evol_instruct",
        "instruction": "Why is the sky blue?",
        "models": ["m1", "m2"],
        "completions": [
            {"model": "m1", "response": "It is not.", "overall_score": 3.5},
            {"model": "m2", "response": "Air scatters blue light most.", "overall_score": 8.0},
        ],
    },
    "nectar": {
        "prompt": "\n\nHuman: Why is the sky blue? \n\nAssistant: ",
        "answers": [
            {"answer": "It is not.", "model": "m1", "rank": 2},
            {"answer": "Air scatters blue light most.", "model": "m2", "rank": 1},
        ],
        "turns": 1,
        "num_responses": 2,
        "source": ["lmsys-chat-1m"],
        "good_natured": True,
    },
    "helpsteer3": {
        "domain": "stem",
        "language": "english",
        "context": [USER],
        "response1": "It is not.",
        "response2": "Air scatters blue light most.",
        "overall_preference": 2,
    },
    "summarize-from-feedback": {
        "info": {
            "id": "t3_1",
            "post": "A long post.",
            "title": "A title",
            "subreddit": "AskReddit",
        },
        "summaries": [
            {"text": "It is not.", "policy": "ref"},
            {"text": "It is.", "policy": "sup2"},
        ],
        "choice": 1,
        "worker": "w9",
        "batch": "batch3",
        "split": "train",
        "extra": {"confidence": 5},
    },
    "argilla": {
        "id": "rec-1",
        "status": "completed",
        "_server_id": "s1",
        "fields": {
            "prompt": "Why is the sky blue?",
            "response-1": "It is not.",
            "response-2": "Air scatters blue light most.",
        },
        "metadata": {"topic": "physics"},
        "suggestions": {},
        "responses": {
            "ranking": [
                {"value": ["response-2", "response-1"], "user_id": "u1"},
                {"value": ["response-1", "response-2"], "user_id": "u2"},
            ]
        },
        "vectors": {},
    },
    "argilla-v1": {
        "fields": {
            "prompt": "Why is the sky blue?",
            "response-1": "It is not.",
            "response-2": "Air scatters blue light most.",
        },
        "responses": [
            {
                "user_id": "u1",
                "status": "submitted",
                "values": {
                    "ranking": {
                        "value": [
                            {"value": "response-2", "rank": 1},
                            {"value": "response-1", "rank": 2},
                        ]
                    }
                },
            }
        ],
        "metadata": {"topic": "physics"},
        "external_id": "e1",
    },
    "label-studio": {
        "id": 7,
        "data": {"prompt": "Why?", "answer1": "It is not.", "answer2": "It is."},
        "annotations": [annotation(1, 4, {"selected": "right"})],
    },
    "lmarena": {
        "question_id": "q-58210e39",
        "model_a": "m1",
        "model_b": "m2",
        "winner": "model_b",
        "judge": "arena_user_973",
        "conversation_a": [USER, BAD],
        "conversation_b": [USER, GOOD],
        "turn": 1,
        "language": "English",
        "tstamp": 1682351591.13,
    },
}
