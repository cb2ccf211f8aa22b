"""The head: its solid shape, the maps painted on it, and the projection into the picture.

Coordinates are those of the head: `u` to the picture's right, `v` down, `z` to the viewer, in
units of half a face's width, the origin between the eyes in the plane of the ears. Every slice
at a height `v` is an ellipse, so that a turned head can be intersected in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from weights.recipe.people import EYE_COLOURS, HAIR_COLOURS, Person

F = npt.NDArray[np.float32]

TEXELS = 108.0
"""Texels of a map a unit."""
U0, V0 = 1.3, 1.8
"""The face's maps span u −U0..U0 and v −V0..V0."""


def f32(values: object) -> F:
    """`values` as a float32 array."""
    return np.asarray(values, dtype=np.float32)


def smooth(x: npt.NDArray[Any]) -> F:
    """0 below 0, 1 above 1, smooth between."""
    t = np.clip(x, 0, 1)
    return f32(t * t * (3 - 2 * t))


def noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> F:
    """Smooth noise of about −1..1: H×W float32, with `cells` (rows, columns) of grain."""
    grid = rng.uniform(-1, 1, (max(cells[0], 2), max(cells[1], 2))).astype(np.float32)
    return f32(cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC))


@dataclass(frozen=True)
class Solid:
    """A stack of elliptic slices at the heights `v`, evenly spaced.

    `a` is a slice's half width, `d` its half depth and `e` how far before the ears its middle is
    (a jaw's outline runs forward to the chin).
    """

    v: F
    a: F
    d: F
    e: F

    def at(self, v: F) -> tuple[F, F, F]:
        """Half width, half depth and middle at `v`, each of `v`'s shape."""
        n = len(self.v) - 1
        t = (v - self.v[0]) * np.float32(n / (self.v[-1] - self.v[0]))
        t = np.clip(t, 0, n - 1e-3)
        i = t.astype(np.int32)
        w = t - i
        return (
            f32(self.a[i] * (1 - w) + self.a[i + 1] * w),
            f32(self.d[i] * (1 - w) + self.d[i + 1] * w),
            f32(self.e[i] * (1 - w) + self.e[i + 1] * w),
        )


@dataclass(frozen=True)
class Landmarks:
    """Where a person's features lie, in head units."""

    chin: float
    eye_u: float
    eye_w: float
    eye_h: float
    eye_tilt: float
    brow_v: float
    nose_v: float
    nose_w: float
    mouth_v: float
    mouth_w: float
    hairline: float
    crown: float


def landmarks(p: Person) -> Landmarks:
    """Feature positions of `p` (real average proportions, varied by its geometry)."""
    woman = p.gender == "woman"
    chin = 1.5 + 0.10 * p.face_length + 0.09 * p.chin_length + (0.0 if woman else 0.07)
    nose = 0.62 + (0.0 if woman else 0.035) + 0.1 * p.nose_length + 0.03 * p.face_length
    mouth = nose + 0.29 + 0.045 * p.mouth_height + 0.02 * p.face_length
    return Landmarks(
        chin=chin,
        eye_u=0.44 + 0.058 * p.eye_gap,
        eye_w=0.238 + 0.034 * p.eye_size + (0.012 if woman else 0.0),
        eye_h=0.098 + 0.014 * p.eye_size + 0.02 * p.eye_open + (0.01 if woman else -0.004),
        eye_tilt=0.042 * p.eye_tilt + 0.012,
        brow_v=-0.315 - 0.07 * p.brow_height - (0.03 if woman else -0.02),
        nose_v=nose,
        nose_w=0.225 + 0.058 * p.nose_width + (0.0 if woman else 0.02) + 0.035 * p.skin,
        mouth_v=mouth,
        mouth_w=0.36 + 0.072 * p.mouth_width,
        hairline=-0.98 - 0.12 * p.forehead - (0.1 if p.wrinkles > 0.6 and not woman else 0.0),
        crown=-1.6 - 0.05 * p.forehead,
    )


