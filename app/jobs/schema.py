"""Config dataclasses read three ways: JSON schema, form fields, and checked instances.

Everything comes from the annotations and from the `metadata` that `app.training.configs.option`
puts on a field. Supported annotations: `str`, `int`, `float`, `bool`, tuples and lists of them, and
each of these `| None`.
"""

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields
from typing import Any, Union, get_args, get_origin, get_type_hints

from app.errors import Invalid

JSON_TYPES: dict[type[Any], str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
}
ACCEPTED = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
WORDS = {
    "coef": "coefficient",
    "dpo": "DPO",
    "eos": "EOS",
    "eval": "held-out",
    "gae": "GAE",
    "gold": "gold-rule",
    "kl": "KL",
    "logprobs": "log-probabilities",
    "lora": "LoRA",
    "normalized": "normalised",
    "ppo": "PPO",
    "std": "spread",
}
"""Words of code that people read differently."""


@dataclass(frozen=True, kw_only=True)
class ConfigField:
    """One field of a config: what a form or a schema needs to know of it."""

    name: str
    type: type[Any]
    is_list: bool
    nullable: bool
    required: bool
    default: Any
    help: str
    minimum: float | None
    maximum: float | None
    unit: str | None
    reference: str | None
    advanced: bool
    choices: tuple[str, ...] | None

    @property
    def label(self) -> str:
        """The name in words: `snapshot_id` is "Snapshot"."""
        return label_of(self.name.removesuffix("_id"))

    @property
    def step(self) -> str:
        """The step of a number input."""
        return "1" if self.type is int else "any"

    @property
    def accepts(self) -> str:
        """What would be accepted, in words."""
        return _accepts(self)


def label_of(name: str) -> str:
    """A name of code in words for people: `kl_coef` is "KL coefficient"."""
    words = [WORDS.get(word, word) for word in name.split("_") if word]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]]) if words else name


def config_fields(config_type: type[Any]) -> list[ConfigField]:
    """The fields of a config dataclass, in order."""
    hints = get_type_hints(config_type)
    return [_read_field(item, hints[item.name]) for item in fields(config_type)]


def _read_field(item: Field[Any], annotation: Any) -> ConfigField:
    nullable = False
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        nullable = len(members) < len(get_args(annotation))
        if len(members) != 1:
            raise TypeError(f"{item.name}: {annotation} is not supported in a job's config")
        annotation = members[0]
    is_list = get_origin(annotation) in (list, tuple)
    base = get_args(annotation)[0] if is_list else annotation
    if base not in JSON_TYPES:
        raise TypeError(f"{item.name}: {annotation} is not supported in a job's config")
    default = item.default
    if item.default_factory is not MISSING:
        default = item.default_factory()
    metadata = item.metadata
    return ConfigField(
        name=item.name,
        type=base,
        is_list=is_list,
        nullable=nullable,
        required=default is MISSING,
        default=None if default is MISSING else default,
        help=metadata.get("help", ""),
        minimum=metadata.get("minimum"),
        maximum=metadata.get("maximum"),
        unit=metadata.get("unit"),
        reference=metadata.get("reference"),
        advanced=bool(metadata.get("advanced", False)),
        choices=metadata.get("choices"),
    )


