"""A decoded picture with what its file says beside the colours: transparency and colour profile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from core.runtime.colours import from_srgb, off_white, on_white

RgbArray: TypeAlias = npt.NDArray[np.uint8]
"""A picture: uint8, H×W×3, RGB, contiguous."""
AlphaArray: TypeAlias = npt.NDArray[np.uint8]
"""Transparency: uint8, H×W, 255 is opaque."""


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An upright picture. Work is done on `rgb`; `restored` brings its result back to the file's own colours."""

    rgb: RgbArray
    """uint8 H×W×3, sRGB, transparency laid on white: what a person sees on a white page."""
    alpha: AlphaArray | None = None
    """uint8 H×W; None when the picture is opaque."""
    icc_profile: bytes | None = None
    """The file's ICC profile of RGB values; None when it has none, or one of grey or CMYK values."""
    stored: RgbArray | None = None
    """uint8 H×W×3: the file's values in the space of `icc_profile`, not laid on white; None when they are `rgb`."""

    def restored(self, changed: RgbArray) -> RgbArray:
        """Return a changed `rgb` in the file's own colour space and without its white ground.

        Pixels that are as they were keep the file's values exactly; the changed ones are converted.

        Args:
            changed: uint8, the shape of `rgb`, sRGB.

        Returns:
            uint8 H×W×3, to be written with `alpha` and `icc_profile`; may be `changed` or `stored` itself.

        Raises:
            ValueError: `changed` has another shape.
        """
        if changed.shape != self.rgb.shape:
            raise ValueError(f"expected the shape {self.rgb.shape}, got {changed.shape}")
        if self.stored is None:
            return changed
        differs: npt.NDArray[np.bool_] = np.any(changed != self.rgb, axis=2)
        rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
        if not len(rows):
            return self.stored
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        part = changed[box]
        if self.alpha is not None:
            part = off_white(part, self.alpha[box])
        if self.icc_profile is not None:
            part = from_srgb(part, self.icc_profile)
        result = self.stored.copy()
        result[box][differs[box]] = part[differs[box]]
        return result

    def flattened(self, colours: RgbArray) -> RgbArray:
        """Lay `restored` colours on white, for a file format without transparency."""
        return colours if self.alpha is None else on_white(colours, self.alpha)
