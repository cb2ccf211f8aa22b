"""A person in a shot: hair, neck, clothes, ears and glasses around the head, lit and composed.

Everything is drawn at twice the picture's size on a canvas of premultiplied colour and coverage
(4×H×W float32, 0..1), then averaged down.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from weights.recipe.head import (
    F,
    Landmarks,
    Maps,
    Pose,
    Solid,
    f32,
    face_maps,
    hair_colour,
    noise,
    normals,
    skin_colour,
    smooth,
    trace,
)
from weights.recipe.people import CLOTHES_COLOURS, Person, Shot

HAIR_TEXELS = 84.0
Window = tuple[slice, slice]


class Light:
    """The light of a shot."""

    def __init__(self, shot: Shot, ambience: F) -> None:
        """The shot's key light over the surroundings' mean colour `ambience` (3, 0..1)."""
        d = np.array([0.85 * shot.light_x, -0.2 - 0.55 * shot.light_y, 0.8])
        self.to = f32(d / np.linalg.norm(d))
        half = self.to + f32([0, 0, 1])
        self.half = f32(half / np.linalg.norm(half))
        warm = f32([1.0 + 0.05 * shot.warmth, 1.0, 1.0 - 0.07 * shot.warmth])
        self.key = f32(warm * 0.70)
        self.fill = f32((0.40 + 0.08 * ambience) * f32([1.02, 1.0, 0.98]))
        self.rim = f32(ambience * 0.22)

    def on(self, n: F, flesh: bool) -> F:
        """Light on view normals (H×W×3): H×W×3, about 0.3..1.2."""
        nx, ny, nz = cv2.split(n)
        facing = nx * self.to[0] + ny * self.to[1] + nz * self.to[2]
        wrap = np.float32(0.5 if flesh else 0.25)
        lit = np.clip((facing + wrap) / (1 + wrap), 0, 1)
        lit = lit * (0.55 + 0.45 * lit)
        away = np.clip(1 - nz, 0, 1)
        edge = away * away * away * np.clip(-nx * np.sign(self.to[0]), 0, 1)
        sky = 0.84 - 0.2 * ny
        # Light that enters the skin comes out red beside the shadow's edge.
        under = (1 - lit) * smooth(facing + 0.75) if flesh else None
        # What light skin throws on itself is warm.
        cast = (1.05, 0.98, 0.93) if flesh else (1.0, 1.0, 1.0)
        rows = []
        for i, bleed in enumerate((0.16, 0.05, 0.02)):
            one = lit if under is None else lit + np.float32(bleed) * under
            rows.append(one * self.key[i] + sky * (self.fill[i] * np.float32(cast[i])) + edge * self.rim[i])
        return f32(cv2.merge([f32(row) for row in rows]))

    def glint(self, n: F, power: float) -> F:
        """The highlight on view normals (H×W×3): H×W, 0..1."""
        facing = cv2.transform(n, self.half[None])
        return f32(cv2.pow(np.clip(facing, 0, 1), power))


def over(canvas: F, where: Window, colour: F, alpha: F) -> None:
    """Lay `colour` (3 or H×W×3) with `alpha` (H×W) over the canvas, in place."""
    rows, cols = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    if not len(rows):
        return
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(cols[0]), int(cols[-1]) + 1
    part = canvas[:, where[0], where[1]][:, y0:y1, x0:x1]
    a = alpha[y0:y1, x0:x1]
    keep = 1 - a
    planes = cv2.split(colour[y0:y1, x0:x1]) if colour.ndim == 3 else [*colour, 1]
    for i in range(3):
        part[i] *= keep
        part[i] += planes[i] * a
    part[3] *= keep
    part[3] += a


def lit_by(light: Light, px: F, py: F, flesh: bool) -> F:
    """Light on a smooth surface whose normals lean by `px` and `py` (H×W): H×W×3."""
    h, w = px.shape
    x, y = f32(px[::3, ::3]), f32(py[::3, ::3])
    n = f32(cv2.merge([x, y, f32(np.sqrt(np.clip(1 - x * x - y * y, 0.05, 1)))]))
    return f32(cv2.resize(light.on(n, flesh), (w, h), interpolation=cv2.INTER_LINEAR))


def polygon(size: tuple[int, int], points: F) -> F:
    """An antialiased polygon (N×2 pixels) as H×W 0..1."""
    canvas = np.zeros(size, np.uint8)
    cv2.fillPoly(canvas, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return f32(canvas) * np.float32(1 / 255)


def curve(size: tuple[int, int], lines: list[F], width: float) -> F:
    """Antialiased poly-lines (each N×2 pixels) as H×W 0..1."""
    canvas = np.zeros(size, np.uint8)
    pts = [np.round(line * 16).astype(np.int32) for line in lines]
    cv2.polylines(canvas, pts, False, 255, max(1, round(width)), cv2.LINE_AA, 4)
    return f32(canvas) * np.float32(1 / 255)


def blur(image: F, radius: float) -> F:
    """A wide, cheap blur, done at a quarter of the size."""
    h, w = image.shape[:2]
    small = cv2.resize(image, (max(w // 4, 1), max(h // 4, 1)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(radius / 4, 0.4))
    return f32(cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR))


def hair_maps(p: Person, k: Landmarks, head: Solid) -> tuple[Maps, Solid, float] | None:
    """The hair as a painted shell around the head and its thickness; None for the bald."""
    style = p.hair_style
    if style == "bald":
        return None
    rng = np.random.default_rng((p.seed, 2))
    woman = p.gender == "woman"
    thick = {
        "long": 0.13,
        "medium": 0.15,
        "short": 0.13 if woman else 0.12,
        "crop": 0.055,
        "bun": 0.07,
        "curly": 0.30 if woman else 0.2,
    }[style]
    end = {
        "long": 2.75,
        "medium": 1.62 + 0.1 * p.ears,
        "short": 0.85 if woman else 0.42,
        "crop": 0.36,
        "bun": 0.4,
        "curly": 1.6 if woman else 0.4,
    }[style]
    top = k.crown - thick * (1.15 if style != "curly" else 1.0)
    v = f32(np.linspace(top, end, 160))
    squeezed = np.where(v < -0.3, -0.3 + (v + 0.3) * (k.crown + 0.3) / (top + 0.3), v)
    a, d, _ = head.at(f32(np.clip(squeezed, k.crown, 0.15)))
    side = thick * np.clip((v - top) / 0.5, 0, 1) ** 0.5
    side = np.where(v > -0.4, side * (1.0 if end > 0.7 else 1 - 0.92 * smooth(f32((v + 0.65) / 0.6))), side)
    a, d = a + side, d + thick * np.clip((v - top) / 0.4, 0, 1) ** 0.5
    if end > 0.7:
        flare = {"long": 0.16, "medium": 0.12, "short": -0.06, "curly": 0.2}[style]
        a = a + flare * smooth(f32((v - 0.0) / 1.0)) - 0.16 * smooth(f32((v - 1.2) / 1.2))
        close = np.clip((end - v) / 0.42, 0, 1)
        a = a * (0.55 + 0.45 * np.sqrt(1 - (1 - close) ** 2))
        d = d - 0.35 * smooth(f32((v - 0.6) / 1.2))
    if style == "long":
        a = a + 0.035 * np.sin(3.6 * v + 3 * p.forehead) * smooth(f32(v + 0.2))
    if style == "curly":
        bumps = np.interp(v, np.linspace(top, end, 22), rng.uniform(-0.05, 0.05, 22))
        a = a + bumps * np.clip((v - top) / 0.4, 0, 1)
    solid = Solid(v, f32(a), f32(d), np.zeros_like(v))
    u0 = float(a.max()) + 0.25
    w, h = int(2 * u0 * HAIR_TEXELS), int((end - top + 0.1) * HAIR_TEXELS)
    u = f32((np.arange(w) + 0.5) / HAIR_TEXELS - u0)[None]
    vv = f32((np.arange(h) + 0.5) / HAIR_TEXELS + top)[:, None]
    part = 0.42 * p.parting if style in ("long", "medium", "short", "bun") else 0.2 * p.parting
    if style == "curly":
        cells = noise(rng, (h, w), (int(h / 8), int(w / 8)))
        curls = 0.6 * cells + 0.5 * noise(rng, (h, w), (int(h / 4), int(w / 4)))
        strand = f32(curls)
        bump = f32(0.05 * cells)
    else:
        if style in ("long", "medium", "bun"):
            # From the parting outwards over the crown, then straight down.
            turn = (u - part) / (1.06 - np.exp(-np.maximum(vv - k.crown + 0.06, 0) / 0.62)) / 1.1
            turn = turn + 0.022 * np.sin(vv * 4.4 + p.forehead * 3) * (1 + p.ears)
        else:
            turn = np.arctan2(u - part * 1.2, 0.25 + np.abs(vv - k.crown - 0.05)) * 0.8
            turn = turn + 0.25 * p.parting * (vv - k.hairline) * (vv < 0)
        strand = np.zeros((h, w), np.float32)
        for cells_, weight in ((46, 0.5), (110, 0.45), (230, 0.3)):
            row = rng.uniform(-1, 1, cells_).astype(np.float32)
            at = np.clip((turn + 1.6) / 3.2, 0, 0.9999) * (cells_ - 1)
            i = at.astype(np.int32)
            f = at - i
            strand += np.float32(weight) * (row[i] * (1 - f) + row[np.minimum(i + 1, cells_ - 1)] * f)
        bump = f32(0.012 * strand)
    base = hair_colour(p)
    dark = 0.5 if p.hair_colour in ("blonde", "gray", "white") else 0.62
    tone = 1 + 0.36 * dark * strand
    albedo = base[None, None] * tone[..., None]
    albedo *= (0.84 + 0.16 * smooth((vv - top) / 1.1) - 0.2 * smooth((vv - 1.0) / 1.6))[..., None]
    # The hairline, its edge broken into strands.
    fray = (0.02 if style in ("long", "medium", "bun") else 0.045) * strand
    x = np.abs(u)
    if p.fringe:
        low = -0.47 + 0.05 * np.cos(u * 4) + 0.12 * x**2 + 0.8 * np.clip(x - 0.72, 0, 1)
        fray = 0.08 * strand
    else:
        peak = 0.05 * np.exp(-(((u - part) / 0.16) ** 2)) * (-1 if style in ("long", "medium") else 1)
        low = k.hairline + peak + 0.30 * (x / 0.8) ** 2.6 + 0.3 * np.clip(x - 0.62, 0, 1)
        if style in ("long", "medium", "short") and woman:
            # The hair sweeps from the parting over the brow's far side.
            low = low - 0.05 + 0.34 * smooth((np.abs(u - part) - 0.12) / 0.85)
    if end > 0.7:
        open_ = 0.90 - 0.05 * smooth((vv + 0.4) / 0.6) + 0.03 * smooth((vv - 0.9) / 0.6)
        if style == "curly":
            open_ = open_ + 0.05
        edge = np.maximum(x - open_ + 0.6 * fray, 0.75 * (low - vv) + fray)
    else:
        burn = 0.34 if not woman else 0.1
        temple = 0.93 + 0.04 * smooth((vv + 0.3) / 0.4)
        sides = np.minimum(x - temple + 0.4 * fray, (burn - vv) * 0.5)
        if style == "bun":
            sides = np.minimum(x - 0.99, (0.05 - vv) * 0.6)
        edge = np.maximum(sides, 0.75 * (low - vv) + fray)
    alpha = smooth(edge / (0.05 if style != "crop" else 0.12) + 0.35)
    if style == "crop":
        alpha = alpha * np.clip(0.93 + 0.1 * strand, 0, 1)
    albedo *= (0.70 + 0.30 * smooth(edge / 0.14))[..., None]
    if style in ("long", "medium", "bun") and not p.fringe:
        line = np.exp(-(((u - part) / 0.018) ** 2)) * smooth((vv - top) / 0.1)
        albedo *= (1 - 0.45 * line)[..., None]
    shine = f32(np.clip(0.55 + 0.7 * strand, 0, 1.4))
    if style in ("curly", "crop"):
        shine = shine * 0.35
    normal = normals(solid, u[0], vv[:, 0], bump, HAIR_TEXELS)
    maps = Maps(
        f32(np.clip(albedo, 0, 1)),
        normal,
        shine,
        f32(np.zeros_like(strand)),
        f32(alpha),
        u0,
        top,
        HAIR_TEXELS,
    )
    return maps, solid, thick


def surface(
    maps: Maps, solid: Solid, pose: Pose, size: tuple[int, int], light: Light, kind: str
) -> tuple[F, F, F, Window]:
    """A lit surface: colour (H×W×3), alpha (H×W), the solid's cover (H×W) and the window."""
    col, row, cover, where = trace(solid, maps, pose, size)
    paint = cv2.merge([maps.albedo, maps.alpha])
    shape = cv2.merge([maps.normal, maps.shine])
    edge = cv2.BORDER_REPLICATE
    paint = cv2.remap(paint, col, row, cv2.INTER_LINEAR, borderMode=edge)
    shape = cv2.remap(shape, col, row, cv2.INTER_LINEAR, borderMode=edge)
    n = f32(cv2.transform(shape, np.pad(pose.matrix(), ((0, 0), (0, 1)))))
    colour = paint[..., :3] * light.on(n, kind == "flesh")
    if kind == "flesh":
        gloss = shape[..., 3] * (0.16 * light.glint(n, 26) + 0.05 * light.glint(n, 7))
        colour += gloss[..., None] * light.key
    else:
        # Strands shine in a band across their length, not in a spot.
        ring = np.exp(-(((n[..., 1] + 0.42) / 0.16) ** 2)) * np.clip(cv2.transform(n, light.to[None]) + 0.25, 0, 1)
        glow = 0.12 + 0.5 * paint[..., :3]
        colour += (0.55 * ring * shape[..., 3])[..., None] * glow
    return f32(colour), f32(paint[..., 3] * cover), cover, where


