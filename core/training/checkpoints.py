"""Checkpoints: all that a run needs to go on from a step as if it had never stopped.

``checkpoints/<step>`` has the adapter's weights, the optimizer's, and the step with a fingerprint of the run. Noise,
noise levels and the order of samples follow from the seed and the step, so there is no random state to keep.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from core.training.files import whole_folder
from core.training.loop import Optimisation
from likeness.errors import InvalidRequest, NonFiniteResult

FOLDER = "checkpoints"
_KEPT = 2
"""How many of the newest are kept, so that one that turns out damaged is no loss."""
_WEIGHTS = "adapter.safetensors"
_OPTIMIZER = "optimizer.safetensors"
_STATE = "state.json"


def save_checkpoint(workdir: Path, run: Optimisation, *, fingerprint: str, smoothed_loss: float) -> Path:
    """Write the run's state and remove older checkpoints.

    Args:
        workdir: the run's folder.
        run: its state.
        fingerprint: what the run is known by; another run's checkpoint is not taken up.
        smoothed_loss: told again after a resume.

    Raises:
        NonFiniteResult: the weights hold NaN or infinity; nothing is written.
        InsufficientResources: the disk is full; the checkpoints before are kept.
    """
    weights = {name: parameter.detach().cpu().contiguous() for name, parameter in run.base.parameters.items()}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
        raise NonFiniteResult(f"the weights at step {run.step} are not finite; the last good checkpoint is kept")
    folder = workdir / FOLDER / f"{run.step:06d}"
    with whole_folder(folder) as draft:
        save_file(weights, draft / _WEIGHTS)
        save_file(_optimizer_tensors(run), draft / _OPTIMIZER)
        state = {"step": run.step, "fingerprint": fingerprint, "smoothed_loss": smoothed_loss}
        (draft / _STATE).write_text(json.dumps(state), encoding="utf-8")
    for older in _folders(workdir)[_KEPT:]:
        shutil.rmtree(older)
    return folder


def restore_checkpoint(workdir: Path, run: Optimisation, *, fingerprint: str) -> float | None:
    """Take the newest whole checkpoint up, and return its smoothed loss; None when there is none.

    Raises:
        InvalidRequest: the folder holds another run's checkpoints.
    """
    for folder in _folders(workdir):
        try:
            state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
            weights, optimizer = load_file(folder / _WEIGHTS), load_file(folder / _OPTIMIZER)
        except (OSError, ValueError, SafetensorError):
            continue  # damaged on the disk: the one before it is good
        if state["fingerprint"] != fingerprint:
            raise InvalidRequest("the work directory holds checkpoints of another run: use a new one")
        for name, parameter in run.base.parameters.items():
            parameter.data.copy_(weights[name])
        _restore_optimizer(run, optimizer)
        run.step = int(state["step"])
        return float(state["smoothed_loss"])
    return None


def _folders(workdir: Path) -> list[Path]:
    """Return the checkpoints' folders, the newest first."""
    found = [folder for folder in (workdir / FOLDER).glob("[0-9]*") if folder.name.isdigit()]
    return sorted(found, key=lambda folder: int(folder.name), reverse=True)


def _optimizer_tensors(run: Optimisation) -> dict[str, torch.Tensor]:
    names = {id(parameter): name for name, parameter in run.base.parameters.items()}
    return {
        f"{key}/{names[id(parameter)]}": torch.as_tensor(value).detach().cpu().contiguous()
        for parameter, state in run.optimizer.state.items()
        for key, value in state.items()
    }


def _restore_optimizer(run: Optimisation, tensors: dict[str, torch.Tensor]) -> None:
    for key, value in tensors.items():
        kind, name = key.split("/", 1)
        parameter = run.base.parameters[name]
        # The fused optimizer wants its step counters where the parameters are.
        run.optimizer.state[parameter][kind] = value.to(parameter.device)