def head_solid(p: Person, k: Landmarks) -> Solid:
    """The bare head of `p`, from its crown to its chin."""
    woman = p.gender == "woman"
    w = 1.0 + 0.095 * p.face_width
    jaw = 0.83 + 0.085 * p.jaw + (-0.035 if woman else 0.035)
    cheek = 1.0 + 0.03 * p.cheekbones
    c, m = k.chin, k.mouth_v
    v = np.linspace(k.crown, c, 160)
    joint = m - 0.22
    a = np.interp(
        v,
        [-0.7, -0.2, 0.15, 0.5, joint, c],
        [1.02, 1.02, cheek, (cheek + jaw) / 2 + 0.05, jaw, jaw],
    )
    d = np.interp(v, [-0.7, -0.2, 0.15, m, c - 0.1, c], [1.16, 1.2, 1.18, 1.15, 1.06, 0.94])
    ker = np.hanning(25)
    ker /= ker.sum()
    a = np.convolve(np.pad(a, 12, mode="edge"), ker, mode="valid")
    d = np.convolve(np.pad(d, 12, mode="edge"), ker, mode="valid")
    top = np.clip((v - k.crown) / (-0.5 - k.crown), 0, 1)
    dome = (1 - (1 - top) ** 2.15) ** 0.5
    a, d = a * dome, d * dome
    # Below the jaw's corner the outline closes like a super-ellipse: rounder for a broad chin.
    t = np.clip((v - joint) / (c - joint), 0, 1)
    power = 1.92 + 0.22 * p.chin_width + 0.12 * p.jaw + (-0.1 if woman else 0.12)
    a = a * np.maximum(1 - t ** (power + 0.25), 0) ** (1 / power)
    a = np.maximum(a, 0.01)
    e = 0.80 * t**1.6 * d
    return Solid(f32(v), f32(a * w), f32(d - e), f32(e))


@dataclass(frozen=True)
class Maps:
    """A surface painted over u and v, each map H×W(×C) float32."""

    albedo: F
    """H×W×3, 0..1."""
    normal: F
    """H×W×3, unit length, in head coordinates with v down."""
    shine: F
    """H×W, the strength of the highlight."""
    bump: F
    """H×W, the height over the solid, in units."""
    alpha: F
    """H×W, 0..1."""
    u0: float
    v0: float
    """The maps' first column is at −u0, their first row at v0."""
    texels: float


SKIN = f32(
    [
        (250, 214, 190),
        (241, 195, 163),
        (222, 170, 134),
        (186, 128, 90),
        (146, 95, 66),
        (108, 70, 52),
    ]
)


def skin_colour(p: Person) -> F:
    """The skin's base colour, 3 float32 0..1."""
    t = p.skin * (len(SKIN) - 1)
    i = min(int(t), len(SKIN) - 2)
    base = SKIN[i] * (1 - (t - i)) + SKIN[i + 1] * (t - i)
    warm = f32([0.0, -4.0, -12.0]) * p.skin_warmth
    return f32(np.clip(base + warm, 0, 255) / 255)


def hair_colour(p: Person) -> F:
    """The hair's base colour, 3 float32 0..1."""
    return f32(np.clip(f32(HAIR_COLOURS[p.hair_colour]) / 255 * (1 + 0.14 * p.hair_tone), 0, 1))


def mix(image: F, colour: F, alpha: F) -> None:
    """Lay `colour` (3, or H×W×3) over `image` (H×W×3), in place, by `alpha` (H×W)."""
    image += (colour - image) * alpha[..., None]


class Grid:
    """The face's maps' coordinates, whole or a window of them."""

    def __init__(self) -> None:
        """The whole grid."""
        self.w = int(2 * U0 * TEXELS)
        self.h = int(2 * V0 * TEXELS)
        self.u = f32((np.arange(self.w) + 0.5) / TEXELS - U0)
        self.v = f32((np.arange(self.h) + 0.5) / TEXELS - V0)

    def blob(self, u: float, v: float, su: float, sv: float) -> F:
        """An axis-aligned Gaussian of height 1 over the whole grid."""
        return f32(np.outer(np.exp(-(((self.v - v) / sv) ** 2) / 2), np.exp(-(((self.u - u) / su) ** 2) / 2)))

    def pair(self, u: float, v: float, su: float, sv: float) -> F:
        """Two Gaussians, mirrored left and right."""
        side = np.exp(-(((self.u - u) / su) ** 2) / 2) + np.exp(-(((self.u + u) / su) ** 2) / 2)
        return f32(np.outer(np.exp(-(((self.v - v) / sv) ** 2) / 2), side))

    def window(self, u: float, v: float, hu: float, hv: float) -> tuple[slice, slice, F, F]:
        """Row and column slices around (u, v) and the window's own u (1×w) and v (h×1)."""
        x0 = max(int((u - hu + U0) * TEXELS), 0)
        x1 = min(int((u + hu + U0) * TEXELS), self.w)
        y0 = max(int((v - hv + V0) * TEXELS), 0)
        y1 = min(int((v + hv + V0) * TEXELS), self.h)
        return slice(y0, y1), slice(x0, x1), self.u[None, x0:x1], self.v[y0:y1, None]

    def stroke(self, lines: list[list[tuple[float, float]]], width: float, blur: float) -> F:
        """Soft strokes along poly-lines given in units: H×W 0..1."""
        canvas = np.zeros((self.h, self.w), np.uint8)
        for line in lines:
            pts = np.add(line, (U0, V0)) * TEXELS * 16
            cv2.polylines(
                canvas,
                [pts.astype(np.int32)],
                False,
                255,
                max(1, round(width * TEXELS)),
                cv2.LINE_AA,
                4,
            )
        return f32(cv2.GaussianBlur(canvas, (0, 0), max(blur * TEXELS, 0.3))) / np.float32(255)