def _body(canvas: F, p: Person, shot: Shot, k: Landmarks, pose: Pose, light: Light) -> None:
    """Neck, chest and clothes."""
    size = canvas.shape[1:]
    h, w = size
    s = pose.scale
    woman = p.gender == "woman"
    rng = np.random.default_rng((shot.seed, 3))
    throat = pose.project([(0.0, 1.1, 0.1)])[0]
    bx = float(throat[0]) * 0.55 + pose.cx * 0.45
    base = pose.cy + (k.chin + (0.34 if woman else 0.30)) * s
    neck = (0.50 if woman else 0.64) + 0.03 * p.jaw
    y0 = max(int(throat[1] - 0.5 * s), 0)
    if y0 >= h - 1:
        return
    where = (slice(y0, h), slice(0, w))
    ys = f32(np.arange(y0, h))[:, None]
    xs = f32(np.arange(w))[None]
    x = (xs - bx) / s
    ax = np.abs(x)
    y = (ys - base) / s
    wide = (1.95 if woman else 2.35) + 0.1 * p.face_width
    points = np.array([0, neck, neck + 0.16, neck + 0.5, wide * 0.62, wide * 0.86, wide, wide + 0.22])
    drops = np.array([-0.2, 0.0, 0.14, 0.27, 0.37, 0.55, 0.86, 2.3])
    grid = np.linspace(0, wide + 0.22, 200)
    line = np.interp(grid, points, drops)
    line = np.convolve(np.pad(line, 9, mode="edge"), np.hanning(19) / np.hanning(19).sum(), "valid")
    slope = np.gradient(line, grid)
    top = f32(np.interp(ax[0], grid, line, right=9.0))[None]
    tilt = f32(np.interp(ax[0], grid, slope, right=3.0))[None]
    depth = y - top
    body = smooth(depth * s * 0.6 + 0.5)
    # Skin: the neck's column above, the chest below.
    lean = (float(throat[0]) - bx) / s
    f = np.clip(-y / 0.7, 0, 1)
    nx = (x - lean * f) / (neck * (1 + 0.22 * smooth(1 - (-y + 0.25) / 0.5)))
    column = smooth((1 - np.abs(nx)) * neck * s * 0.6 + 0.5) * smooth((0.6 - y) * 4)
    skin_alpha = np.maximum(column, body * smooth((1.6 - y) * 3))
    bend = smooth((y + 0.1) / 0.35)
    px = np.clip(nx, -1, 1) * 0.93 * (1 - bend) + np.clip(x / wide, -1, 1) * 0.7 * bend
    py = (-0.05 - 0.3 * np.exp(-np.clip(depth, 0, 9) / 0.3)) * bend + 0 * px
    colour = np.float32(0.97) * skin_colour(p) * lit_by(light, px, py, True)
    cast = np.exp(-((np.clip(y + 0.28, 0, 9) / 0.3) ** 2)) * smooth((1.25 - ax) * 2)
    colour *= 1 - f32([0.38, 0.47, 0.49]) * cast[..., None]
    cord = np.exp(-(((ax - 0.30 + 0.3 * (y + 0.1)) / 0.06) ** 2)) * smooth((0.2 - y) * 3)
    bone = np.exp(-(((y - 0.36 - 0.10 * np.sqrt(ax + 0.02)) / 0.05) ** 2)) * smooth((ax - 0.1) * 5)
    colour *= (1 - 0.06 * cord - 0.10 * bone * smooth((1.5 - ax) * 2))[..., None]
    over(canvas, where, f32(colour), f32(skin_alpha))
    # Clothes.
    kind = shot.clothes
    dye = f32(CLOTHES_COLOURS[shot.clothes_colour]) / 255
    cloth = f32(np.clip(dye * rng.uniform(0.9, 1.1), 0, 1))
    hollow = {
        "t-shirt": (0.70, 0.36),
        "shirt": (0.56, 0.34),
        "blazer": (0.60, 0.3),
        "sweater": (0.64, 0.22),
        "dress": (1.02, 0.72),
        "hoodie": (0.72, 0.24),
    }[kind]
    reach, deep = hollow
    reach *= neck / 0.52
    ring = np.sqrt((x / reach) ** 2 + (np.clip(y - 0.05, 0, 9) / deep) ** 2)
    hole = smooth((1 - ring) * deep * s * 0.6 + 0.5) * smooth((y + 9) * 9)
    if kind == "shirt":
        vee = (0.62 - y) * 0.52 - ax
        hole = smooth(vee * s * 0.6 + 0.5)
    if kind == "blazer":
        hole = np.zeros_like(hole)
    lift = {"sweater": 0.045, "hoodie": 0.06, "blazer": 0.06}.get(kind, 0.02)
    alpha = smooth((depth + lift) * s * 0.6 + 0.5) * (1 - hole)
    if kind in ("sweater", "hoodie", "shirt", "blazer"):
        alpha = alpha * smooth((ax - neck * 0.7 + 3 * np.clip(y + 0.02, 0, 9)) * s * 0.3)
    folds = noise(rng, (h - y0, w), (3, 7)) * 0.5 + noise(rng, (h - y0, w), (5, 16)) * 0.3
    pull = np.sin((ax * 3.2 - y * 5.0) + 2.0 * folds) * smooth((ax - 0.9) * 1.4)
    px = np.clip(x / (wide + 0.1), -1, 1) * 0.82 + 0.16 * folds + 0.07 * pull
    py = -0.62 * np.exp(-np.clip(depth, 0, 9) / 0.26) - 0.06 + 0.08 * folds
    py = py - 0.1 * np.clip(tilt, 0, 1)
    lit = lit_by(light, px, py, False)
    shade = lit * (1 + 0.10 * folds)[..., None]
    arm = np.exp(-(((ax - wide * 0.80 - 0.06 * (y - 1)) / 0.035) ** 2)) * smooth((y - 0.95) * 2.5)
    shade *= (1 - 0.28 * arm)[..., None]
    colour = f32(cloth * shade)
    if kind in ("t-shirt", "sweater", "dress"):
        band = smooth((1.17 - ring) * deep * s * 0.4) if kind != "dress" else smooth((1.05 - ring) * s * 0.2)
        rib = 0.07 * np.sin(np.arctan2(x, y + 0.1) * 60) if kind == "sweater" else 0.0
        colour *= (1 - band * (0.13 - rib))[..., None]
    if kind == "sweater":
        knit = np.sin(xs * (2 * np.pi / max(0.085 * s, 4))) * np.sin(ys * (np.pi / max(0.07 * s, 4)))
        colour *= (1 + 0.05 * knit)[..., None]
    over(canvas, where, f32(colour), f32(alpha))

    def at(points_: list[tuple[float, float]], side: float) -> F:
        return f32([(bx + side * a * s, base + b * s - y0) for a, b in points_])

    area = (h - y0, w)
    wn = neck / 0.52
    if kind == "blazer":
        inner = f32([0.95, 0.95, 0.94]) if shot.clothes_colour != "white" else f32([0.42, 0.55, 0.72])
        if shot.seed % 3 == 0 and shot.clothes_colour not in ("black", "gray"):
            inner = f32([0.16, 0.16, 0.19])
        vee = smooth(((1.75 - y) * 0.40 * wn - ax) * s * 0.6 + 0.5) * smooth((y + 0.02) * s * 0.5 + 0.2 * s * ax)
        bare = smooth(((0.52 - y) * 0.5 * wn - ax) * s * 0.6 + 0.5)
        shirt = inner * lit * (1 - 0.30 * np.exp(-(((ax - (1.75 - y) * 0.40 * wn) / 0.1) ** 2)))[..., None]
        over(canvas, where, f32(shirt), f32(vee * (1 - bare) * body))
        if not woman and shot.seed % 2 == 0:
            tie = f32(CLOTHES_COLOURS[("red", "blue", "black", "purple")[shot.seed % 4]]) / 255
            shape = polygon(
                area,
                f32(
                    [
                        (bx - 0.09 * s, base + 0.5 * s - y0),
                        (bx + 0.09 * s, base + 0.5 * s - y0),
                        (bx + 0.065 * s, base + 0.68 * s - y0),
                        (bx + 0.16 * s, base + 1.9 * s - y0),
                        (bx - 0.16 * s, base + 1.9 * s - y0),
                        (bx - 0.065 * s, base + 0.68 * s - y0),
                    ]
                ),
            )
            over(canvas, where, f32(tie * lit), f32(shape * vee))
    if kind in ("blazer", "shirt"):
        collar = inner if kind == "blazer" else f32(np.clip(cloth * 1.05, 0, 1))
        flap = [
            (0.50 * wn, -0.13),
            (0.64 * wn, 0.10),
            (0.47 * wn, 0.62),
            (0.06, 0.54),
            (0.26 * wn, 0.30),
            (0.43 * wn, 0.06),
        ]
        if kind == "blazer":
            flap = [
                (0.48 * wn, -0.12),
                (0.60 * wn, 0.08),
                (0.40 * wn, 0.66),
                (0.04, 0.52),
                (0.24 * wn, 0.28),
                (0.42 * wn, 0.06),
            ]
        for side in (-1.0, 1.0):
            shape = polygon(area, at(flap, side))
            cast_ = blur(shape, 0.10 * s) * (1 - shape) * body
            over(canvas, where, f32([0, 0, 0]), f32(0.28 * cast_))
            tone = collar * lit * (1.05 - 0.14 * smooth((ax - 0.3) * 3))[..., None]
            over(canvas, where, f32(tone), shape)
            edge = curve(area, [at(flap[1:4], side)], 0.022 * s)
            over(canvas, where, f32(collar * 0.55), f32(0.45 * edge))
    if kind == "blazer":
        lapel = [
            (0.62 * wn, 0.0),
            (0.86 * wn, 0.36),
            (0.98 * wn, 0.74),
            (0.72 * wn, 0.80),
            (0.83 * wn, 0.94),
            (0.02, 1.80),
            (0.34 * wn, 0.92),
            (0.54 * wn, 0.34),
        ]
        for side in (-1.0, 1.0):
            shape = polygon(area, at(lapel, side))
            cast_ = blur(shape, 0.10 * s) * (1 - shape) * body
            over(canvas, where, f32([0, 0, 0]), f32(0.30 * cast_))
            over(canvas, where, f32(np.clip(cloth * 1.06 + 0.015, 0, 1) * lit), f32(shape))
            edge = curve(area, [at(lapel[1:6], side)], 0.022 * s)
            over(canvas, where, f32(cloth * 0.5), f32(0.5 * edge))
    if kind == "shirt":
        seam = curve(area, [at([(0.075, 0.62), (0.075, 3.5)], 1.0)], 0.02 * s)
        over(canvas, where, f32(cloth * 0.5), f32(0.4 * seam * body))
        for i in range(4):
            dot = np.sqrt(x * x + (y - 0.85 - 0.55 * i) ** 2)
            over(
                canvas,
                where,
                f32([0.93, 0.92, 0.9]),
                f32(0.85 * smooth((0.04 - dot) * s * 0.6 + 0.5)),
            )
    if kind == "hoodie":
        hood = [
            (0.52 * wn, -0.20),
            (0.80 * wn, -0.02),
            (0.98 * wn, 0.26),
            (0.80 * wn, 0.56),
            (0.30, 0.72),
            (0.0, 0.70),
            (0.0, 0.40),
            (0.34 * wn, 0.30),
            (0.56 * wn, 0.08),
        ]
        for side in (-1.0, 1.0):
            shape = polygon(area, at(hood, side))
            cast_ = blur(shape, 0.12 * s) * (1 - shape) * body
            over(canvas, where, f32([0, 0, 0]), f32(0.3 * cast_))
            tone = cloth * lit * (0.88 + 0.16 * smooth((ring - 0.9) * 1.6))[..., None]
            over(canvas, where, f32(tone), shape)
            cord_ = curve(area, [at([(0.2, 0.62), (0.23, 1.0), (0.21, 1.45)], side)], 0.05 * s)
            over(canvas, where, f32([0.92, 0.92, 0.9]) * lit, f32(0.9 * cord_))


