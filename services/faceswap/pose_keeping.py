"""Keeping the target's pose: a swap that changed it too much is made once more, the reference's form leaned back."""

from collections.abc import Sequence

import numpy as np

from core.faces.pose import HeadPose

POSE_LIMIT = 5.0
"""Degrees by which a swap may change yaw, pitch or roll without a second try."""
_AIM = 4.0
"""Degrees of change that the second try aims at: taking all of it back would cost more likeness."""
_GAIN = 0.3
"""Degrees of pose, as measured afterwards, for one degree of lean. Measured."""
_MOST = 20.0
"""Bound of the lean in degrees: beyond it the form is another's."""


def counter_lean(before: HeadPose, after: HeadPose) -> HeadPose | None:
    """Return the lean of the reference's form that brings a swap's pose near enough; None when it is.

    `before` is the target's pose, `after` that of the swapped face. Angles within the limit are left alone.
    """
    if after.largest_difference(before) <= POSE_LIMIT:
        return None
    roll = (after.roll - before.roll + 180) % 360 - 180
    yaw, pitch, roll = _leans((after.yaw - before.yaw, after.pitch - before.pitch, roll))
    return HeadPose(yaw, pitch, roll)


def _leans(changes: Sequence[float]) -> list[float]:
    """The lean against each change, degrees."""
    return [
        float(-np.sign(change) * min((abs(change) - _AIM) / _GAIN, _MOST)) if abs(change) > POSE_LIMIT else 0.0
        for change in changes
    ]
