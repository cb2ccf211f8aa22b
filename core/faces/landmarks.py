"""Which of the 468 mesh points are what. The numbering is MediaPipe Face Mesh's.

Left and right are the person's own, so RIGHT_EYE appears in the left half of a picture that is not mirrored.
Source: Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs", arXiv:1907.06724;
Grishchenko et al., "Attention Mesh", arXiv:2006.10962 (the refined lips and eyes).
"""

POINTS = 468
"""Points of the mesh."""

OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""The outline of the face from the top of the forehead, clockwise in the picture."""

RIGHT_EYE_LOWER = (33, 7, 163, 144, 145, 153, 154, 155, 133)
RIGHT_EYE_UPPER = (246, 161, 160, 159, 158, 157, 173)
LEFT_EYE_LOWER = (263, 249, 390, 373, 374, 380, 381, 382, 362)
LEFT_EYE_UPPER = (466, 388, 387, 386, 385, 384, 398)
RIGHT_EYE = RIGHT_EYE_LOWER + RIGHT_EYE_UPPER[::-1]
"""Contour of the right eye's opening as a closed polygon."""
LEFT_EYE = LEFT_EYE_LOWER + LEFT_EYE_UPPER[::-1]
"""Contour of the left eye's opening as a closed polygon."""

_RIGHT_HALOS = (
    130, 25, 110, 24, 23, 22, 26, 112, 243,
    247, 30, 29, 27, 28, 56, 190,
    226, 31, 228, 229, 230, 231, 232, 233, 244,
    113, 225, 224, 223, 222, 221, 189,
    35, 124, 46, 53, 52, 65,
    143, 111, 117, 118, 119, 120, 121, 128, 245,
    156, 70, 63, 105, 66, 107, 55, 193,
)  # fmt: skip
_LEFT_HALOS = (
    359, 255, 339, 254, 253, 252, 256, 341, 463,
    467, 260, 259, 257, 258, 286, 414,
    446, 261, 448, 449, 450, 451, 452, 453, 464,
    342, 445, 444, 443, 442, 441, 413,
    265, 353, 276, 283, 282, 295,
    372, 340, 346, 347, 348, 349, 350, 357, 465,
    383, 300, 293, 334, 296, 336, 285, 417,
)  # fmt: skip
RIGHT_EYE_REFINED = RIGHT_EYE_LOWER + RIGHT_EYE_UPPER + _RIGHT_HALOS
"""Mesh points in the order of the network's 71 refined points of the right eye."""
LEFT_EYE_REFINED = LEFT_EYE_LOWER + LEFT_EYE_UPPER + _LEFT_HALOS
"""Mesh points in the order of the network's 71 refined points of the left eye."""

_LIPS_OUTER_LOWER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
_LIPS_OUTER_UPPER = (185, 40, 39, 37, 0, 267, 269, 270, 409)
_LIPS_INNER_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
_LIPS_INNER_UPPER = (191, 80, 81, 82, 13, 312, 311, 310, 415)
_LIPS_BETWEEN = (
    76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306,
    184, 74, 73, 72, 11, 302, 303, 304, 408,
    62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292,
    183, 42, 41, 38, 12, 268, 271, 272, 407,
)  # fmt: skip
LIPS_REFINED = _LIPS_OUTER_LOWER + _LIPS_OUTER_UPPER + _LIPS_INNER_LOWER + _LIPS_INNER_UPPER + _LIPS_BETWEEN
"""Mesh points in the order of the network's 80 refined lip points."""
LIPS_OUTER = _LIPS_OUTER_LOWER + _LIPS_OUTER_UPPER[::-1]
"""Outer contour of the lips as a closed polygon."""
LIPS_INNER = _LIPS_INNER_LOWER + _LIPS_INNER_UPPER[::-1]
"""Contour of the mouth's opening as a closed polygon."""

RIGHT_BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
"""Outline of the right eyebrow as a closed polygon."""
LEFT_BROW = (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
"""Outline of the left eyebrow as a closed polygon."""

FOREHEAD = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 251, 284, 332, 297, 338, 10, 109, 67, 103, 54, 21)
"""Outline of the forehead from the upper edge of the brows to the top of the face."""

NOSE_TIP = 4
NOSE_BRIDGE = 168
FOREHEAD_TOP = 10
CHIN = 152
MOUTH_RIGHT = 61
MOUTH_LEFT = 291
LIP_UPPER = 13
LIP_LOWER = 14
LIPS_MIDDLE = (0, 13, 14, 17)
"""Upper lip's outer and inner edge, lower lip's inner and outer edge, all in the middle of the mouth."""
RIGHT_EYE_CORNERS = (33, 133)
LEFT_EYE_CORNERS = (263, 362)
RIGHT_LIDS = ((160, 144), (159, 145), (158, 153))
LEFT_LIDS = ((387, 373), (386, 374), (385, 380))
"""Pairs of upper and lower lid points."""

RIGID = (
    10, 109, 338, 67, 297, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1, 33, 133, 263, 362, 130, 359, 243, 463,
    127, 356, 234, 454, 93, 323, 98, 327, 2, 117, 346, 50, 280, 123, 352,
)  # fmt: skip
"""Points that an expression moves little: forehead, bridge and tip of the nose, eye corners, cheek bones."""
