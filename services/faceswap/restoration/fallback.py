"""A restorer in half precision, and the same one in float32 for the faces on which it overflows."""

from __future__ import annotations

from core.faces.arrays import FloatArray
from services.faceswap.engines.network_output import drawn_finite
from services.faceswap.restoration.base import Restorer


class RestorerWithFallback:
    """See the module. Safe to use from several threads."""

    def __init__(self, first: Restorer, second: Restorer) -> None:
        """Ask `second` where `first` gives no picture."""
        self._first, self._second = first, second

    @property
    def name(self) -> str:
        """Its name in requests and answers."""
        return self._first.name

    @property
    def takes_fidelity(self) -> bool:
        """See `Restorer.takes_fidelity`."""
        return self._first.takes_fidelity

    @property
    def provider(self) -> str:
        """See `Restorer.provider`."""
        return self._first.provider

    def restore(self, crop: FloatArray, fidelity: float) -> FloatArray:
        """See `Restorer.restore`. Raises NonFiniteResult when neither gives a picture."""
        return drawn_finite(lambda: self._first.restore(crop, fidelity), lambda: self._second.restore(crop, fidelity))
