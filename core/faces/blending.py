"""Pasting an aligned crop back into its picture, in the crop's own region, and matching its grain and sharpness.

The picture outside that region is never read, so the time and memory of a paste grow with the face and not with the
picture. What insightface's `paste_back` does over the whole frame costs seconds at 4096².
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from core.faces.arrays import FloatArray, Image, IntArray
from core.faces.region import Region

_SHRINK_FROM = 1.2
"""Crop pixels for one of the picture's, from which the crop is shrunk by area before it is sampled."""
_ENLARGE_FROM = 6.0
"""Pixels of the picture for one of the crop's, from which the crop is enlarged before it is sampled."""
_ENLARGED = 4
"""How many times as wide and high it then is."""
_BAND_ROWS = 64
_FEWEST_PIXELS = 64
_MOST_PIXELS = 50_000
"""From so many pixels on a part of them tells how grainy and how sharp a face is."""
_STRIPS, _STRIP_ROWS = 8, 64
"""How many strips of a face are measured, of how many rows, where it has more rows than these."""
_GRAIN_SEED = 20260
_MAD = 1.4826
"""From the median absolute deviation of normal noise to its standard deviation."""


def paste(image: Image, crop: Image | FloatArray, mask: FloatArray, crop_from_image: FloatArray) -> Image:
    """Return a copy of `image` with `crop` drawn where it was cut from, as strongly as `mask` says.

    `image` is H×W×3 uint8 RGB, or H×W×4 with an alpha channel that stays as it is. `crop` is h×w×3, uint8 or float in
    0–255; `mask` is h×w, 0–1; `crop_from_image` is the 2×3 similarity or affine matrix that carries pixels of the
    picture to pixels of the crop, with pixel centres at whole numbers, as `cv2.warpAffine` took it to cut the crop.

    Pixels where the mask is 0 stay exactly as they are. The crop is sampled at fractions of a pixel (bicubic; shrunk by
    area first where it has more pixels than the picture) and rounded, never truncated. Outside the crop the mask is 0
    and the crop repeats its border, so a mask that reaches the border brings no dark fringe with it, nor does a face
    that the picture's border cuts. A crop that lies wholly outside the picture changes nothing.

    Raises ValueError when the shapes do not fit together or the matrix has no inverse.
    """
    result = image.copy()
    paste_into(result, crop, mask, crop_from_image)
    return result