GRID = Grid()


def relief(p: Person, k: Landmarks, smile: float) -> F:
    """The face's features as heights over the head's solid: H×W float32, units."""
    g = GRID
    man = 0.0 if p.gender == "woman" else 1.0
    z = (0.05 + 0.045 * man) * g.pair(0.40, k.brow_v + 0.05, 0.24, 0.10)
    z += 0.03 * g.blob(0, -0.28, 0.2, 0.12)
    z -= 0.15 * g.pair(k.eye_u - 0.02, 0.0, 0.19, 0.14)
    z += 0.10 * g.pair(k.eye_u, 0.01, 0.14, 0.085)
    z -= 0.07 * g.pair(0.2, 0.02, 0.08, 0.15)
    n = k.nose_v
    hs = np.interp(
        g.v,
        [-0.34, -0.06, 0.25, n - 0.16, n - 0.06, n + 0.02, n + 0.1],
        [
            0.0,
            0.10 + 0.05 * p.nose_bridge,
            0.23 + 0.05 * p.nose_bridge,
            0.38 + 0.05 * p.nose_tip,
            0.40 + 0.05 * p.nose_tip,
            0.22,
            0.0,
        ],
    )
    ws = np.interp(
        g.v,
        [-0.3, 0.2, n - 0.1, n + 0.1],
        [0.11, 0.095 + 0.02 * p.nose_width, 0.125 + 0.04 * p.nose_width, 0.15],
    )
    ker = np.hanning(15)
    hs = np.convolve(np.pad(hs, 7, mode="edge"), ker / ker.sum(), mode="valid")
    z += f32(hs)[:, None] * np.exp(-((g.u[None] / f32(ws)[:, None]) ** 2) / 2)
    z += 0.15 * g.pair(k.nose_w * 0.78, n - 0.06, 0.06, 0.07)
    z += (0.06 + 0.035 * p.cheekbones + 0.04 * smile) * g.pair(0.56, 0.36 - 0.04 * smile, 0.2, 0.17)
    z -= (0.015 + 0.03 * p.wrinkles - 0.02 * p.face_width) * g.pair(0.62, 0.85, 0.17, 0.22)
    m = k.mouth_v
    z += 0.07 * g.blob(0, m, 0.33, 0.2)
    z += (0.055 + 0.015 * p.upper_lip) * g.blob(0, m - 0.065, 0.2, 0.04)
    z += (0.065 + 0.02 * p.lower_lip) * g.blob(0, m + 0.085, 0.16, 0.05)
    z -= 0.05 * g.pair(k.mouth_w + 0.02, m, 0.06, 0.06)
    z -= 0.06 * g.blob(0, m + 0.22, 0.2, 0.06)
    z += (0.10 + 0.03 * p.chin_width) * g.blob(0, k.chin - 0.2, 0.2, 0.13)
    z -= 0.02 * g.blob(0, n + 0.13, 0.035, 0.06)
    z -= 0.05 * g.pair(0.9, -0.42, 0.13, 0.2)
    return f32(z)


