"""Models of the Hugging Face hub: looked up when registered, downloaded when first needed.

`HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` count here as they do for the download itself.
"""

import os
import re
from typing import Any

from app.errors import Invalid, Unavailable
from app.models import ModelKind
from app.registry.weights import TOKENIZER_FILES, check_architecture

LOOKUP_TIMEOUT_SECONDS = 10.0
HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
DEFAULT_HUB = "https://huggingface.co"


def look_up_model(hub_id: str, kind: ModelKind) -> None:
    """Refuse a hub id that could not be downloaded and loaded as `kind`.

    Raises:
        Invalid: malformed, unknown to the hub, or without the files a model needs.
        Unavailable: this machine cannot reach the hub.
    """
    accepted = {"location": "a model's id on the hub, such as owner/name"}
    if not HUB_ID.fullmatch(hub_id):
        raise Invalid(f"{hub_id!r} is not the id of a hub model.", fields=accepted)
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON"):
        raise no_hub_access(hub_id)
    hub = os.environ.get("HF_ENDPOINT", DEFAULT_HUB).rstrip("/")
    url = f"{hub}/api/models/{hub_id}"
    token = os.environ.get("HF_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    import httpx

    try:
        response = httpx.get(
            url, headers=headers, timeout=LOOKUP_TIMEOUT_SECONDS, follow_redirects=True
        )
        found: Any = response.json() if response.is_success else None
    except (httpx.HTTPError, ValueError) as error:
        raise no_hub_access(hub_id) from error
    if response.status_code in (401, 403, 404):
        raise Invalid(
            f"The hub has no model {hub_id!r} open to this installation; check the id, or set "
            "HF_TOKEN for a private or gated one.",
            fields=accepted,
        )
    if not isinstance(found, dict):
        raise no_hub_access(hub_id)
    _check_files(hub_id, found, accepted)
    config = found.get("config")
    if isinstance(config, dict) and config.get("architectures") and kind is ModelKind.POLICY:
        check_architecture(config, kind)


def no_hub_access(hub_id: str) -> Unavailable:
    """What someone is told who asks for a hub model on a machine that cannot reach the hub."""
    return Unavailable(
        f"Model {hub_id!r} cannot be fetched: this machine has no access to the hub. Download it "
        "elsewhere, copy its folder here and register that folder.",
        code="no_hub_access",
    )


def _check_files(hub_id: str, found: dict[str, Any], accepted: dict[str, str]) -> None:
    siblings = found.get("siblings")
    names = {item.get("rfilename", "") for item in (siblings if isinstance(siblings, list) else [])}
    lacks = []
    if "config.json" not in names:
        lacks.append("config.json")
    if not any(name.endswith(".safetensors") for name in names):
        lacks.append("*.safetensors weights")
    if not names & set(TOKENIZER_FILES):
        lacks.append("a tokenizer")
    if lacks:
        raise Invalid(f"Hub model {hub_id!r} lacks {', '.join(lacks)}.", fields=accepted)
