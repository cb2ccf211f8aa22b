"""Colour transfer: the target's skin tone and light, with the reference's features.

A face is split into a low-frequency field of skin (eyes, brows, lips and hair do not count, Gaussian weights are
normalised over what is left) and the rest. The result takes the target's field, so it meets the target at the mask's
border by itself, plus a share of the reference's own shading inside, plus the reference's features.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from core.faces.arrays import FloatArray, Image
from services.faceswap.engines.masks import blur, erode, smoothstep

_FIELD_PIXELS = 96
"""Width of a face in pixels at which low-frequency fields are worked out."""
_BAND_ROWS = 32
_FILL = 0.05
"""Width in face widths over which skin goes on under what lies on it. Wider ones serve where that reaches no skin."""
_FILL_STEPS, _FILL_TRUST = 4, 1e-3
"""How many widths there are, each twice the one before, and how much less each wider one counts."""
_STROKES = (5.0, 9.0)
"""Distance in Lab to the skin around it at which a pixel beside a brow begins to be a part of it, and is."""
_LEAST_COLOUR = 0.5
"""Share of the features' colour that stays on the darkest skin."""


@dataclass(frozen=True)
class ToneSettings:
    """How the colours are carried over."""

    sigma: float = 0.35
    """Standard deviation of the low-pass in face widths."""
    own_shading: float = 0.45
    """Share of the reference's own low-frequency shading inside the face, 0–1."""
    contrast: float = 1.2
    """Gain of the reference's features."""
    darkening: float = 0.5
    """How far features follow the skin's lightness: 0 adds them as they are, 1 multiplies."""
    outer_limit: float = 16.0
    """Largest strength of features beside brows, eyes, nose and mouth, in Lab."""
    forehead_limit: float = 7.0
    """The same on forehead and temples."""
    chroma: float = 0.85
    """Gain of the features' colour on skin, where it is partly the light's; lips and eyes keep theirs."""


def skin_field(lab: FloatArray, skin: FloatArray, sigma: float) -> FloatArray:
    """Low-pass of an H×W×3 Lab picture over the pixels where the H×W mask `skin` is set."""
    weight = blur(skin, sigma)
    wide = blur(skin, sigma * 3)
    near = blur(lab * skin[..., None], sigma) / np.maximum(weight, 1e-4)[..., None]
    far = blur(lab * skin[..., None], sigma * 3) / np.maximum(wide, 1e-4)[..., None]
    trust = np.clip(weight / 0.08, 0, 1)[..., None]
    return np.asarray(near * trust + far * (1 - trust))


@dataclass(frozen=True)
class ToneMasks:
    """What is where in the face; all H×W, 0–1."""

    reference_skin: FloatArray
    """Bare skin of the reference."""
    target_skin: FloatArray
    """Bare skin of the target."""
    interior: FloatArray
    """Where the reference's own shading may show; falls to 0 before the border of the blending mask."""
    plain: FloatArray
    """Where the reference's features are left out and the target's bare skin shows, without its brows."""
    coloured: FloatArray
    """Where features have a colour of their own: lips and eyes."""
    brows: FloatArray
    """Around the target's brows, which may be drawn beside where the mesh has them."""
    forehead: FloatArray
    """Where strands and the shadow of a fringe lie that were not told from skin."""
    middle: FloatArray
    """Brows, eyes, nose and mouth. Strong features beside them are strands of hair and their shadows."""