def _ears(canvas: F, p: Person, k: Landmarks, pose: Pose, light: Light, head: Solid) -> None:
    size = canvas.shape[1:]
    skin = skin_colour(p)
    big = 1 + 0.14 * p.ears
    for side in (-1.0, 1.0):
        a = float(head.at(f32([0.2]))[0][0])
        angle = np.linspace(0, 2 * np.pi, 25)
        r = 1 + 0.16 * np.sin(angle - 0.6)
        turn = 0.5
        du = 0.15 * big * np.cos(angle) * r
        dv = 0.31 * big * np.sin(angle) * (1 - 0.12 * np.cos(angle))
        pts = np.stack([side * (a + 0.02 + du * turn), 0.26 + dv + 0.05 * np.cos(angle), -0.05 - du * 0.85], 1)
        outline = pose.project(pts)
        n = pose.rotate(f32([side * 0.55, -0.1, 0.8]))
        lit = light.on(f32(n[None, None]), True)[0, 0]
        lo = np.maximum(np.floor(outline.min(0)).astype(int) - 4, 0)
        hi = np.ceil(outline.max(0)).astype(int) + 4
        where = (slice(lo[1], min(hi[1], size[0])), slice(lo[0], min(hi[0], size[1])))
        if where[0].stop <= where[0].start or where[1].stop <= where[1].start:
            continue
        area = (where[0].stop - lo[1], where[1].stop - lo[0])
        off = f32([lo[0], lo[1]])
        over(canvas, where, f32(skin * lit * f32([0.98, 0.9, 0.88])), polygon(area, outline - off))
        mid = outline.mean(0)
        inner = (outline - mid) * (0.62, 0.66) + mid - off
        shade = cv2.GaussianBlur(polygon(area, f32(inner)), (0, 0), max(0.03 * pose.scale, 0.5))
        over(canvas, where, f32(skin * lit * f32([0.62, 0.46, 0.42])), f32(0.62 * shade))


