"""Loading a registry model into memory, once, ready to compute in float32."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import httpx2
import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from app.inference.catalogue import ModelFiles, ModelKind
from app.inference.catalogue import ModelUnavailable as ModelUnavailable
from app.inference.starters import StarterError, ensure_starter

HUB_TIMEOUT_SECONDS = 5.0
HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
UNKNOWN_CONTEXT = 2048
LOAD_ERRORS = (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError)
"""What transformers raises about a folder that holds no such model, or a damaged one."""


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, in evaluation mode, with its tokenizer.

    `context_length` is the most tokens it can take. `positive_class` is the index of the preferred
    class of a two-class reward model, None for a one-output one and for other kinds.
    """

    kind: ModelKind
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    context_length: int
    positive_class: int | None = None


def best_device() -> torch.device:
    """The device that models are put on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_model(
    source: str | Path,
    kind: ModelKind,
    *,
    positive_class: int | None = None,
    device: torch.device | str | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> LoadedModel:
    """Load a local folder or hub id as a policy, reward model or encoder, in float32.

    The tokenizer gets a padding token if it has none, and pads policies on the left. A reward
    model has one output, or two with `positive_class` (default: the config's own `positive_class`,
    or 1). A `tokenizer` that was loaded from the same folder before is taken as it is.

    Raises ModelUnavailable, one line, when the files cannot be had or do not fit the kind.
    """
    folder = locate(source)
    try:
        tokenizer = tokenizer or AutoTokenizer.from_pretrained(folder)
        model = load_weights(folder, kind)
    except LOAD_ERRORS as error:
        raise ModelUnavailable(
            f"{source} cannot be loaded as a {kind}: {load_reason(error)}"
        ) from error
    _settle_padding(model, tokenizer, kind)
    return LoadedModel(
        kind=kind,
        model=model.to(device or best_device()).eval(),
        tokenizer=tokenizer,
        context_length=context_length(model, tokenizer),
        positive_class=_positive_class(source, model, positive_class)
        if kind == "reward_model"
        else None,
    )


def load_weights(folder: Path, kind: ModelKind) -> PreTrainedModel:
    """The network of a model folder in float32 on the CPU, mapped from its files where it can be.

    Raises one of LOAD_ERRORS; a ValueError for a policy or a reward model with weights that are in
    no file, such as the head of what is only a backbone: they would be drawn at random.
    """
    factory = {
        "policy": AutoModelForCausalLM,
        "reward_model": AutoModelForSequenceClassification,
        "encoder": AutoModel,
    }[kind]
    model, info = factory.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
    )
    missing = sorted(info["missing_keys"])
    if missing and kind != "encoder":
        raise ValueError(
            f"its files hold no {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}"
        )
    loaded: PreTrainedModel = model
    return loaded


def load_reason(error: Exception) -> str:
    """What one of `LOAD_ERRORS` says, in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def locate(source: str | Path) -> Path:
    """The folder of a model: itself if it is one, else downloaded from the hub or its local cache.

    Raises ModelUnavailable when there is neither.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    name = str(source)
    if isinstance(source, Path) or folder.is_absolute() or name.startswith((".", "~")):
        raise ModelUnavailable(f"{name} is not a folder; register the model's present folder")
    try:
        # One short question first: the download itself would retry for half a minute.
        HfApi().model_info(name, timeout=HUB_TIMEOUT_SECONDS)
        return Path(snapshot_download(name, allow_patterns=list(HUB_FILES)))
    except HFValidationError as error:
        raise ModelUnavailable(
            f"{name} is neither a local folder nor a hub id; register a local folder"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "an error"
        raise ModelUnavailable(
            f"the hub answered {status} for {name}; check the id and HF_TOKEN, or register a "
            "local folder"
        ) from error
    except (OSError, httpx2.TransportError) as error:
        return _cached(name, error)


def _cached(name: str, reason: Exception) -> Path:
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        raise ModelUnavailable(
            f"{name} cannot be fetched: no access to the hub; register a local folder"
        ) from reason


def context_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The most tokens the model takes: what fits and, of a reward model, what it was trained on.

    A reward model trained here says in `podium_max_length` where its training cut its texts;
    scoring cuts there too, or the same completion would score differently in PPO and over REST.
    """
    trained: int | None = getattr(model.config, "podium_max_length", None)
    limit = text_limit(model, tokenizer)
    return min(limit, trained) if trained else limit


def text_limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The most tokens that fit the model, by its config and its tokenizer."""
    config = model.config
    positions = getattr(config, "max_position_embeddings", None) or getattr(
        config, "n_positions", None
    )
    limits = [limit for limit in (positions, tokenizer.model_max_length) if limit]
    # A tokenizer that knows no limit says 10^30.
    limits = [limit for limit in limits if limit < 10**9]
    return int(min(limits, default=UNKNOWN_CONTEXT))


def _settle_padding(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, kind: ModelKind
) -> None:
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    tokenizer.padding_side = "left" if kind == "policy" else "right"
    # Causal reward models find the last token that is not padding by this id.
    model.config.pad_token_id = tokenizer.pad_token_id


def _positive_class(
    source: str | Path, model: PreTrainedModel, positive_class: int | None
) -> int | None:
    outputs = int(model.config.num_labels)
    if outputs == 1:
        return None
    if outputs != 2:
        raise ModelUnavailable(f"{source} has {outputs} outputs; a reward model has one or two")
    if positive_class is None:
        positive_class = int(getattr(model.config, "positive_class", 1))
    if positive_class not in (0, 1):
        raise ModelUnavailable(f"{source}: the positive class is 0 or 1, not {positive_class}")
    return positive_class


class ModelCache:
    """The models used last, at most `limit` of them in memory."""

    def __init__(self, limit: int = 4) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._loaded: OrderedDict[ModelFiles, LoadedModel] = OrderedDict()

    def get(self, files: ModelFiles) -> LoadedModel:
        """The model, loaded now if it was not; a starter is converted the first time.

        One load runs at a time. Raises ModelUnavailable.
        """
        with self._lock:
            if files in self._loaded:
                self._loaded.move_to_end(files)
                return self._loaded[files]
            while len(self._loaded) >= self.limit:
                self._loaded.popitem(last=False)
            if files.starter:
                folder = Path(files.source)
                try:
                    ensure_starter(folder.name, folder.parent)
                except StarterError as error:
                    raise ModelUnavailable(str(error)) from error
            loaded = load_model(files.source, files.kind, positive_class=files.positive_class)
            self._loaded[files] = loaded
            return loaded

    def ids(self) -> list[str]:
        """The ids in memory, the one used last at the end."""
        return [files.id for files in tuple(self._loaded)]