def _eyes(p: Person, k: Landmarks, albedo: F, shine: F, gaze: tuple[float, float], smile: float) -> None:
    iris = f32(EYE_COLOURS[p.eye_colour]) / 255
    skin = skin_colour(p)
    woman = p.gender == "woman"
    lash = f32([0.09, 0.06, 0.055]) if p.skin > 0.4 or woman else f32([0.2, 0.12, 0.09])
    for side in (-1.0, 1.0):
        rows, cols, u, v = GRID.window(side * k.eye_u, -0.02, 0.36, 0.3)
        s = side * (u - side * k.eye_u) / k.eye_w
        drop = k.eye_tilt * s
        inside = np.clip(1 - np.abs(s), 0, 1)
        upper = -k.eye_h * (1 - np.abs(s + 0.08) ** 2.3) * 1.02 - drop
        lower = k.eye_h * (0.62 - 0.14 * smile) * (1 - np.abs(s - 0.08) ** 2.4) - drop
        px = TEXELS * 0.7
        opening = smooth((v - upper) * px + 0.5) * smooth((lower - v) * px + 0.5)
        opening = f32(opening * smooth(inside * 12))
        part = albedo[rows, cols]
        reach = smooth((1.25 - np.abs(s)) * 4)
        socket = np.exp(-(((v - upper + 0.05) / 0.055) ** 2)) * reach
        part *= (1 - 0.22 * socket * (1 - 0.5 * p.skin))[..., None]
        bag = np.exp(-(((v - lower - 0.05) / 0.035) ** 2)) * smooth((1 - np.abs(s)) * 3)
        part *= 1 - (0.08 + 0.16 * p.wrinkles) * bag[..., None]
        crease_v = upper * 1.0 - 0.062 - 0.01 * p.eye_open
        crease = np.exp(-(((v - crease_v) / 0.014) ** 2)) * smooth((1.12 - np.abs(s)) * 4)
        part *= 1 - f32([0.34, 0.42, 0.46]) * crease[..., None]
        white = f32([0.93, 0.91, 0.90]) - 0.06 * p.wrinkles * f32([0.4, 1, 1.6])
        r = np.sqrt((u - side * k.eye_u) ** 2 + v * v)
        ball = white[None, None] * (1 - 0.26 * smooth((r - 0.05) / 0.22))[..., None]
        ball *= (1 - 0.42 * np.exp(-np.clip(v - upper, 0, 1) / 0.032))[..., None]
        corner = np.exp(-(((s + 0.96) / 0.12) ** 2))
        ball += (f32([0.80, 0.50, 0.46]) - ball) * (0.7 * corner * np.ones_like(v))[..., None]
        mix(part, f32(ball), opening)
        iu, iv = side * k.eye_u + gaze[0], -0.008 + gaze[1]
        rad = 0.098 + 0.006 * p.eye_size
        q = np.sqrt((u - iu) ** 2 + (v - iv) ** 2) / rad
        ring = smooth((1 - q) * rad * TEXELS * 0.5 + 0.5) * opening
        glow = 0.62 + 0.75 * smooth((v - iv) / rad * 0.5 + 0.5)
        tone = iris[None, None] * (glow * (1 - 0.62 * smooth((q - 0.62) / 0.36)))[..., None]
        tone *= (1 - 0.45 * np.exp(-np.clip(v - upper, 0, 1) / 0.03))[..., None]
        mix(part, f32(tone * 1.12), f32(ring))
        pupil = smooth((0.44 - q) * rad * TEXELS * 0.6 + 0.5) * opening
        mix(part, f32([0.03, 0.025, 0.03]), f32(pupil))
        spot = np.sqrt((u - iu + 0.034) ** 2 + (v - iv + 0.036) ** 2)
        mix(part, f32([1, 1, 1]), f32(smooth((0.026 - spot) * TEXELS * 0.5 + 0.5) * opening))
        low = np.sqrt((u - iu - 0.03) ** 2 + (v - iv - 0.04) ** 2)
        mix(part, f32([1, 1, 1]), f32(0.25 * smooth((0.02 - low) * TEXELS * 0.5 + 0.5) * opening))
        thick = 0.017 + (0.009 if woman else 0.0) + 0.008 * smooth(s * 0.8)
        wing = upper - 0.035 * smooth((s - 0.7) / 0.5) * (1.0 if woman else 0.3)
        line = np.exp(-(((v - wing + 0.006) / thick) ** 2)) * smooth((1.1 - np.abs(s)) * 7)
        mix(part, lash, f32((0.96 if woman else 0.82) * line))
        rim = np.exp(-(((v - lower - 0.004) / 0.014) ** 2)) * smooth((1.02 - np.abs(s)) * 6)
        mix(part, f32(skin * f32([0.58, 0.42, 0.38])), f32(0.6 * rim))
        shine[rows, cols] = shine[rows, cols] * (1 - opening) + 0.1 * opening


def _brows(p: Person, k: Landmarks, albedo: F, rng: np.random.Generator) -> None:
    colour = hair_colour(p)
    lum = float(colour.mean())
    if p.hair_colour in ("blonde", "red"):
        colour = colour * 0.66
    elif p.hair_colour in ("gray", "white"):
        colour = colour * (0.62 if p.skin < 0.6 else 0.85)
    else:
        colour = colour * 0.8
    colour = np.minimum(colour, skin_colour(p) * 0.74 + 0.05) if lum < 0.6 else colour
    woman = p.gender == "woman"
    for side in (-1.0, 1.0):
        rows, cols, u, v = GRID.window(side * 0.46, k.brow_v, 0.42, 0.26)
        s = (side * u - 0.17) / (0.60 + 0.03 * p.eye_gap)
        arch = 0.055 + 0.05 * p.brow_arch + (0.02 if woman else 0.0)
        mid = k.brow_v + 0.03 - arch * np.clip(1 - ((s - 0.62) / 0.62) ** 2, -1.2, 1)
        mid = mid - (0.05 * p.brow_tilt) * (s - 0.5)
        half = 0.054 + 0.021 * p.brow_thickness + (-0.008 if woman else 0.01)
        width = half * (0.35 + 0.75 * smooth(s / 0.25)) * (1 - 0.72 * smooth((s - 0.45) / 0.6))
        band = smooth((width - np.abs(v - mid)) / 0.026 + 0.35)
        band = band * smooth((s + 0.02) / 0.12) * smooth((1.03 - s) / 0.12)
        grain = noise(rng, band.shape, (10, 44))
        slant = cv2.warpAffine(
            grain,
            f32([[1, side * 0.55, -side * 8], [0, 1, 0]]),
            (band.shape[1], band.shape[0]),
            borderMode=cv2.BORDER_REFLECT,
        )
        mix(albedo[rows, cols], f32(colour), f32(np.clip(band * (0.84 + 0.16 * slant), 0, 0.92)))


