"""The networks that draw a swapped face, told apart by their signatures.

| kind | target | source | output |
|---|---|---|---|
| inswapper (128), reswapper (128, 256) | 1×3×S×S, RGB 0–1 | 1×512: embedding · emap, of length 1 | 1×3×S×S, 0–1 |
| hyperswap (256) | 1×3×S×S, RGB −1–1 | 1×512: the embedding | 1×3×S×S, −1–1; a mask |

`emap` is the graph's last initializer, 512×512; a file that was saved again may have lost it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from core.faces.arcface import EMBEDDING_SIZE, insightface_class
from core.faces.arrays import FloatArray
from core.faces.providers import Execution, open_network
from core.faces.weights import ModelFileError
from services.faceswap.engines.network_output import checked_picture

_SIZES = (128, 256)
_TYPES: Mapping[str, Any] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
"""Number formats of inputs, as onnxruntime calls them."""


@dataclass(frozen=True)
class Signature:
    """What a swap network takes and gives."""

    size: int
    """Side of its crops in pixels."""
    target: str
    """Name of the input with the crop."""
    source: str
    """Name of the input with the identity."""
    image: str
    """Name of the output with the crop."""
    signed: bool
    """Whether crops go from −1 to 1 in place of 0 to 1; such a network takes the embedding without emap."""
    types: Mapping[str, Any]
    """Number format of each input, a type of numpy."""


def read_signature(session: onnxruntime.InferenceSession, name: str) -> Signature:
    """Tell what kind of swap network a session runs; raises ModelFileError for one that is none."""
    inputs = {value.name: list(value.shape) for value in session.get_inputs()}
    types = {value.name: _TYPES.get(value.type) for value in session.get_inputs()}
    outputs = {value.name: list(value.shape) for value in session.get_outputs()}
    crops = [key for key, shape in inputs.items() if len(shape) == 4]
    sources = [key for key, shape in inputs.items() if len(shape) == 2 and shape[1] == EMBEDDING_SIZE]
    size = inputs[crops[0]][2] if crops else None
    images = [
        key for key, shape in outputs.items() if len(shape) == 4 and (shape[1] == 3 or not isinstance(shape[1], int))
    ]
    wrong_number = len(inputs) != 2 or len(outputs) > 2 or None in types.values()
    if wrong_number or not crops or not sources or not images or size not in _SIZES:
        raise ModelFileError(
            f"{name} takes {inputs} and gives {outputs}: a swap network takes a crop 1×3×S×S with S of "
            f"{' or '.join(map(str, _SIZES))} and an identity 1×{EMBEDDING_SIZE}, and gives a crop"
        )
    return Signature(int(size), crops[0], sources[0], images[0], len(outputs) == 2, types)


class SwapNetwork:
    """Draws the crop of a target's face with another identity. Safe to use from several threads."""

    def __init__(self, path: Path, execution: Execution) -> None:
        """Load a swap network and check its signature and its emap.

        Raises ModelFileError for a file of another signature, InsightFaceMissing, ProviderError.
        """
        self._name = path.name
        self._session = open_network(path, execution)
        self._signature = read_signature(self._session, path.name)
        self._emap = None if self._signature.signed else self._read_emap(path)

    def _read_emap(self, path: Path) -> FloatArray:
        network: Any = insightface_class("inswapper", "INSwapper")(str(path), self._session)
        emap = np.asarray(network.emap)
        if emap.shape != (EMBEDDING_SIZE, EMBEDDING_SIZE) or not np.isfinite(emap).all() or not emap.any():
            raise ModelFileError(
                f"{path}: the last initializer, of shape {emap.shape}, is not the map of embeddings "
                f"({EMBEDDING_SIZE}×{EMBEDDING_SIZE}): the file was optimised or saved again; take the released one"
            )
        return emap.astype(np.float32)

    @property
    def name(self) -> str:
        """Name of the file."""
        return self._name

    @property
    def size(self) -> int:
        """Side of the network's crops in pixels."""
        return self._signature.size

    @property
    def provider(self) -> str:
        """The execution provider that the session runs on."""
        return str(self._session.get_providers()[0])

    def latent(self, embedding: FloatArray) -> FloatArray:
        """1×512 float32: an ArcFace embedding as the network takes it."""
        vector: FloatArray = np.asarray(embedding, dtype=np.float32).reshape(1, EMBEDDING_SIZE)
        if self._emap is not None:
            vector = vector @ self._emap
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), dtype=np.float32)

    def draw(self, crop: FloatArray, latent: FloatArray) -> FloatArray:
        """Return an S×S×3 RGB crop (0–1, float32) with the identity of `latent`.

        Raises NonFiniteResult when the network gives numbers that are not finite, or one colour for a crop that is not
        of one colour: half precision overflows so.
        """
        planes = np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32)
        if self._signature.signed:
            planes = planes * 2 - 1
        feed = {self._signature.target: planes, self._signature.source: latent}
        types = self._signature.types
        (output,) = self._session.run(
            [self._signature.image], {key: value.astype(types[key], copy=False) for key, value in feed.items()}
        )
        drawn = np.asarray(output, dtype=np.float32)[0].transpose(1, 2, 0)
        if self._signature.signed:
            drawn = (drawn + 1) / 2
        return checked_picture(drawn, crop, f"the swap network {self._name}")
