"""What a restorer is."""

from __future__ import annotations

from typing import Protocol

from core.faces.arrays import FloatArray

CROP_SIZE = 512
"""Side of the aligned crop that restorers take, in pixels."""
DEFAULT_FIDELITY = 0.5
"""How closely CodeFormer keeps to its input when nothing is asked."""


class Restorer(Protocol):
    """A network that draws a face anew, sharp. Keeps nothing between calls; safe to use from several threads."""

    @property
    def name(self) -> str:
        """Its name in requests and answers."""
        ...

    @property
    def takes_fidelity(self) -> bool:
        """Whether it can be told how closely to keep to its input."""
        ...

    @property
    def provider(self) -> str:
        """What runs it: an execution provider of onnxruntime, or ``torch`` with the device."""
        ...

    def restore(self, crop: FloatArray, fidelity: float) -> FloatArray:
        """Return a 512×512×3 RGB crop (0–1, float32), aligned to FFHQ's template, drawn anew.

        `fidelity` is 0 for the best looks to 1 for the most likeness, and means nothing to a restorer that does not
        take it. Raises NonFiniteResult when the output is no picture.
        """
        ...
