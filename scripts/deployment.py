"""Which services and gateway make a deployment on this machine, and who is told whose address."""

from __future__ import annotations

import os

from core.runtime.settings import SettingsError
from gateway.settings import GatewaySettings
from scripts.supervisor import ROOT, SupervisionError, Supervisor


def has_editor() -> bool:
    """Return whether there are weights for the editor: those of the default profile, or what its settings name.

    The weights of the miniature that edits may be taken out of a checkout; everything else works without them.
    """
    named = any(f"LIKENESS_EDITOR_{name}" in os.environ for name in ("PROFILE", "PROFILE_FILE", "WEIGHTS_DIR"))
    return named or (ROOT / "weights" / "miniature-edit" / "model_index.json").is_file()


def start_all(
    supervisor: Supervisor,
    *,
    gateway_port: int,
    generator_port: int,
    faceswap_port: int,
    editor_port: int | None = None,
    trainer_port: int | None = None,
) -> str:
    """Start the services and the gateway, and return the gateway's address; port 0 picks a free one.

    The trainer is among them where it is given a port, the editor where it also `has_editor` weights. All get the
    gateway's artifact store. Raises SupervisionError.
    """
    try:
        common = {"log_format": "text", "artifacts_url": GatewaySettings.load().artifacts_url}
    except SettingsError as error:
        raise SupervisionError(str(error)) from error
    supervisor.start("generator", {"port": generator_port, **common})
    supervisor.start("faceswap", {"port": faceswap_port, **common})
    addresses = {f"{name}_address": supervisor.address_of(name, 120) for name in ("generator", "faceswap")}
    if editor_port is not None and has_editor():
        supervisor.start("editor", {"port": editor_port, **common})
        addresses["editor_address"] = supervisor.address_of("editor", 120)
    if trainer_port is not None:
        generator = {"generator_address": addresses["generator_address"]}
        supervisor.start("trainer", {"port": trainer_port, **common, **generator})
        addresses["trainer_address"] = supervisor.address_of("trainer", 120)
    supervisor.start("gateway", {"port": gateway_port, **common, **addresses})
    return supervisor.address_of("gateway", 120)
