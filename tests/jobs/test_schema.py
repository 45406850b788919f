from typing import Any

import jsonschema
import pytest

from app.errors import Invalid
from app.jobs.schema import (
    config_dict,
    config_fields,
    json_schema,
    label_of,
    parse_config,
    read_form,
    show_value,
)
from app.training.configs import DPOConfig, PPOConfig, RewardModelConfig
from tests.jobs.counting_kind import CountingConfig

PPO = {"policy": "p", "reward_model": "r"}


def test_defaults_are_filled_in_and_whole_floats_pass_as_integers() -> None:
    config = parse_config(RewardModelConfig, {"backbone": "minilm-l6", "epochs": 2.0})
    assert (config.epochs, type(config.epochs), config.seed) == (2, int, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iterations", 0),
        ("iterations", 1.5),
        ("iterations", "20"),
        ("iterations", True),
        ("iterations", None),
        ("kl_coef", float("nan")),
        ("kl_coef", 10.01),
        ("policy", ""),
        ("policy", 3),
        ("lora_rank", 257),
        ("lora_ranks", 8),
    ],
)
def test_what_does_not_fit_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(Invalid) as caught:
        parse_config(PPOConfig, {**PPO, name: value})
    assert list(caught.value.fields) == [name]


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        parse_config(PPOConfig, {"policy": "p", "iterations": -1, "extra": 1})
    assert set(caught.value.fields) == {"reward_model", "iterations", "extra"}
    assert "1 to 100000" in caught.value.fields["iterations"]


def test_the_json_schema_accepts_what_the_parser_gives() -> None:
    for config_type, raw in ((PPOConfig, PPO), (CountingConfig, {"steps": 3})):
        schema = json_schema(config_type)
        validator = jsonschema.Draft202012Validator(schema)
        validator.check_schema(schema)
        validator.validate(config_dict(parse_config(config_type, raw)))
        assert not validator.is_valid({**raw, "unknown": 1})
        assert not validator.is_valid({})


def test_a_text_with_choices_is_one_of_them() -> None:
    schema = json_schema(DPOConfig)["properties"]["loss"]
    assert schema["enum"] == ["sigmoid", "ipo"]
    assert parse_config(DPOConfig, {"policy": "p", "loss": "ipo"}).loss == "ipo"
    for refused in ("hinge", "", None, 1):
        with pytest.raises(Invalid) as caught:
            parse_config(DPOConfig, {"policy": "p", "loss": refused})
        assert caught.value.fields == {"loss": "Give one of sigmoid, ipo."}


def test_an_empty_input_is_null_where_that_is_allowed_and_the_default_elsewhere() -> None:
    form = {"policy": "p", "reward_model": "r", "lora_rank": "", "epochs": "", "kl_target": "3"}
    config = parse_config(PPOConfig, read_form(PPOConfig, form))
    assert (config.lora_rank, config.epochs, config.kl_target) == (None, 1, 3.0)


def test_a_form_shows_what_it_reads() -> None:
    values = {item.name: show_value(item.default) for item in config_fields(PPOConfig)}
    values.update(PPO)
    assert parse_config(PPOConfig, read_form(PPOConfig, values)) == PPOConfig(**PPO)


def test_an_unchecked_box_is_false_and_a_word_for_a_number_is_named() -> None:
    assert read_form(CountingConfig, {"steps": "4"})["deaf"] is False
    assert read_form(CountingConfig, {"steps": "4", "deaf": "on"})["deaf"] is True
    with pytest.raises(Invalid) as caught:
        parse_config(CountingConfig, read_form(CountingConfig, {"steps": "many"}))
    assert list(caught.value.fields) == ["steps"]


def test_names_of_code_become_words() -> None:
    assert label_of("kl_coef") == "KL coefficient"
    assert label_of("eval_prompts") == "Held-out prompts"
