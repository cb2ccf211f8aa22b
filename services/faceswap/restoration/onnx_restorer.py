"""Restorers as ONNX files: GFPGAN's export, RestoreFormer++, CodeFormer. Told apart by their signatures.

Sources: Wang et al., arXiv:2101.04061 (GFPGAN); Wang et al., arXiv:2308.07228 (RestoreFormer++); Zhou et al.,
arXiv:2206.11253 (CodeFormer). All take and give 1×3×512×512 RGB in −1 to 1; CodeFormer takes a weight, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from core.faces.arrays import FloatArray
from core.faces.providers import Execution, open_network
from core.faces.weights import ModelFileError
from services.faceswap.engines.network_output import checked_picture
from services.faceswap.restoration.base import CROP_SIZE

_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}


class OnnxRestorer:
    """See the module. Safe to use from several threads."""

    def __init__(self, name: str, path: Path, execution: Execution) -> None:
        """Load a restorer; raises ModelFileError for a file of another signature, ProviderError."""
        self.name = name
        self._session = open_network(path, execution)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        crops = [value for value in inputs if list(value.shape)[1:] == [3, CROP_SIZE, CROP_SIZE]]
        weights = [value for value in inputs if len(value.shape) <= 1]
        if (
            len(crops) != 1
            or len(inputs) != 1 + len(weights)
            or len(weights) > 1
            or not outputs
            or any(value.type not in _TYPES for value in inputs)
        ):
            takes = {value.name: value.shape for value in inputs}
            raise ModelFileError(
                f"{path} takes {takes}: a restorer takes a crop 1×3×{CROP_SIZE}×{CROP_SIZE}, and a weight at most"
            )
        self._crop, self._weight = crops[0], weights[0] if weights else None
        self._output = outputs[0].name

    @property
    def takes_fidelity(self) -> bool:
        """Whether the network has a weight: CodeFormer's has."""
        return self._weight is not None

    @property
    def provider(self) -> str:
        """The execution provider that the session runs on."""
        return str(self._session.get_providers()[0])

    def restore(self, crop: FloatArray, fidelity: float) -> FloatArray:
        """See `Restorer.restore`."""
        planes = (crop.transpose(2, 0, 1)[None] * 2 - 1).astype(_TYPES[self._crop.type])
        feed = {self._crop.name: np.ascontiguousarray(planes)}
        if self._weight is not None:
            feed[self._weight.name] = np.full([1] * len(self._weight.shape), fidelity, dtype=_TYPES[self._weight.type])
        (output,) = self._session.run([self._output], feed)
        drawn = (np.asarray(output, dtype=np.float32)[0].transpose(1, 2, 0) + 1) / 2
        return checked_picture(drawn, crop, f"the restorer '{self.name}'")