def _glasses(canvas: F, p: Person, k: Landmarks, pose: Pose, shadow_only: bool) -> None:
    size = canvas.shape[1:]
    hw, hh, power = {
        "round": (0.335, 0.30, 2.0),
        "square": (0.37, 0.27, 4.0),
        "thin": (0.36, 0.24, 2.8),
    }[p.glasses]
    width = {"round": 0.045, "square": 0.068, "thin": 0.028}[p.glasses] * pose.scale
    angle = np.linspace(0, 2 * np.pi, 49)
    cu = max(k.eye_u + 0.02, hw + 0.08)
    lines, lenses = [], []
    rise = 1.30

    def bend(u: F) -> F:
        return f32(rise - 0.26 * u * u)

    for side in (-1.0, 1.0):
        c, s = np.cos(angle), np.sin(angle)
        u = f32(side * cu + hw * np.sign(c) * np.abs(c) ** (2 / power))
        v = f32(0.045 + hh * np.sign(s) * np.abs(s) ** (2 / power))
        rim = pose.project(np.stack([u, v, bend(u)], 1))
        lines.append(rim)
        lenses.append(rim)
        out = cu + hw
        if side * pose.yaw < 0.05:
            arm = [
                (side * out, -0.05, rise - 0.26 * out * out),
                (side * 1.03, -0.06, 0.7),
                (side * 1.05, 0.0, 0.0),
            ]
            lines.append(pose.project(arm))
    x = np.linspace(-(cu - hw), cu - hw, 7)
    lines.append(pose.project(np.stack([x, -0.03 - 0.05 * np.cos(x / (cu - hw) * 1.57), bend(f32(x)) + 0.03], 1)))
    every = np.concatenate(lines)
    lo = np.maximum(np.floor(every.min(0)).astype(int) - 6, 0)
    hi = np.minimum(np.ceil(every.max(0)).astype(int) + 16, (size[1], size[0]))
    if (hi <= lo).any():
        return
    where = (slice(lo[1], hi[1]), slice(lo[0], hi[0]))
    area = (int(hi[1] - lo[1]), int(hi[0] - lo[0]))
    off = f32(lo)
    frame = curve(area, [line - off for line in lines], width)
    if shadow_only:
        moved = cv2.warpAffine(frame, f32([[1, 0, 0], [0, 1, 0.07 * pose.scale]]), (area[1], area[0]))
        over(
            canvas,
            where,
            f32([0.12, 0.05, 0.03]),
            f32(0.30 * cv2.GaussianBlur(moved, (0, 0), 0.035 * pose.scale) * canvas[3][where]),
        )
        return
    ys = f32(np.linspace(0, 1, area[0]))[:, None]
    for lens in lenses:
        glass = polygon(area, f32(lens - off))
        over(
            canvas,
            where,
            f32([0.9, 0.95, 1.0]),
            f32(glass * (0.03 + 0.09 * smooth((0.45 - ys) * 2))),
        )
    colour = {
        "black": (0.09, 0.09, 0.10),
        "brown": (0.33, 0.19, 0.11),
        "gold": (0.74, 0.58, 0.30),
        "red": (0.55, 0.11, 0.13),
    }[p.glasses_colour]
    over(canvas, where, f32(colour), frame)
    top = curve(area, [line - off - f32([0.0, width * 0.22]) for line in lines], max(width * 0.3, 1))
    over(canvas, where, f32([1, 1, 1]), f32(0.22 * top * frame))


