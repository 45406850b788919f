import time
from typing import Any

import httpx
import pytest

from app.generation.client import (
    FRUITLESS_ATTEMPTS,
    Answer,
    Endpoint,
    EndpointError,
    Sampling,
    complete,
    derive_seed,
    list_served_models,
)
from tests.generation.servers import (
    Server,
    failing,
    failing_first,
    ignores_n,
    not_json,
    obedient,
    reply,
    running,
)

MESSAGES = [{"role": "user", "content": "Name a colour"}]


def ask(server: Server, n: int, *, waits: list[float] | None = None, timeout: float = 20) -> Answer:
    waited: list[float] = [] if waits is None else waits
    with httpx.Client(timeout=timeout) as http:
        return complete(
            http,
            Endpoint(server.url, "tiny"),
            MESSAGES,
            n,
            Sampling(temperature=0.7, top_p=0.9, max_new_tokens=12),
            seed=5,
            wait=waited.append,
        )


def test_asks_once_for_all_completions_and_says_how_to_sample() -> None:
    with running(obedient) as server:
        answer = ask(server, 4)
    assert len(answer.choices) == 4
    assert answer.problem is None
    (body,) = server.requests
    assert body["n"] == 4
    assert body["temperature"] == 0.7
    assert body["top_p"] == 0.9
    assert body["max_tokens"] == 12
    assert body["model"] == "tiny"
    assert body["messages"] == MESSAGES
    assert body["seed"] == derive_seed(5, 0)


def test_a_server_that_ignores_n_is_asked_again_with_other_seeds() -> None:
    with running(ignores_n) as server:
        answer = ask(server, 3)
    assert len({choice.text for choice in answer.choices}) == 3
    assert len({body["seed"] for body in server.requests}) == 3
    assert [body["n"] for body in server.requests] == [3, 2, 1]
    assert answer.choices[0].token_count == 7
    assert answer.problem is None


def test_a_server_that_gives_fewer_is_asked_for_the_rest() -> None:
    def two_at_most(body: dict[str, Any], number: int) -> dict[str, Any]:
        return reply([f"{number}.{k}" for k in range(min(2, body["n"]))])

    with running(two_at_most) as server:
        answer = ask(server, 5)
    assert [choice.text for choice in answer.choices] == ["1.0", "1.1", "2.0", "2.1", "3.0"]


def test_a_server_that_gives_more_is_cut_to_what_was_asked() -> None:
    with running(lambda body, number: reply(["a", "b", "c", "d"])) as server:
        assert [choice.text for choice in ask(server, 3).choices] == ["a", "b", "c"]


def test_errors_that_pass_are_waited_out() -> None:
    waits: list[float] = []
    with running(failing_first(2, 500)) as server:
        answer = ask(server, 2, waits=waits)
    assert len(answer.choices) == 2
    assert answer.problem is None
    assert len(waits) == 2
    assert 0.3 < waits[0] < waits[1], "the second wait is the longer one"


def test_retry_after_is_honoured_and_bounded() -> None:
    waits: list[float] = []
    with running(failing_first(1, 429, {"Retry-After": "3"})) as server:
        ask(server, 1, waits=waits)
    assert waits == [3.0]
    waits.clear()
    with running(failing_first(1, 503, {"Retry-After": "86400"})) as server:
        ask(server, 1, waits=waits)
    assert waits == [30.0]


def test_a_server_that_always_fails_is_given_up_with_its_own_words() -> None:
    with running(failing(500)) as server:
        answer = ask(server, 4)
    assert answer.choices == []
    assert answer.problem == "0 of 4 completions: the server answered 500: out of memory"
    assert len(server.requests) == FRUITLESS_ATTEMPTS


def test_a_refused_request_is_not_repeated() -> None:
    with running(failing(404)) as server:
        answer = ask(server, 2)
    assert len(server.requests) == 1
    assert "404" in (answer.problem or "")


def test_what_came_before_a_failure_is_kept() -> None:
    def then_dies(body: dict[str, Any], number: int) -> Any:
        return reply(["only one"]) if number == 1 else failing(500)(body, number)

    with running(then_dies) as server:
        answer = ask(server, 3)
    assert [choice.text for choice in answer.choices] == ["only one"]
    assert (answer.problem or "").startswith("1 of 3 completions: ")


def test_empty_texts_are_asked_for_again_and_then_named() -> None:
    def empty_first(body: dict[str, Any], number: int) -> dict[str, Any]:
        return reply(["", "good"]) if number == 1 else reply(["  \n"])

    with running(empty_first) as server:
        answer = ask(server, 2)
    assert [choice.text for choice in answer.choices] == ["good"]
    assert answer.problem == "1 of 2 completions: the server gave empty texts"
    assert len(server.requests) == 1 + FRUITLESS_ATTEMPTS


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (not_json, "the server did not answer with JSON"),
        (lambda body, number: {"hello": 1}, "the answer is not a chat completion"),
        (lambda body, number: {"choices": [{"text": "x"}]}, "the answer is not a chat completion"),
        (lambda body, number: {"choices": []}, "the server gave no choices"),
    ],
)
def test_malformed_answers_are_named(given: Any, reason: str) -> None:
    with running(given) as server:
        answer = ask(server, 1)
    assert answer.problem == f"0 of 1 completions: {reason}"
    assert len(server.requests) == FRUITLESS_ATTEMPTS


def test_a_server_that_hangs_times_out() -> None:
    def hang(body: dict[str, Any], number: int) -> dict[str, Any]:
        time.sleep(1.0)
        return obedient(body, number)

    with running(hang) as server:
        answer = ask(server, 1, timeout=0.1)
    assert "took too long" in (answer.problem or "")
    assert not answer.unreachable


def test_nothing_listening_is_told_apart_from_a_server_that_fails() -> None:
    with running(obedient) as server:
        pass
    answer = ask(server, 1)
    assert answer.unreachable
    assert "cannot be reached" in (answer.problem or "")


def test_texts_that_no_database_can_hold_are_cleaned() -> None:
    with running(lambda body, number: reply(["a\x00b", "c"])) as server:
        assert ask(server, 2).choices[0].text == "ab"


def test_the_key_of_an_endpoint_goes_with_every_request_and_stays_out_of_its_repr() -> None:
    with running(obedient) as server, httpx.Client() as http:
        endpoint = Endpoint(server.url, "tiny", "secret-key")
        complete(http, endpoint, MESSAGES, 1, Sampling(), 1)
    assert server.headers[0]["authorization"] == "Bearer secret-key"
    assert "secret-key" not in repr(endpoint)


def test_waiting_can_be_broken_off() -> None:
    class Enough(Exception):
        pass

    def stop(seconds: float) -> None:
        raise Enough

    with running(failing(500)) as server, httpx.Client() as http, pytest.raises(Enough):
        complete(http, Endpoint(server.url, "tiny"), MESSAGES, 1, Sampling(), 1, wait=stop)


def test_served_models_are_listed_or_the_reason_is_given() -> None:
    with running(obedient, ["one", "two"]) as server:
        endpoint = Endpoint(server.url, "")
        assert list_served_models(endpoint, timeout_seconds=5) == ["one", "two"]
    with pytest.raises(EndpointError, match="cannot be reached"):
        list_served_models(endpoint, timeout_seconds=5)


def test_seeds_depend_on_every_part() -> None:
    seeds = {derive_seed(1, "a"), derive_seed(1, "b"), derive_seed(2, "a"), derive_seed("1a")}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert derive_seed(1, "a") == derive_seed(1, "a")
