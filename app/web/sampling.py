"""The sampling fields of forms: those of a round, and those of trying a policy out."""

from collections.abc import Mapping
from typing import Any

from app.jobs.schema import ConfigField, config_fields
from app.projects.rounds import RoundSampling


def sampling_fields() -> list[ConfigField]:
    """Temperature, top-p, longest completion and seed."""
    return config_fields(RoundSampling)


def sampling_defaults() -> dict[str, str]:
    """Their defaults, as inputs show them."""
    return {
        item.name: "" if item.default is None else f"{item.default:g}" for item in sampling_fields()
    }


def read_sampling(values: Mapping[str, str]) -> dict[str, Any]:
    """Sampling as numbers; what cannot be read stays text, so that the check names it."""
    sampling: dict[str, Any] = {}
    for item in sampling_fields():
        text = values.get(item.name, "").strip()
        if not text:
            continue
        try:
            sampling[item.name] = float(text) if item.type is float else int(text)
        except ValueError:
            sampling[item.name] = text
    return sampling