def pose_of(p: Person, shot: Shot, size: tuple[int, int]) -> Pose:
    """Where the head of `p` is in a picture of `size` (height, width) drawn at that size."""
    h, w = size
    side = float(np.sqrt(h * w)) / 256
    unit = (46 + 15 * shot.zoom if shot.framing == "head shot" else 32.5 + 7 * shot.zoom) * side
    unit = min(unit, h / 3.95, w / 2.75)
    k_top, k_low = (1.75 if p.hair_style != "bun" else 1.95), 1.75
    room = max(h - (k_top + k_low) * unit, 0.0)
    share = 0.42 + 0.12 * shot.y if shot.framing == "head shot" else 0.26 + 0.08 * shot.y
    cy = k_top * unit + room * share
    cx = w / 2 + shot.x * max(w / 2 - 1.45 * unit, 0) * 0.55
    return Pose(math.radians(shot.yaw), math.radians(shot.pitch), math.radians(shot.roll), cx, cy, unit)


def figure(p: Person, shot: Shot, size: tuple[int, int], ambience: F) -> F:
    """The person alone: h×w×4 float32, premultiplied colour and coverage, 0..1.

    `ambience` (3, 0..1) is the colour that the surroundings throw on it.
    """
    h, w = size
    seen = pose_of(p, shot, size)
    pose = Pose(seen.yaw, seen.pitch, seen.roll, seen.cx * 2, seen.cy * 2, seen.scale * 2)
    canvas = np.zeros((4, 2 * h, 2 * w), np.float32)
    big = (2 * h, 2 * w)
    light = Light(shot, ambience)
    # The eyes follow the viewer most of the way.
    gaze = (-0.13 * math.sin(pose.yaw), -0.15 * math.sin(pose.pitch))
    maps, solid, k = face_maps(p, shot.expression, gaze)
    hair = hair_maps(p, k, solid)
    locks = None
    if hair is not None:
        hmaps, hsolid, _ = hair
        locks = surface(hmaps, hsolid, pose, big, light, "hair")
        colour, _, cover, where = locks
        if (p.hair_style in ("long", "medium", "curly") and p.gender == "woman") or p.hair_style == "medium":
            behind = hair_colour(p) * f32([0.42, 0.40, 0.40]) + 0.25 * colour * 0.5
            over(canvas, where, f32(behind), cover)
        if p.hair_style == "bun":
            _bun(canvas, p, k, pose, light)
    _body(canvas, p, shot, k, pose, light)
    _ears(canvas, p, k, pose, light, solid)
    colour, alpha, _, where = surface(maps, solid, pose, big, light, "flesh")
    if locks is not None:
        shade = np.zeros(big, np.float32)
        shade[locks[3]] = locks[1]
        moved = np.roll(blur(shade, 0.09 * pose.scale), int(0.07 * pose.scale), 0)[where]
        colour = colour * (1 - f32([0.36, 0.44, 0.46]) * moved[..., None])
    over(canvas, where, f32(colour), alpha)
    if p.glasses != "none":
        _glasses(canvas, p, k, pose, True)
        _glasses(canvas, p, k, pose, False)
    if locks is not None:
        over(canvas, locks[3], locks[0], locks[1])
    return f32(cv2.resize(cv2.merge(list(canvas)), (w, h), interpolation=cv2.INTER_AREA))


