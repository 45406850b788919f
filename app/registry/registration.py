"""Taking up models made elsewhere: a folder, a hub id, or an OpenAI-compatible endpoint."""

from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.errors import Invalid
from app.generation.client import Endpoint, EndpointError, list_served_models
from app.models import Model, ModelKind, ModelSource, User
from app.registry.hub import look_up_model
from app.registry.service import create_model, stored_location
from app.registry.weights import (
    check_model_folder,
    find_positive_class,
    read_config,
    read_weights,
)
from app.settings import Settings

PROBE_TIMEOUT_SECONDS = 10.0


def register_model(
    session: Session,
    user: User,
    settings: Settings,
    *,
    kind: ModelKind,
    source: ModelSource,
    location: str,
    name: str = "",
    served_name: str | None = None,
    description: str = "",
    project_id: str | None = None,
    positive_class: str = "",
) -> Model:
    """A registry entry for a model made elsewhere, checked before it is stored.

    - folder: has config, safetensors weights and a tokenizer, and an architecture of `kind`;
    - hub: the hub knows the id, and the repository has those files; downloaded when first needed;
    - endpoint: answers `/v1/models` and serves `served_name`.

    A sequence classifier with two classes is a reward model once its `positive_class` is named, by
    its label or its number; of a hub model, whose labels are not here yet, by its number.

    For admins: the edge checks that.

    Raises:
        Invalid: the location is not such a model; the field is named.
        Unavailable: this machine has no access to the hub.
    """
    location = location.strip()
    weights = preferred = None
    if positive_class.strip() and kind is not ModelKind.REWARD_MODEL:
        raise Invalid(
            "Only a reward model has a preferred class.", fields={"positive_class": "nothing"}
        )
    if source is ModelSource.FOLDER:
        folder = Path(location).expanduser()
        if not location or not folder.is_absolute():
            raise Invalid(
                "Give the folder's full path on the server.",
                fields={"location": "an absolute path"},
            )
        check_model_folder(folder, kind)
        if kind is ModelKind.REWARD_MODEL:
            preferred = find_positive_class(read_config(folder), positive_class)
        weights = read_weights(folder)
        stored, hint = stored_location(settings, folder), folder.name
    elif source is ModelSource.HUB:
        look_up_model(location, kind)
        if kind is ModelKind.REWARD_MODEL:
            preferred = _class_number(positive_class)
        stored, hint = location, location.rpartition("/")[2]
    elif source is ModelSource.ENDPOINT:
        if kind is not ModelKind.POLICY:
            raise Invalid(
                "An endpoint generates completions, so it can only be a policy.",
                fields={"kind": "policy"},
            )
        stored = endpoint_base_url(location)
        served_name = find_served_name(settings, stored, served_name)
        hint = served_name.rpartition("/")[2]
    else:
        raise Invalid(
            f"A model cannot be registered from {source.value!r}.",
            fields={"source": "folder, hub or endpoint"},
        )
    model = create_model(
        session,
        id_hint=name or hint,
        kind=kind,
        source=source,
        user=user,
        weights=weights,
        name=name or hint,
        location=stored,
        served_name=served_name if source is ModelSource.ENDPOINT else None,
        description=description.strip(),
        positive_class=preferred,
        project_id=project_id,
    )
    record(session, user, "model.register", "model", model.id, source=source, location=stored)
    return model


def _class_number(named: str) -> int | None:
    if named.strip() in ("", "0", "1"):
        return int(named) if named.strip() else None
    raise Invalid(
        "The classes of a hub model are known once it was downloaded; give the number of the one "
        "that means preferred.",
        fields={"positive_class": "0, 1, or nothing for a model with one output"},
    )


def endpoint_base_url(url: str) -> str:
    """The address without a closing slash and without `/v1`.

    Raises:
        Invalid: not an http or https address.
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid(
            f"{url!r} is not the address of an endpoint.",
            fields={"location": "an address such as http://host:8000"},
        )
    if parts.username or parts.password:
        raise Invalid(
            "Keep keys out of the address; set them in PODIUM_ENDPOINT_KEYS.",
            fields={"location": "an address without a user or password"},
        )
    return url.strip().rstrip("/").removesuffix("/v1").rstrip("/")


def find_served_name(settings: Settings, base_url: str, served_name: str | None) -> str:
    """The model's name at its endpoint: the one asked for, or the only one there is.

    Raises:
        Invalid: the endpoint does not answer, or does not serve that name.
    """
    endpoint = Endpoint(base_url, served_name or "", settings.endpoint_keys.get(base_url))
    try:
        served = list_served_models(endpoint, timeout_seconds=PROBE_TIMEOUT_SECONDS)
    except EndpointError as error:
        raise Invalid(
            f"No OpenAI-compatible server answers at {base_url}/v1/models: {error}",
            fields={"location": "the address of a running server"},
        ) from error
    accepted = {"served_name": "one of " + ", ".join(served[:10]) if served else "none is served"}
    if served_name and served_name in served:
        return served_name
    if served_name:
        raise Invalid(f"{base_url} does not serve {served_name!r}.", fields=accepted)
    if len(served) != 1:
        raise Invalid(f"{base_url} serves {len(served)} models; name one.", fields=accepted)
    return served[0]
