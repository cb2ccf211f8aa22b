"""The check of what a network drew, before it is shown to anybody."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from core.faces.arrays import FloatArray
from likeness.errors import NonFiniteResult

logger = logging.getLogger(__name__)

_FLAT = 1.5 / 255
"""Standard deviation under which an output shows nothing at all."""
_NOT_FLAT = 6.0 / 255
"""Standard deviation of the input from which a flat output is a fault."""


def checked_picture(drawn: FloatArray, given: FloatArray, network: str) -> FloatArray:
    """Return what a network drew, clipped to 0–1 as float32; `given` is the h×w×3 picture (0–1) that it was shown.

    Raises NonFiniteResult for numbers that are not finite, and for one colour where the given picture has more: both
    are what half precision gives when it overflows. `network` names it in the message.
    """
    if not np.isfinite(drawn).all():
        fault = "numbers that are not finite"
    else:
        drawn = np.clip(drawn, 0, 1)
        if drawn.std() >= _FLAT or given.std() <= _NOT_FLAT:
            return np.ascontiguousarray(drawn, dtype=np.float32)
        fault = "a picture of one colour"
    raise NonFiniteResult(
        f"{network} gave {fault}: a file in half precision overflows on some devices, so the operator has to name the "
        "float32 file in the profile, in its place or as its fallback"
    )


def drawn_finite(draw: Callable[[], FloatArray], draw_again: Callable[[], FloatArray] | None) -> FloatArray:
    """Return what `draw` gives, or `draw_again` where that overflows: the same network in float32; None for none.

    Raises NonFiniteResult when neither gives a picture.
    """
    try:
        return draw()
    except NonFiniteResult as error:
        if draw_again is None:
            raise
        logger.warning("%s; its fallback takes over", error.message)
    return draw_again()