def _bun(canvas: F, p: Person, k: Landmarks, pose: Pose, light: Light) -> None:
    rng = np.random.default_rng((p.seed, 4))
    c = pose.project([(0.12 * p.parting, k.crown - 0.16, -0.3)])[0]
    r = (0.46 + 0.05 * p.ears) * pose.scale
    x0, y0 = max(int(c[0] - r - 2), 0), max(int(c[1] - r - 2), 0)
    x1, y1 = min(int(c[0] + r + 3), canvas.shape[2]), min(int(c[1] + r + 3), canvas.shape[1])
    if x1 <= x0 or y1 <= y0:
        return
    x = (f32(np.arange(x0, x1))[None] - c[0]) / r
    y = (f32(np.arange(y0, y1))[:, None] - c[1]) / r * 1.1
    q = x * x + y * y
    n = f32(cv2.merge([x + 0 * y, y + 0 * x, f32(np.sqrt(np.clip(1 - q, 0.02, 1)))]))
    twirl = np.arctan2(y, x) + 2.2 * np.sqrt(q)
    row = rng.uniform(-1, 1, 90)
    strand = np.interp((twirl * 14) % 90, np.arange(90), row)
    colour = hair_colour(p) * light.on(n, False) * (1 + 0.22 * strand)[..., None]
    colour += (0.12 * light.glint(n, 14) * (1 + strand))[..., None] * (0.2 + 0.6 * hair_colour(p))
    over(
        canvas,
        (slice(y0, y1), slice(x0, x1)),
        f32(colour),
        smooth((1 - np.sqrt(q)) * r * 0.5 + 0.5),
    )