def _mouth(p: Person, k: Landmarks, albedo: F, shine: F, expression: str) -> None:
    skin = skin_colour(p)
    woman = p.gender == "woman"
    smile = {"neutral": 0.14, "smile": 0.78, "open smile": 1.0}[expression]
    half = k.mouth_w * (1 + 0.16 * smile)
    rows, cols, u, v = GRID.window(0, k.mouth_v, 0.66, 0.36)
    s = u / half
    inside = np.clip(1 - np.abs(s), 0, 1)
    round_ = np.sqrt(np.clip(1 - s * s, 0, 1))
    line = k.mouth_v + 0.025 - 0.09 * smile * s * s
    line = line + 0.008 * np.cos(s * 7) * (1 - np.abs(s)) * (1 - 0.5 * smile)
    open_ = 0.13 * round_**1.3 if expression == "open smile" else np.zeros_like(s)
    upper_h = 0.072 + 0.028 * p.upper_lip + 0.02 * p.skin + (0.01 if woman else -0.01)
    bow = 1 + 0.13 * np.exp(-(((np.abs(s) - 0.2) / 0.14) ** 2)) - 0.16 * np.exp(-((s / 0.1) ** 2))
    upper = line - upper_h * (1 - 0.22 * smile) * np.clip(1 - np.abs(s) ** 1.6, 0, 1) * bow
    lower_h = (0.10 + 0.03 * p.lower_lip + 0.02 * p.skin) * (1 - 0.2 * smile)
    base = line + open_
    lower = base + lower_h * np.clip(1 - np.abs(s) ** 2.2, 0, 1)
    px = TEXELS * 0.55
    on = smooth(inside * 14)
    top = smooth((v - upper) * px + 0.5) * smooth((line - v) * px + 0.5) * on
    bottom = smooth((v - base) * px + 0.5) * smooth((lower - v) * px + 0.5) * on
    rosy = f32([0.80, 0.36, 0.36]) if woman else f32([0.74, 0.42, 0.37])
    lip = skin * (0.40 if woman else 0.58) + rosy * (0.55 if woman else 0.36) * (1 - 0.38 * p.skin)
    part = albedo[rows, cols]
    under = np.exp(-(((v - lower - 0.05) / 0.045) ** 2)) * smooth((0.8 - np.abs(s)) * 2)
    part *= 1 - f32([0.15, 0.19, 0.2]) * under[..., None]
    mix(part, f32(lip * 0.82), f32(0.9 * top))
    mix(part, f32(lip * 1.04), f32(0.86 * bottom))
    gloss = np.exp(-(((v - base - lower_h * 0.42) / 0.022) ** 2)) * np.exp(-((s / 0.45) ** 2))
    part += (gloss * bottom * (0.14 if woman else 0.07))[..., None]
    if expression == "open smile":
        gap = f32(smooth((v - line) * px + 0.5) * smooth((base - v) * px + 0.5) * on)
        mix(part, f32([0.22, 0.07, 0.07]), gap)
        teeth = gap * smooth((base - 0.012 - v) * px * 0.8) * smooth((0.86 - np.abs(s)) * 7)
        side = 1 - 0.34 * np.abs(s) ** 1.6
        each = 1 - 0.10 * np.exp(-((np.sin(u / 0.082 * np.pi) / 0.22) ** 2))
        tone = f32([0.97, 0.95, 0.91])[None, None] * (side * each * np.ones_like(v))[..., None]
        tone = tone * (0.82 + 0.18 * smooth((v - line) / 0.03))[..., None]
        mix(part, f32(tone), f32(teeth))
    dark = np.exp(-(((v - line) / 0.0125) ** 2)) * smooth((1.05 - np.abs(s)) * 9)
    mix(part, f32(skin * f32([0.30, 0.17, 0.16])), f32(dark * (0.5 if smile == 1 else 0.85)))
    edge = np.exp(-(((np.abs(s) - 1.02) / 0.07) ** 2)) * np.exp(-(((v - line - 0.005) / 0.03) ** 2))
    part *= 1 - f32([0.3, 0.38, 0.4]) * edge[..., None]
    shine[rows, cols] += f32(0.25 * bottom)