def json_schema(config_type: type[Any]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a config, as `GET /api/v1/job-kinds` gives it."""
    described = config_fields(config_type)
    return {
        "type": "object",
        "title": config_type.__name__,
        "description": (config_type.__doc__ or "").strip(),
        "properties": {item.name: _property_schema(item) for item in described},
        "required": [item.name for item in described if item.required],
        "additionalProperties": False,
    }


def _property_schema(item: ConfigField) -> dict[str, Any]:
    bounds: dict[str, Any] = {"type": JSON_TYPES[item.type]}
    if item.minimum is not None:
        bounds["minimum"] = item.minimum
    if item.maximum is not None:
        bounds["maximum"] = item.maximum
    if item.choices:
        bounds["enum"] = list(item.choices)
    schema: dict[str, Any] = {"type": "array", "items": bounds} if item.is_list else bounds
    if item.nullable:
        schema["type"] = [schema["type"], "null"]
    schema["description"] = item.help
    if not item.required:
        schema["default"] = list(item.default) if item.is_list else item.default
    if item.unit:
        schema["x-unit"] = item.unit
    if item.reference:
        schema["x-reference"] = item.reference
    return schema


def parse_config(config_type: type[Any], raw: Mapping[str, Any]) -> Any:
    """A checked instance of `config_type` from JSON values.

    Raises:
        Invalid: `fields` names every field that is unknown, missing, of the wrong type or out of
            range, and says what would be accepted.
    """
    if not isinstance(raw, Mapping):
        raise Invalid("The config must be an object.", fields={"config": "Give an object."})
    described = {item.name: item for item in config_fields(config_type)}
    problems: dict[str, str] = {}
    values: dict[str, Any] = {}
    for name in raw:
        if name not in described:
            problems[str(name)[:100]] = f"Unknown field. Known: {', '.join(described)}."
    for name, item in described.items():
        if name not in raw:
            if item.required:
                problems[name] = f"Required: {_accepts(item)}."
            continue
        try:
            values[name] = _parse_value(item, raw[name])
        except ValueError:
            problems[name] = f"Give {_accepts(item)}."
    if problems:
        first, reason = next(iter(problems.items()))
        raise Invalid(f"{first}: {reason}", code="invalid_config", fields=problems)
    return config_type(**values)


def _parse_value(item: ConfigField, value: Any) -> Any:
    if value is None:
        if item.nullable:
            return None
        raise ValueError
    if not item.is_list:
        return _parse_scalar(item, value)
    if not isinstance(value, list | tuple):
        raise ValueError
    return tuple(_parse_scalar(item, element) for element in value)


def _parse_scalar(item: ConfigField, value: Any) -> Any:
    if item.type is bool or isinstance(value, bool):
        if item.type is bool and isinstance(value, bool):
            return value
        raise ValueError
    if item.type is str:
        chosen = item.choices is None or value in item.choices
        if isinstance(value, str) and chosen and (value.strip() or not item.required):
            return value
        raise ValueError
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    if item.type is int and value != int(value):
        raise ValueError
    too_small = item.minimum is not None and value < item.minimum
    too_large = item.maximum is not None and value > item.maximum
    if too_small or too_large:
        raise ValueError
    return item.type(value)


def _accepts(item: ConfigField) -> str:
    text = ACCEPTED[item.type]
    if item.reference:
        text = f"the id of a {item.reference.replace('_', ' ')}"
    if item.choices:
        text = f"one of {', '.join(item.choices)}"
    if item.minimum is not None and item.maximum is not None:
        text += f" from {item.minimum:g} to {item.maximum:g}"
    elif item.minimum is not None:
        text += f" of at least {item.minimum:g}"
    elif item.maximum is not None:
        text += f" of at most {item.maximum:g}"
    if item.is_list:
        text = f"a list, each {text}"
    return f"{text}, or nothing" if item.nullable else text


def read_form(config_type: type[Any], form: Mapping[str, str]) -> dict[str, Any]:
    """JSON values from a submitted form, for `parse_config`.

    An empty input is null where the field allows it, and the default elsewhere. What cannot be
    read as a number stays a text, so that `parse_config` names it.
    """
    raw: dict[str, Any] = {}
    for item in config_fields(config_type):
        if item.type is bool:
            raw[item.name] = item.name in form
            continue
        text = form.get(item.name, "").strip()
        if text == "":
            if item.nullable:
                raw[item.name] = None
            continue
        if item.is_list:
            raw[item.name] = [_read_text(item.type, part.strip()) for part in text.split(",")]
        else:
            raw[item.name] = _read_text(item.type, text)
    return raw


def _read_text(wanted: type[Any], text: str) -> Any:
    if wanted is str:
        return text
    try:
        return int(text) if wanted is int else float(text)
    except ValueError:
        return text


def show_value(value: Any) -> str:
    """A config value as a form input or a page shows it; null is empty."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(show_value(element) for element in value)
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def config_dict(config: Any) -> dict[str, Any]:
    """A config as JSON values, every field named."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(config).items()
    }
