"""What a model's folder holds, read without torch."""

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import Invalid
from app.models import ModelKind

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
LARGEST_HEADER_BYTES = 100_000_000
"""The safetensors format's own bound; a longer header is a broken file."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of a folder: bytes of all files in it, parameters, and the weights' SHA-256.

    Weights in several files are hashed as one, in the order of their names.
    """

    size_bytes: int
    parameters: int
    sha256: str


@dataclass(frozen=True)
class FolderFile:
    """One file of a model's folder."""

    name: str
    size_bytes: int


def read_weights(folder: Path) -> Weights:
    """Count and hash the weights of a folder.

    Raises:
        Invalid: a weights file is not a safetensors file.
    """
    digest = hashlib.sha256()
    parameters = 0
    for path in weight_files(folder):
        parameters += count_parameters(path)
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return Weights(
        size_bytes=sum(file.size_bytes for file in list_files(folder)),
        parameters=parameters,
        sha256=digest.hexdigest(),
    )


def list_files(folder: Path) -> list[FolderFile]:
    """The files directly in a folder, by name."""
    return [
        FolderFile(path.name, path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".")
    ]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, by name."""
    return sorted(folder.glob("*.safetensors"))


def count_parameters(path: Path) -> int:
    """Numbers in the floating-point tensors of a safetensors file, from its header alone.

    Integer tensors are buffers such as position ids, not parameters.

    Raises:
        Invalid: not a safetensors file.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > LARGEST_HEADER_BYTES:
                raise ValueError("header too long")
            header: dict[str, Any] = json.loads(file.read(length))
        return sum(
            math.prod(tensor["shape"])
            for name, tensor in header.items()
            if name != "__metadata__" and tensor["dtype"].startswith(("F", "BF"))
        )
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(f"{path.name} is not a readable safetensors file.") from error


def check_model_folder(folder: Path, kind: ModelKind) -> None:
    """Refuse a folder that could not be loaded as a model of `kind`.

    Raises:
        Invalid: no such folder, or it lacks its config, safetensors weights or a tokenizer, or its
            architecture is of another kind.
    """
    if not folder.is_dir():
        raise _refused(f"There is no folder {folder} on this machine.")
    config = read_config(folder)
    if not weight_files(folder):
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        hint = " Save it again as safetensors; pickled weights are not loaded." if pickled else ""
        raise _refused(f"{folder} has no *.safetensors weights.{hint}")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise _refused(f"{folder} has no tokenizer (one of {', '.join(TOKENIZER_FILES)}).")
    check_architecture(config, kind)


def check_architecture(config: dict[str, Any], kind: ModelKind) -> None:
    """Refuse a `config.json` whose architecture is used as something else than `kind`.

    Raises:
        Invalid: the architecture is of another kind.
    """
    names = ", ".join(config.get("architectures") or [])
    if kind is ModelKind.POLICY and names and "ForCausalLM" not in names:
        raise Invalid(
            f"A policy generates text, but this is {names}.",
            fields={"kind": "encoder or reward_model for this architecture"},
        )
    if kind is ModelKind.REWARD_MODEL:
        labels = config.get("id2label")
        outputs = len(labels) if isinstance(labels, dict) else int(config.get("num_labels", 2))
        if "ForSequenceClassification" not in names or outputs not in (1, 2):
            raise Invalid(
                "A reward model is a sequence classifier with one output, or two, but this is "
                f"{names or 'an unnamed architecture'} with {outputs}.",
                fields={"kind": "policy or encoder for this architecture"},
            )


def find_positive_class(config: dict[str, Any], named: str) -> int | None:
    """Which output of a reward model means "preferred"; None for a model with one output.

    `named` is the class's name or number; empty takes what the config itself says in
    `positive_class`.

    Raises:
        Invalid: a two-class model whose preferred class nobody named, or no class of that name.
    """
    named = named.strip()
    labels = config.get("id2label") or {}
    if not isinstance(labels, dict) or len(labels) == 1 or config.get("num_labels") == 1:
        if named:
            raise Invalid(
                "This reward model has one output, which is the reward; name no class of it.",
                fields={"positive_class": "nothing"},
            )
        return None
    names = [str(labels.get(str(number), f"LABEL_{number}")) for number in (0, 1)]
    if not named:
        named = str(config.get("positive_class", ""))
    for number, name in enumerate(names):
        if named.lower() in (name.lower(), str(number)):
            return number
    raise Invalid(
        f"This classifier has the classes {names[0]} and {names[1]}; name the one that means "
        "preferred.",
        fields={"positive_class": f"{names[0]} or {names[1]}"},
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's `config.json`.

    Raises:
        Invalid: there is none, or not one of a transformers model.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise _refused(f"{folder} has no config.json.")
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise _refused(f"{path} is not valid JSON.") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise _refused(f"{path} names no model_type, so it is not a transformers model.")
    return config


def _refused(detail: str) -> Invalid:
    accepted = "a folder with config.json, *.safetensors weights and a tokenizer"
    return Invalid(detail, fields={"location": accepted})