def _beard(p: Person, k: Landmarks, albedo: F, shine: F, z: F, rng: np.random.Generator) -> None:
    if p.beard == "none":
        return
    g = GRID
    u, v = g.u[None], g.v[:, None]
    m, n = k.mouth_v, k.nose_v
    cheek = np.interp(np.abs(g.u), [0, 0.45, 0.75, 1.0], [m + 0.1, m - 0.12, m - 0.34, 0.1])
    jaw = smooth((v - f32(cheek)[None]) / 0.13)
    tache = smooth((0.46 - np.abs(u)) / 0.1) * smooth((v - n - 0.07 - 0.16 * u * u) / 0.05)
    tache = tache * smooth((m + 0.0 + 0.45 * np.clip(np.abs(u) - 0.28, 0, 1) - v) / 0.05)
    chin = np.exp(-((u / 0.34) ** 4)) * smooth((v - m - 0.2) / 0.08)
    goat = np.maximum(chin, np.exp(-(((np.abs(u) - 0.42) / 0.07) ** 2)) * smooth((v - m + 0.12) / 0.1))
    lips = np.exp(-((u / (k.mouth_w * 0.95)) ** 4)) * np.exp(-(((v - m - 0.03) / 0.15) ** 4))
    full = np.maximum(jaw, tache)
    area = {
        "stubble": full * 0.42,
        "moustache": tache,
        "goatee": np.maximum(goat, tache),
        "beard": full,
    }[p.beard]
    area = f32(area * (1 - lips * (v > m - 0.06)))
    colour = hair_colour(p) * (0.86 if p.hair_colour not in ("gray", "white") else 0.95)
    fine = noise(rng, (g.h, g.w), (70, 120))
    colour_map = colour[None, None] * (1 + 0.3 * fine)[..., None]
    cover = np.clip(area * (0.9 + 0.25 * fine), 0, 0.93)
    mix(albedo, f32(colour_map), f32(cover))
    shine *= 1 - 0.8 * area
    if p.beard != "stubble":
        z += 0.035 * area + 0.006 * area * fine


def _lines(p: Person, k: Landmarks, albedo: F, smile: float) -> F:
    """Darken the folds of age and of a smile; returns their depth as H×W, for the relief."""
    g = GRID
    depth = np.zeros((g.h, g.w), np.float32)
    n, m, w = k.nose_v, k.mouth_v, k.nose_w
    fold = [
        (w + 0.04, n - 0.08),
        (w + 0.13, n + 0.04),
        (k.mouth_w + 0.07, m - 0.12),
        (k.mouth_w + 0.11, m + 0.06),
    ]
    folds = [fold, [(-x, y) for x, y in fold]]
    strength = 0.12 + 0.4 * p.wrinkles + 0.22 * smile
    depth += np.float32(strength) * g.stroke(folds, 0.016, 0.018)
    if p.wrinkles > 0.25:
        rows = []
        for i, height in enumerate((-0.55, -0.66, -0.77)):
            reach = 0.42 - 0.05 * i
            rows.append(
                [(x, height - 0.04 * np.cos(x * 3) + 0.01 * np.sin(9 * x + i)) for x in np.linspace(-reach, reach, 9)]
            )
        depth += np.float32(0.5 * p.wrinkles) * g.stroke(rows, 0.012, 0.012)
        x0 = k.eye_u + k.eye_w
        feet = [
            [(s * (x0 + 0.05), -0.02 + 0.03 * i), (s * (x0 + 0.2), -0.08 + 0.09 * i)] for s in (-1, 1) for i in range(3)
        ]
        bags = [[(s * (k.eye_u - 0.2), 0.13), (s * k.eye_u, 0.2), (s * (k.eye_u + 0.2), 0.13)] for s in (-1, 1)]
        depth += np.float32(0.42 * p.wrinkles) * g.stroke(feet + bags, 0.01, 0.012)
        frown = [[(s * 0.07, -0.2), (s * 0.08, -0.34)] for s in (-1, 1)]
        depth += np.float32(0.4 * p.wrinkles) * g.stroke(frown, 0.01, 0.012)
    albedo *= 1 - f32([0.42, 0.5, 0.52]) * np.clip(depth, 0, 1)[..., None]
    return depth