def paste_into(image: Image, crop: Image | FloatArray, mask: FloatArray, crop_from_image: FloatArray) -> Region | None:
    """As `paste`, but changes `image` itself and returns the region that may have changed, None when there is none."""
    if crop.shape[:2] != mask.shape[:2] or mask.ndim != 2 or crop.ndim != 3 or crop.shape[2] != 3:
        raise ValueError(f"a crop h×w×3 and a mask h×w are needed, not {crop.shape} and {mask.shape}")
    matrix = np.asarray(crop_from_image, dtype=np.float64)
    if matrix.shape != (2, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:, :2])) < 1e-12:
        raise ValueError("crop_from_image has to be an invertible 2×3 matrix")
    region = covered_region(mask, matrix, image.shape)
    if region is None:
        return None
    share, to_mask = _shrunk(mask, matrix)
    drawn, to_drawn = _enlarged(*_shrunk(crop, matrix))
    flags = cv2.INTER_LINEAR if drawn.shape[0] > crop.shape[0] else cv2.INTER_CUBIC
    part = image[region.rows, region.columns]
    # In bands that stay in the processor's caches, each as wide as the mask is there.
    for top in range(0, part.shape[0], _BAND_ROWS):
        band = part[top : top + _BAND_ROWS]
        corner = (region.left, region.top + top)
        weight = _sampled(share, to_mask, corner, band.shape, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
        columns = np.flatnonzero(weight.max(axis=0) > 0)
        if not len(columns):
            continue
        wide = slice(int(columns[0]), int(columns[-1]) + 1)
        below = np.ascontiguousarray(band[:, wide, :3]) if band.shape[2] > 3 else band[:, wide]
        corner = (region.left + wide.start, corner[1])
        pixels = _sampled(drawn, to_drawn, corner, below.shape, flags, cv2.BORDER_REPLICATE)
        weight = np.clip(weight[:, wide], 0.0, 1.0)
        # Converting to uint8 rounds and takes the absolute value, so what the cubic overshoots below 0 is cut first.
        rounded = cv2.convertScaleAbs(np.maximum(pixels, 0.0))
        band[:, wide, :3] = cv2.blendLinear(rounded, below, weight, 1.0 - weight)
    return region


def _sampled(
    pixels: FloatArray,
    pixels_from_image: FloatArray,
    corner: tuple[int, int],
    shape: tuple[int, ...],
    interpolation: int,
    border: int,
) -> FloatArray:
    """Draw `pixels` over the rectangle of a picture that begins at `corner` (x, y) and has the size of `shape`."""
    local = pixels_from_image.copy()
    local[:, 2] += local[:, :2] @ np.array(corner, dtype=np.float64)
    flags = interpolation | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpAffine(pixels, local, (shape[1], shape[0]), flags=flags, borderMode=border)
    return np.asarray(drawn, dtype=np.float32)


def covered_region(mask: FloatArray, crop_from_image: FloatArray, shape: tuple[int, ...]) -> Region | None:
    """The smallest region of a picture of `shape` that holds all pixels where the h×w `mask` of a crop is above 0."""
    rows, columns = np.flatnonzero(mask.max(axis=1) > 0), np.flatnonzero(mask.max(axis=0) > 0)
    if not len(rows):
        return None
    # Linear sampling spreads the mask by less than a pixel of the crop.
    left, right, top, bottom = columns[0] - 1.0, columns[-1] + 1.0, rows[0] - 1.0, rows[-1] + 1.0
    corners = np.array([[left, top, 1], [right, top, 1], [left, bottom, 1], [right, bottom, 1]])
    places = corners @ cv2.invertAffineTransform(np.asarray(crop_from_image, dtype=np.float64)).T
    low = np.maximum(np.floor(places.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(places.max(axis=0)) + 1, (shape[1], shape[0])).astype(int)
    if (high <= low).any():
        return None
    return Region(int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def _shrunk(pixels: Image | FloatArray, matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A crop or its mask as float32 at about the picture's own scale, at most, and the matrix that leads there."""
    pixels = pixels.astype(np.float32)
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale <= _SHRINK_FROM:
        return pixels, matrix.copy()
    height, width = pixels.shape[:2]
    size = (max(1, round(width / scale)), max(1, round(height / scale)))
    return _resized(pixels, matrix, size, cv2.INTER_AREA)


def _enlarged(crop: FloatArray, matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The crop with four times the pixels a side where the picture has yet more, and the matrix that leads there.

    Sampling it linearly then costs half of sampling the crop by cubics, and differs by less than a gray level.
    """
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale * _ENLARGE_FROM > 1:
        return crop, matrix
    size = (crop.shape[1] * _ENLARGED, crop.shape[0] * _ENLARGED)
    larger, matrix = _resized(crop, matrix, size, cv2.INTER_CUBIC)
    return np.clip(larger, 0.0, 255.0), matrix


def _resized(
    pixels: FloatArray, matrix: FloatArray, size: tuple[int, int], interpolation: int
) -> tuple[FloatArray, FloatArray]:
    """`pixels` at `size` (width, height), and the matrix that leads there from where `matrix` leads to `pixels`."""
    ratio = np.array([pixels.shape[1] / size[0], pixels.shape[0] / size[1]])
    matrix = matrix.copy()
    # Pixel centres: x_old + 0.5 = (x_new + 0.5) · ratio.
    matrix[:, 2] = (matrix[:, 2] + 0.5) / ratio - 0.5
    matrix[:, :2] /= ratio[:, None]
    return np.asarray(cv2.resize(pixels, size, interpolation=interpolation), dtype=np.float32), matrix


@dataclass(frozen=True)
class DetailSettings:
    """How sharpness and grain follow the target."""

    least_gain: float = 0.6
    """How weak the finest details may become where the target is softer, 0–1."""
    most_grain: float = 6.0
    """Largest standard deviation of grain that is added in one band, in gray levels."""
    least_grain: float = 0.4
    """Grain below this, in gray levels, is not added: nobody sees it."""


def match_detail(
    pixels: FloatArray,
    target: FloatArray,
    skin: FloatArray,
    inside: FloatArray,
    settings: DetailSettings | None = None,
) -> FloatArray:
    """Return `pixels` as soft and as grainy as `target`; H×W×3 float32, 0–255.

    `pixels` is the face that will be laid over `target`, both H×W×3, 0–255, in the same place. `skin` is H×W, above 0.5
    where both show plain skin: there the finest detail is taken for grain. `inside` is H×W, above 0.5 in the face.

    The two finest octaves of a Laplacian pyramid without subsampling are compared (Burt and Adelson, IEEE Trans. Comm.
    31(4), 1983). Where the target's details without its grain are weaker, those of `pixels` are weakened; they are
    never raised, since that would invent them. Then the missing grain is added: normal noise, alike in all channels as
    far as the target's is, the same on every call. A robust deviation (median absolute deviation) measures grain, so
    strands and wrinkles do not count. A face with too little plain skin stays as it is.
    """
    settings = settings or DetailSettings()
    plain, face = _places(skin), _places(inside)
    if len(plain) < _FEWEST_PIXELS or len(face) < _FEWEST_PIXELS:
        return pixels
    # Both are measured before anything is made: most faces need nothing, and a part of a large one tells enough.
    levels = [
        (float(np.clip(there.strength / max(here.strength, 1e-3), settings.least_gain, 1.0)), here, there)
        for here, there in _measured(pixels, target, skin, inside)
    ]
    missing = [float(np.sqrt(max(there.grain**2 - (gain * here.grain) ** 2, 0.0))) for gain, here, there in levels]
    if all(gain >= 1 for gain, _, _ in levels) and max(missing) <= settings.least_grain:
        return pixels
    own = _octaves(pixels)
    noise: list[FloatArray] = []
    result = own[-1].copy()
    for level, (band, (gain, _, there), lacking) in enumerate(zip(own[:-1], levels, missing, strict=True)):
        result += band if gain >= 1 else np.float32(gain) * band
        if lacking > settings.least_grain:
            # Noise costs as much as all else together, and most faces need none.
            noise = noise or _octaves(_noise(pixels.shape))
            grain = noise[level]
            even = grain.mean(axis=2, keepdims=True) * np.sqrt(3.0)
            mixed = np.sqrt(there.likeness) * even + np.sqrt(1 - there.likeness) * grain
            result += mixed * np.float32(min(lacking, settings.most_grain) / max(float(grain.std()), 1e-6))
    return np.asarray(result, dtype=np.float32)


def _measured(
    pixels: FloatArray, target: FloatArray, skin: FloatArray, inside: FloatArray
) -> list[tuple[_Detail, _Detail]]:
    """What is in each of the two finest octaves of `pixels` and of `target`, in strips where there are many rows."""
    strips = _strips(pixels.shape[0])
    plain, face = (_places(np.concatenate([mask[rows] for rows in strips])) for mask in (skin, inside))
    if min(len(plain), len(face)) < _FEWEST_PIXELS:
        strips, plain, face = [slice(None)], _places(skin), _places(inside)
    octaves = []
    for picture in (pixels, target):
        parts = [_octaves(picture[rows])[:-1] for rows in strips]
        octaves.append([np.concatenate(bands) for bands in zip(*parts, strict=True)])
    pairs = zip(*octaves, strict=True)
    return [(_detail(band, plain, face), _detail(other, plain, face)) for band, other in pairs]


def _strips(height: int) -> list[slice]:
    """All rows, or strips of them that are spread evenly."""
    if height <= _STRIPS * _STRIP_ROWS:
        return [slice(0, height)]
    tops = np.linspace(0, height - _STRIP_ROWS, _STRIPS).astype(int)
    return [slice(int(top), int(top) + _STRIP_ROWS) for top in tops]


def _noise(shape: tuple[int, ...]) -> FloatArray:
    return np.random.default_rng(_GRAIN_SEED).standard_normal(shape, dtype=np.float32)


def _places(mask: FloatArray) -> IntArray:
    """Flat indexes of pixels of an H×W mask that are above 0.5: all of them, or that many spread evenly."""
    places = np.flatnonzero(mask > 0.5)
    return np.asarray(places[:: max(1, len(places) // _MOST_PIXELS)])


@dataclass(frozen=True)
class _Detail:
    """What is in one octave of a face."""

    grain: float
    """Standard deviation on plain skin, in gray levels."""
    strength: float
    """Root mean square in the face with the grain taken out, in gray levels."""
    likeness: float
    """How far the grain is the same in all channels, 0–1."""


def _detail(band: FloatArray, plain: IntArray, face: IntArray) -> _Detail:
    pixels = band.reshape(-1, band.shape[2])
    values = pixels[plain]
    grain = float(np.median(np.abs(values)) * _MAD)
    total = float(np.mean(pixels[face] ** 2))
    gray = float(np.median(np.abs(values.mean(axis=1))) * _MAD)
    # A mean of three is as strong as one when they are the same, and 1/√3 of it when they are independent.
    likeness = np.clip(((gray / max(grain, 1e-6)) ** 2 - 1 / 3) * 1.5, 0, 1)
    return _Detail(grain, float(np.sqrt(max(total - grain**2, 0.0))), float(likeness))


def _octaves(pixels: FloatArray) -> list[FloatArray]:
    """The two finest octaves of H×W×3 and what is left."""
    bands: list[FloatArray] = []
    current: FloatArray = pixels.astype(np.float32, copy=False)
    for sigma in (0.8, 1.6):
        blurred = cv2.GaussianBlur(current, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        softer: FloatArray = np.asarray(blurred, dtype=np.float32)
        bands.append(current - softer)
        current = softer
    return [*bands, current]