def transfer_tone(
    reference: FloatArray, target: FloatArray, masks: ToneMasks, width: float, settings: ToneSettings
) -> FloatArray:
    """Return the warped reference in the target's skin tone and light.

    `reference` and `target` are H×W×3 Lab with L 0–100, `width` is the face's width in pixels.
    """
    reduce = min(1.0, _FIELD_PIXELS / max(width, 1.0))
    sigma = settings.sigma * width * reduce
    reference_field = skin_field(_shrink(reference, reduce), _shrink(masks.reference_skin, reduce), sigma)
    target_field = skin_field(_shrink(target, reduce), _shrink(masks.target_skin, reduce), sigma)
    inner = _shrink(masks.interior * masks.reference_skin, reduce)
    total = max(float(inner.sum()), 1e-6)
    reference_mean = (reference_field * inner[..., None]).sum(axis=(0, 1)) / total
    target_mean = (target_field * inner[..., None]).sum(axis=(0, 1)) / total
    lightness = float(np.clip(target_mean[0] / max(float(reference_mean[0]), 1.0), 0.45, 1.35))
    shading = (reference_field - reference_mean) * np.array([lightness, 0.7, 0.7]) + target_mean
    share = settings.own_shading * _shrink(masks.interior, reduce)[..., None]
    base = target_field + share * (shading - target_field)
    ratio = np.clip(base[..., 0] / np.maximum(reference_field[..., 0], 1.0), 0.35, 1.5)
    gain = 1 + settings.darkening * (ratio - 1)
    size = (reference.shape[1], reference.shape[0])
    # Around the target's brows and hair its own skin ends softly, or their outline would show.
    bare = blur(erode(masks.target_skin, 0.03 * width), 0.02 * width)
    reference_wide, target_wide = _enlarge(reference_field, size), _enlarge(target_field, size)
    under, kept = _skin_under(
        _shrink(target, reduce) - target_field, _shrink(bare, reduce), _shrink(masks.brows, reduce), width * reduce
    )
    under, bare = _enlarge(under, size), bare * _enlarge(kept, size)
    gain_full = _enlarge(gain.astype(np.float32), size) * np.float32(settings.contrast)
    result = _enlarge(base, size)
    # At full strength the colour of lips and eyes would glow on darker skin, which reflects less light.
    fading = _enlarge(np.clip(ratio, _LEAST_COLOUR, 1.0).astype(np.float32), size) * np.float32(settings.contrast**0.5)
    # What follows looks at single pixels, so it works in bands that stay in the processor's caches.
    for top in range(0, len(result), _BAND_ROWS):
        rows = slice(top, top + _BAND_ROWS)
        features = reference[rows] - reference_wide[rows]
        limit = settings.outer_limit + (settings.forehead_limit - settings.outer_limit) * masks.forehead[rows, :, None]
        limited = np.tanh(features / limit) * limit
        features = limited + (features - limited) * masks.middle[rows, :, None]
        own = under[rows] + (target[rows] - target_wide[rows] - under[rows]) * bare[rows, :, None]
        features *= 1 - masks.plain[rows, :, None]
        chroma = settings.chroma + (1 - settings.chroma) * masks.coloured[rows]
        chroma *= fading[rows]
        band = result[rows]
        # The target's own skin comes as it is, without the gains of features.
        band += own * masks.plain[rows, :, None]
        band[..., 0] = np.clip(band[..., 0] + features[..., 0] * gain_full[rows], 0, 100)
        band[..., 1:] += features[..., 1:] * chroma[..., None]
    return np.asarray(result)


def _skin_under(detail: FloatArray, bare: FloatArray, brows: FloatArray, width: float) -> tuple[FloatArray, FloatArray]:
    """What the skin would look like under brows and hair, and which of the bare skin is to be kept.

    `detail` is the H×W×3 difference of a face to its wide field, `bare` (H×W, 0–1) where it is skin, `brows` (H×W, 0–1)
    where remains of a brow may be. Returns the continued detail, H×W×3, and H×W, 0 on such remains and 1 elsewhere.

    Skin is carried on by convolutions normalised over what is bare (Knutsson and Westin, CVPR 1993), over ever wider
    surroundings. Remains of a brow are what differs from the skin carried on.
    """
    kept = np.ones_like(bare)
    under = np.zeros_like(detail)
    for _ in range(2):
        weight = bare * kept
        total, mass = np.zeros_like(detail), np.full_like(bare, 1e-12)
        for step in range(_FILL_STEPS):
            sigma, trust = _FILL * width * 2**step, np.float32(_FILL_TRUST**step)
            total += trust * blur(detail * weight[..., None], sigma)
            mass += trust * blur(weight, sigma)
        under = total / mass[..., None]
        away = np.linalg.norm(detail - under, axis=-1)
        kept = 1 - brows * smoothstep(*_STROKES, away)
        kept = blur(erode(kept.astype(np.float32), 0.02 * width), 0.01 * width)
    return under, kept


def _shrink(values: FloatArray, factor: float) -> FloatArray:
    if factor >= 1.0:
        return values.astype(np.float32, copy=False)
    size = (max(1, round(values.shape[1] * factor)), max(1, round(values.shape[0] * factor)))
    return np.asarray(cv2.resize(values.astype(np.float32, copy=False), size, interpolation=cv2.INTER_AREA))


def _enlarge(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    if values.shape[1::-1] == size:
        return values.astype(np.float32)
    return np.asarray(cv2.resize(values.astype(np.float32, copy=False), size, interpolation=cv2.INTER_LINEAR))


def to_lab(rgb: FloatArray | Image) -> FloatArray:
    """H×W×3 RGB 0–255 to Lab (L 0–100), float32."""
    return np.asarray(cv2.cvtColor(np.multiply(rgb, np.float32(1 / 255), dtype=np.float32), cv2.COLOR_RGB2LAB))


def to_rgb(lab: FloatArray) -> FloatArray:
    """H×W×3 Lab to RGB 0–255, float32."""
    rgb = np.asarray(cv2.cvtColor(lab.astype(np.float32, copy=False), cv2.COLOR_LAB2RGB))
    return np.clip(rgb, 0, 1, out=rgb) * np.float32(255)