def face_maps(p: Person, expression: str, gaze: tuple[float, float]) -> tuple[Maps, Solid, Landmarks]:
    """The painted face of `p`; `gaze` is the irises' offset in units."""
    g = GRID
    k = landmarks(p)
    solid = head_solid(p, k)
    rng = np.random.default_rng((p.seed, 1))
    smile = {"neutral": 0.0, "smile": 0.7, "open smile": 1.0}[expression]
    skin = skin_colour(p)
    albedo = np.empty((g.h, g.w, 3), np.float32)
    albedo[:] = skin
    shine = np.full((g.h, g.w), 0.5, np.float32)
    grain = noise(rng, (g.h, g.w), (34, 26)) * 0.014 + noise(rng, (g.h, g.w), (140, 110)) * 0.012
    albedo *= (1 + grain)[..., None]
    rosy = (0.55 if p.gender == "woman" else 0.35) * (1 - 0.5 * p.skin)
    flush = rosy * g.pair(0.55, 0.42, 0.2, 0.17) + 0.4 * rosy * g.blob(0, k.nose_v - 0.12, 0.14, 0.1)
    albedo *= 1 - f32([0.02, 0.17, 0.15]) * flush[..., None]
    if p.freckles:
        spots = np.zeros((g.h, g.w), np.uint8)
        for _ in range(150):
            x, y = rng.normal(0, 0.42), rng.normal(0.33, 0.16)
            at = (int((x + U0) * TEXELS * 16), int((y + V0) * TEXELS * 16))
            cv2.circle(
                spots,
                at,
                int(rng.uniform(0.7, 1.6) * 16),
                int(rng.uniform(60, 150)),
                -1,
                cv2.LINE_AA,
                4,
            )
        mix(albedo, skin * f32([0.72, 0.52, 0.42]), f32(spots) / np.float32(255))
    z = relief(p, k, smile)
    # Occlusion: what the light of the surroundings hardly reaches.
    n = k.nose_v
    soft = 1 - 0.35 * p.skin
    hollow = 0.20 * g.pair(0.22, -0.04, 0.075, 0.12) + 0.16 * g.pair(k.eye_u, -0.13, 0.2, 0.06)
    hollow += 0.16 * g.blob(0, n + 0.07, 0.17, 0.045) + 0.10 * g.pair(0.15, 0.3, 0.05, 0.2)
    hollow += 0.30 * g.pair(k.nose_w + 0.03, n - 0.03, 0.025, 0.06)
    hollow += 0.08 * g.blob(0, n + 0.14, 0.03, 0.06) + 0.06 * g.pair(0.74, 0.92, 0.16, 0.25)
    albedo *= 1 - f32([0.78, 1.0, 1.05]) * (hollow * soft)[..., None]
    hole = g.pair(k.nose_w * 0.44, n + 0.005, 0.05, 0.02)
    mix(albedo, f32(skin * f32([0.26, 0.15, 0.13])), f32(np.clip(hole * 0.95, 0, 0.85)))
    shine += 0.55 * g.blob(0, n - 0.12, 0.07, 0.07) + 0.3 * g.blob(0, 0.2, 0.05, 0.25)
    shine += 0.25 * g.pair(0.52, 0.26, 0.15, 0.1) + 0.2 * g.blob(0, -0.6, 0.4, 0.2)
    depth = _lines(p, k, albedo, smile)
    z -= 0.02 * depth
    _mouth(p, k, albedo, shine, expression)
    _beard(p, k, albedo, shine, z, rng)
    _eyes(p, k, albedo, shine, gaze, smile)
    _brows(p, k, albedo, rng)
    lit = cv2.GaussianBlur(z, (0, 0), 0.03 * TEXELS)
    normal = normals(solid, g.u, g.v, f32(0.62 * lit), TEXELS)
    maps = Maps(np.clip(albedo, 0, 1), normal, shine, z, np.ones_like(z), U0, -V0, TEXELS)
    return maps, solid, k


def normals(solid: Solid, u: F, v: F, bump: F, texels: float) -> F:
    """Unit normals of a solid (at columns `u`, rows `v`) under a height map (H×W, units): H×W×3."""
    a, d, e = solid.at(v)
    a = np.maximum(a, 0.02)
    # Held short of the outline, where the slope has no bound, and carried on beyond it.
    q = np.clip(u[None] / a[:, None], -0.93, 0.93)
    across = np.sqrt(1 - q * q)
    base = e[:, None] + d[:, None] * across
    gu = cv2.Sobel(bump, cv2.CV_32F, 1, 0, scale=texels / 8) - (d / a)[:, None] * q / across
    gv = cv2.Sobel(f32(base + bump), cv2.CV_32F, 0, 1, scale=texels / 8)
    gu, gv = np.clip(gu, -2.6, 2.6), np.clip(gv, -1.35, 1.35)
    inv = 1 / np.sqrt(gu * gu + gv * gv + 1)
    return f32(cv2.merge([f32(-gu * inv), f32(-gv * inv), f32(inv)]))


