"""Names for the arrays that the face code passes around."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""H×W×3 RGB picture, 0–255."""
FloatArray = NDArray[np.floating[Any]]
"""Coordinates, masks or planes; the user's docstring says shape and range."""
IntArray = NDArray[np.integer[Any]]
"""Indexes."""