@dataclass(frozen=True)
class Pose:
    """Where and how a head is seen: angles in radians, centre in pixels, scale in pixels a unit."""

    yaw: float
    pitch: float
    roll: float
    cx: float
    cy: float
    scale: float

    def rotate(self, n: F) -> F:
        """Head directions (…×3) as seen by the viewer, the roll included."""
        return f32(n @ self.matrix().T)

    def matrix(self) -> F:
        """The 3×3 rotation from head to view coordinates."""
        cy, sy = np.cos(self.yaw), np.sin(self.yaw)
        cp, sp = np.cos(self.pitch), np.sin(self.pitch)
        cr, sr = np.cos(self.roll), np.sin(self.roll)
        yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        return f32(roll @ pitch @ yaw)

    def project(self, points: npt.ArrayLike) -> F:
        """Head points (N×3) as pixels (N×2)."""
        seen = f32(points) @ self.matrix().T
        return f32(seen[:, :2] * self.scale + (self.cx, self.cy))


def trace(solid: Solid, maps: Maps, pose: Pose, size: tuple[int, int]) -> tuple[F, F, F, tuple[slice, slice]]:
    """Where each pixel of a window meets the surface.

    Returns the maps' column and row for each pixel (two H×W float32, ready for `cv2.remap`),
    the pixel's coverage (H×W, 0..1) and the window's row and column slices in a picture `size`.
    """
    wide = float(max(solid.a.max(), 1.0)) + 0.35
    corners = pose.project([(x, y, z) for x in (-wide, wide) for y in (solid.v[0], solid.v[-1]) for z in (-0.3, 1.5)])
    lo = np.floor(corners.min(0)).astype(int) - 2
    hi = np.ceil(corners.max(0)).astype(int) + 3
    x0, y0 = max(int(lo[0]), 0) & ~1, max(int(lo[1]), 0) & ~1
    x1, y1 = min(int(hi[0]), size[1]), min(int(hi[1]), size[0])
    h, w = max(y1 - y0, 2), max(x1 - x0, 2)
    # Half the resolution is enough for the smooth field of surface coordinates.
    xs = (np.arange((w + 1) // 2) * 2 + 1 + x0 - pose.cx) / pose.scale
    ys = (np.arange((h + 1) // 2) * 2 + 1 + y0 - pose.cy) / pose.scale
    cr, sr = np.cos(pose.roll), np.sin(pose.roll)
    px = f32(xs[None] * cr + ys[:, None] * sr)
    py = f32(-xs[None] * sr + ys[:, None] * cr)
    st, ct = np.float32(np.sin(pose.yaw)), np.float32(np.cos(pose.yaw))
    sp, cp = np.float32(np.sin(pose.pitch)), np.float32(np.cos(pose.pitch))
    v = (py - sp * 0.8) / cp
    bump = np.zeros_like(px)
    u = z = miss = painted = px
    for turn in range(6):
        a, d, e = solid.at(v)
        ra, rd = a * ct, d * st
        reach = np.sqrt(ra * ra + rd * rd) + np.float32(1e-4)
        shifted = px - st * (bump + e)
        ratio = shifted / reach
        t = np.arcsin(np.clip(ratio, -1, 1)) - np.arctan2(rd, ra)
        u, z = a * np.sin(t), d * np.cos(t)
        behind = z < 0
        z = z + e
        # What lies behind the widest line is looked up beyond the map's own silhouette.
        painted = np.where(behind, np.sign(u) * (2 * a - np.abs(u)), u)
        miss = (np.abs(ratio) - 1) * reach
        col = (painted + maps.u0) * maps.texels - 0.5
        row = (v - maps.v0) * maps.texels - 0.5
        bump = f32(cv2.remap(maps.bump, f32(col), f32(row), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
        # At the crown depth falls off so steeply that the steps would swing: it is flattened
        # there, and they are halved.
        deep = (-u * st + (z + bump) * ct) * smooth((v - solid.v[0]) / 0.22)
        step = (py - sp * deep) / cp
        v = step if turn == 0 else (v + step) / 2
    over = np.maximum(solid.v[0] - v, v - solid.v[-1])
    miss = np.maximum(miss, over)

    def full(field: F) -> F:
        return f32(cv2.resize(f32(field), (w, h), interpolation=cv2.INTER_LINEAR))

    cover = full(-miss * pose.scale)
    col = full((painted + maps.u0) * maps.texels - 0.5)
    row = full((v - maps.v0) * maps.texels - 0.5)
    return col, row, f32(np.clip(cover + 0.5, 0, 1)), (slice(y0, y0 + h), slice(x0, x0 + w))
