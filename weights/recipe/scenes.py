"""The places behind the people: each with its own colours and structure, slightly out of focus."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

F = npt.NDArray[np.float32]
Colour = tuple[float, float, float]


class Board:
    """A picture to paint on, in coordinates of 0..1 both ways.

    Lengths that must not stretch (radii, widths) are in shares of the shorter side.
    """

    def __init__(self, size: tuple[int, int], rng: np.random.Generator) -> None:
        """An empty board of `size` (height, width)."""
        self.h, self.w = size
        self.short = min(size)
        self.rng = rng
        self.im = np.zeros((self.h, self.w, 3), np.uint8)

    def tint(self, colour: Colour, spread: float = 0.06) -> Colour:
        """`colour` (0..255) with a random lightness and a slight random hue."""
        k = self.rng.uniform(1 - spread, 1 + spread)
        c = np.asarray(colour) * k + self.rng.uniform(-5, 5, 3)
        c = np.clip(c, 0, 255)
        return float(c[0]), float(c[1]), float(c[2])

    def _p(self, x: float, y: float) -> tuple[int, int]:
        return round((x * self.w - 0.5) * 16), round((y * self.h - 0.5) * 16)

    def ramp(self, y0: float, y1: float, top: Colour, bottom: Colour) -> None:
        """A vertical gradient over the rows y0..y1."""
        a, b = round(y0 * self.h), round(y1 * self.h)
        if b > a:
            t = np.linspace(0, 1, b - a)[:, None, None]
            self.im[a:b] = np.asarray(top) * (1 - t) + np.asarray(bottom) * t

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """A filled rectangle."""
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def poly(self, points: list[tuple[float, float]], colour: Colour) -> None:
        """A filled polygon."""
        pts = np.array([self._p(x, y) for x, y in points], np.int32)
        cv2.fillPoly(self.im, [pts], colour, cv2.LINE_AA, 4)

    def disc(self, x: float, y: float, r: float, colour: Colour) -> None:
        """A filled circle."""
        cv2.circle(self.im, self._p(x, y), max(round(r * self.short * 16), 1), colour, -1, cv2.LINE_AA, 4)

    def oval(self, x: float, y: float, rx: float, ry: float, turn: float, colour: Colour) -> None:
        """A filled ellipse turned by `turn` degrees."""
        axes = (max(round(rx * self.short * 16), 1), max(round(ry * self.short * 16), 1))
        cv2.ellipse(self.im, self._p(x, y), axes, turn, 0, 360, colour, -1, cv2.LINE_AA, 4)

    def line(self, x0: float, y0: float, x1: float, y1: float, width: float, colour: Colour) -> None:
        """A straight stroke."""
        cv2.line(
            self.im,
            self._p(x0, y0),
            self._p(x1, y1),
            colour,
            max(1, round(width * self.short)),
            cv2.LINE_AA,
            4,
        )

    def glow(self, x: float, y: float, r: float, colour: Colour, strength: float) -> None:
        """Light added around a point."""
        xs = (np.arange(self.w) / self.w - x) * self.w / self.short
        ys = (np.arange(self.h) / self.h - y) * self.h / self.short
        g = np.outer(np.exp(-((ys / r) ** 2)), np.exp(-((xs / r) ** 2))) * strength
        lit = self.im + np.asarray(colour, np.float32) * g.astype(np.float32)[..., None]
        self.im = np.clip(lit, 0, 255).astype(np.uint8)

    def mottle(self, y0: float, y1: float, cells: int, amount: float) -> None:
        """Uneven lightness over the rows y0..y1."""
        a, b = round(y0 * self.h), round(y1 * self.h)
        if b <= a:
            return
        rows = max(2, int(cells * (b - a) / self.w))
        grid = self.rng.uniform(-amount, amount, (rows, cells)).astype(np.float32)
        field = cv2.resize(grid, (self.w, b - a), interpolation=cv2.INTER_CUBIC)
        self.im[a:b] = np.clip(self.im[a:b] * (1 + field[..., None]), 0, 255)

    def soften(self, share: float) -> None:
        """Blur by a share of the shorter side: what is behind is out of focus."""
        self.im = cv2.GaussianBlur(self.im, (0, 0), max(share * self.short, 0.4)).astype(np.uint8)


def _books(b: Board, x0: float, x1: float, y: float, height: float) -> None:
    tones = (
        (150, 52, 46),
        (44, 78, 120),
        (62, 110, 74),
        (214, 178, 98),
        (92, 58, 104),
        (230, 222, 204),
        (60, 56, 60),
    )
    x = x0
    while x < x1 - 0.008:
        w = b.rng.uniform(0.012, 0.032)
        top = y - height * b.rng.uniform(0.68, 0.95)
        tone = b.tint(tones[int(b.rng.integers(len(tones)))], 0.2)
        end = min(x + w, x1)
        b.box(x, top, end - 0.002, y, tone)
        b.box(x, top + 0.02, end - 0.002, top + 0.03, b.tint((220, 200, 150), 0.2))
        x = end


def _plant(b: Board, x: float, y: float, r: float) -> None:
    pot = b.tint((196, 120, 84), 0.15)
    b.poly(
        [
            (x - r * 0.4, y - r * 0.8),
            (x + r * 0.4, y - r * 0.8),
            (x + r * 0.3, y),
            (x - r * 0.3, y),
        ],
        pot,
    )
    for _ in range(14):
        a = b.rng.uniform(200, 340)
        length = r * b.rng.uniform(0.7, 1.3)
        px = x + np.cos(np.deg2rad(a)) * length * 0.6
        py = y - r * 0.8 + np.sin(np.deg2rad(a)) * length * 0.8
        b.oval(px, py, length * 0.55, r * 0.15, a, b.tint((62, 128, 66), 0.28))


def _office(b: Board) -> None:
    flip = b.rng.random() < 0.5
    b.ramp(0, 1, b.tint((214, 220, 226)), b.tint((188, 196, 204)))
    x0, x1 = (0.02, 0.44) if flip else (0.56, 0.98)
    b.box(x0 - 0.015, 0.06, x1 + 0.015, 0.62, (240, 242, 244))
    b.box(x0, 0.08, x1, 0.60, b.tint((156, 200, 232)))
    for i in range(5):
        left = x0 + (x1 - x0) * i / 5
        height = b.rng.uniform(0.1, 0.34)
        b.box(left, 0.60 - height, left + (x1 - x0) / 5.4, 0.60, b.tint((138, 166, 190), 0.12))
    for i in range(1, 3):
        at = x0 + (x1 - x0) * i / 3
        b.line(at, 0.08, at, 0.60, 0.016, (244, 245, 246))
    n = int(b.rng.integers(4, 8))
    for i in range(n):
        b.line(x0, 0.08 + 0.022 * i, x1, 0.08 + 0.022 * i, 0.008, (226, 230, 234))
    s0, s1 = (0.58, 0.98) if flip else (0.02, 0.42)
    for y in (0.20, 0.38, 0.56):
        _books(b, s0 + 0.02, s0 + (s1 - s0) * b.rng.uniform(0.5, 0.8), y, 0.13)
        b.box(s0, y, s1, y + 0.018, b.tint((150, 116, 84)))
    _plant(b, s1 - 0.06, 0.56 if b.rng.random() < 0.5 else 0.38, 0.09)
    desk = b.rng.uniform(0.74, 0.82)
    b.box(0, desk, 1, 1, b.tint((168, 130, 94)))
    b.box(0, desk, 1, desk + 0.015, (206, 174, 136))
    mx = 0.80 if flip else 0.20
    b.box(mx - 0.14, desk - 0.18, mx + 0.14, desk - 0.01, (44, 48, 56))
    b.box(mx - 0.125, desk - 0.165, mx + 0.125, desk - 0.03, b.tint((92, 132, 176), 0.15))
    b.soften(0.009)


def _cafe(b: Board) -> None:
    b.ramp(0, 0.7, b.tint((120, 78, 52), 0.1), b.tint((96, 60, 40), 0.1))
    rows, cols = 9, 8
    for i in range(rows):
        for j in range(-1, cols):
            x = (j + 0.5 * (i % 2)) / cols
            b.box(
                x + 0.004,
                i * 0.07 + 0.004,
                x + 1 / cols - 0.004,
                i * 0.07 + 0.064,
                b.tint((132, 80, 54), 0.1),
            )
    bx = b.rng.uniform(0.04, 0.5)
    b.box(bx, 0.2, bx + 0.44, 0.46, (58, 40, 30))
    b.box(bx + 0.015, 0.215, bx + 0.425, 0.445, (42, 48, 46))
    for i in range(5):
        b.line(
            bx + 0.05,
            0.26 + 0.035 * i,
            bx + b.rng.uniform(0.2, 0.39),
            0.26 + 0.035 * i,
            0.009,
            (206, 202, 186),
        )
    side = 0.03 if bx > 0.27 else 0.62
    for y in (0.32, 0.50):
        b.box(side, y, side + 0.34, y + 0.018, (70, 44, 28))
        for i in range(6):
            x = side + 0.03 + 0.055 * i
            tone = b.tint(((226, 214, 190), (176, 96, 60), (92, 118, 96))[int(b.rng.integers(3))], 0.12)
            b.box(x, y - b.rng.uniform(0.05, 0.09), x + 0.038, y, tone)
    counter = b.rng.uniform(0.66, 0.74)
    b.ramp(counter, 1, b.tint((104, 62, 36)), (64, 38, 24))
    b.box(0, counter, 1, counter + 0.025, (196, 144, 94))
    for i in range(8):
        b.line(i / 7, counter + 0.03, i / 7, 1, 0.006, (72, 42, 26))
    for _ in range(3):
        x = b.rng.uniform(0.04, 0.96)
        b.box(x - 0.03, counter - 0.055, x + 0.03, counter, (240, 232, 218))
        b.oval(x + 0.035, counter - 0.03, 0.016, 0.018, 0, (232, 222, 206))
    for i in range(3):
        x, y = 0.16 + 0.34 * i + b.rng.uniform(-0.07, 0.07), b.rng.uniform(0.1, 0.2)
        b.line(x, 0, x, y - 0.04, 0.007, (30, 22, 18))
        b.poly(
            [
                (x - 0.028, y - 0.05),
                (x + 0.028, y - 0.05),
                (x + 0.075, y + 0.01),
                (x - 0.075, y + 0.01),
            ],
            (40, 30, 26),
        )
        b.oval(x, y + 0.01, 0.055, 0.018, 0, (255, 236, 176))
        b.glow(x, y + 0.03, 0.22, (255, 176, 84), 0.5)
    b.soften(0.009)


def _beach(b: Board) -> None:
    sea = b.rng.uniform(0.46, 0.56)
    sand = sea + b.rng.uniform(0.15, 0.22)
    b.ramp(0, sea, b.tint((74, 158, 228)), b.tint((188, 224, 244), 0.03))
    for _ in range(5):
        x, y = b.rng.uniform(0, 1), b.rng.uniform(0.05, sea - 0.15)
        for _ in range(6):
            b.oval(
                x + b.rng.uniform(-0.1, 0.1),
                y + b.rng.uniform(-0.02, 0.015),
                b.rng.uniform(0.03, 0.09),
                b.rng.uniform(0.015, 0.03),
                0,
                (240, 246, 250),
            )
    b.ramp(sea, sand, b.tint((22, 108, 168)), b.tint((78, 194, 202)))
    for _ in range(18):
        x, y = b.rng.uniform(0, 1), b.rng.uniform(sea + 0.02, sand)
        b.line(x, y, x + b.rng.uniform(0.03, 0.12), y, 0.006, (146, 214, 222))
    b.ramp(sand, 1, b.tint((240, 216, 166), 0.04), b.tint((218, 186, 132), 0.05))
    b.mottle(sand, 1, 26, 0.06)
    xs = np.linspace(0, 1, 20)
    wave = [(float(x), sand + 0.012 * float(np.sin(9 * x + sea * 90))) for x in xs]
    b.poly([*wave, *[(x, y + 0.022) for x, y in reversed(wave)]], (248, 250, 246))
    if b.rng.random() < 0.8:
        side = -1 if b.rng.random() < 0.5 else 1
        x = 0.5 + side * b.rng.uniform(0.30, 0.42)
        tx, ty = x - side * 0.05, b.rng.uniform(0.12, 0.22)
        for i in range(12):
            f = i / 11
            b.line(
                x + (tx - x) * f**1.5,
                0.86 + (ty - 0.86) * f,
                x + (tx - x) * ((i + 1) / 11) ** 1.5,
                0.86 + (ty - 0.86) * (i + 1) / 11,
                0.034 - 0.014 * f,
                b.tint((128, 92, 60), 0.1),
            )
        for a in np.linspace(150, 390, 9):
            r = np.deg2rad(a + b.rng.uniform(-8, 8))
            mx, my = tx + 0.13 * np.cos(r), ty + 0.10 * np.sin(r) - 0.02
            ex, ey = tx + 0.25 * np.cos(r), ty + 0.17 * np.sin(r) + 0.09
            tone = b.tint((46, 124, 62), 0.25)
            b.poly([(tx, ty), (mx, my - 0.025), (ex, ey), (mx, my + 0.022)], tone)
    if b.rng.random() < 0.5:
        x = b.rng.uniform(0.1, 0.9)
        b.poly([(x, sea + 0.01), (x + 0.05, sea + 0.01), (x + 0.025, sea - 0.12)], (250, 250, 248))
    b.soften(0.007)


def _house(b: Board, x0: float, x1: float, top: float, low: float, wall: Colour, night: bool) -> None:
    b.box(x0, top, x1, low, wall)
    cols = max(2, int((x1 - x0) / 0.06))
    y = top + 0.03
    while y < low - 0.14:
        for j in range(cols):
            x = x0 + (x1 - x0) * (j + 0.22) / cols
            if night:
                tone = b.tint((255, 206, 112), 0.2) if b.rng.random() < 0.5 else b.tint((34, 42, 78), 0.2)
            else:
                tone = b.tint((96, 116, 136), 0.25)
            b.box(x, y, x + (x1 - x0) * 0.55 / cols, y + 0.042, tone)
        y += 0.075


def _street(b: Board) -> None:
    b.ramp(0, 0.6, b.tint((150, 190, 224)), (226, 232, 234))
    low = b.rng.uniform(0.68, 0.74)
    walls = ((178, 98, 76), (212, 186, 150), (156, 148, 142), (196, 142, 104), (140, 118, 110))
    x = -0.05
    while x < 1:
        w = b.rng.uniform(0.16, 0.28)
        mid = abs(x + w / 2 - 0.5)
        top = max(0.30 - 0.8 * mid + b.rng.uniform(-0.06, 0.06), -0.1)
        wall = b.tint(walls[int(b.rng.integers(len(walls)))], 0.1)
        _house(b, x, x + w, top, low, wall, False)
        shop = b.tint(((176, 46, 44), (40, 92, 82), (46, 72, 120))[int(b.rng.integers(3))], 0.15)
        b.box(x + 0.01, low - 0.12, x + w - 0.01, low, b.tint((82, 92, 98), 0.2))
        b.box(x, low - 0.135, x + w, low - 0.10, shop)
        x += w
    b.box(0, low, 1, low + 0.05, b.tint((190, 186, 180)))
    b.ramp(low + 0.05, 1, b.tint((104, 106, 110)), b.tint((82, 84, 88)))
    for i in range(5):
        b.poly(
            [
                (0.02 + 0.24 * i, 0.90),
                (0.12 + 0.24 * i, 0.90),
                (0.11 + 0.24 * i, 0.925),
                (0.0 + 0.24 * i, 0.925),
            ],
            (232, 228, 212),
        )
    cx = b.rng.choice([b.rng.uniform(0.0, 0.2), b.rng.uniform(0.66, 0.86)])
    car = b.tint(((196, 40, 40), (240, 196, 50), (44, 92, 160), (236, 236, 236))[int(b.rng.integers(4))])
    b.poly(
        [
            (cx + 0.04, low - 0.02),
            (cx + 0.08, low - 0.09),
            (cx + 0.2, low - 0.09),
            (cx + 0.25, low - 0.02),
        ],
        (70, 84, 98),
    )
    b.box(cx, low - 0.03, cx + 0.3, low + 0.055, car)
    for k in (0.065, 0.235):
        b.disc(cx + k, low + 0.055, 0.032, (34, 34, 38))
    lx = b.rng.choice([0.1, 0.9]) + b.rng.uniform(-0.05, 0.05)
    b.line(lx, 0.16, lx, low + 0.04, 0.014, (52, 56, 58))
    b.disc(lx, 0.15, 0.03, (246, 240, 220))
    b.soften(0.009)


def _studio(b: Board) -> None:
    tones = (
        (128, 134, 142),
        (96, 112, 134),
        (176, 168, 160),
        (120, 104, 112),
        (92, 118, 116),
        (196, 200, 204),
    )
    tone = np.asarray(b.tint(tones[int(b.rng.integers(len(tones)))], 0.1))
    xs = (np.arange(b.w) / b.w - b.rng.uniform(0.35, 0.65)) * b.w / b.short
    ys = (np.arange(b.h) / b.h - b.rng.uniform(0.3, 0.5)) * b.h / b.short
    r = np.sqrt(xs[None] ** 2 + ys[:, None] ** 2)
    light = 1.26 - 0.62 * np.clip(r / 0.95, 0, 1) ** 1.3
    b.im = np.clip(tone[None, None] * light[..., None], 0, 255).astype(np.uint8)
    b.mottle(0, 1, 5, 0.03)


def _leaves(b: Board, n: int, y0: float, y1: float, tone: Colour, r: float) -> None:
    for _ in range(n):
        b.oval(
            b.rng.uniform(0, 1),
            b.rng.uniform(y0, y1),
            r * b.rng.uniform(0.6, 1.3),
            r * b.rng.uniform(0.35, 0.7),
            b.rng.uniform(0, 180),
            b.tint(tone, 0.3),
        )


def _garden(b: Board) -> None:
    b.ramp(0, 0.4, b.tint((176, 216, 236)), b.tint((204, 230, 190)))
    b.box(0, 0.28, 1, 1, b.tint((66, 118, 58)))
    _leaves(b, 34, 0.0, 0.3, (92, 156, 76), 0.09)
    _leaves(b, 60, 0.24, 0.66, (70, 132, 60), 0.06)
    lawn = b.rng.uniform(0.66, 0.74)
    b.ramp(lawn, 1, b.tint((122, 182, 78)), b.tint((84, 148, 58)))
    b.mottle(lawn, 1, 30, 0.09)
    kinds = (
        (232, 64, 88),
        (248, 206, 62),
        (244, 150, 190),
        (250, 250, 244),
        (168, 96, 204),
        (244, 122, 52),
    )
    first, second = b.rng.choice(len(kinds), 2, replace=False)
    for _ in range(46):
        x, y = b.rng.uniform(0, 1), b.rng.uniform(0.36, 0.92)
        r = 0.011 + 0.016 * (y - 0.3)
        petal = b.tint(kinds[int(first if b.rng.random() < 0.6 else second)], 0.08)
        for a in np.linspace(0, 2 * np.pi, 5, endpoint=False):
            b.disc(x + r * 0.9 * np.cos(a), y + r * 0.9 * np.sin(a), r * 0.75, petal)
        b.disc(x, y, r * 0.55, (250, 214, 90))
    b.glow(b.rng.uniform(0, 1), 0, 0.5, (255, 246, 190), 0.28)
    b.soften(0.008)


def _library(b: Board) -> None:
    b.ramp(0, 1, (74, 46, 30), (52, 32, 22))
    bays = int(b.rng.integers(2, 4))
    off = b.rng.uniform(-0.15, 0.0)
    rows = 5
    for i in range(rows):
        y = 0.17 + 0.19 * i
        _books(b, 0, 1, y, 0.165)
        b.box(0, y, 1, y + 0.024, b.tint((134, 84, 48), 0.06))
    for j in range(bays + 2):
        x = off + j / bays
        b.box(x, 0, x + 0.035, 1, (112, 68, 38))
        b.box(x, 0, x + 0.008, 1, (150, 98, 60))
    x = b.rng.choice([0.14, 0.86])
    b.glow(x, 0.3, 0.45, (255, 190, 96), 0.3)
    if b.rng.random() < 0.6:
        b.line(x, 0.8, x, 0.9, 0.02, (164, 130, 60))
        b.poly([(x - 0.1, 0.80), (x + 0.1, 0.80), (x + 0.07, 0.73), (x - 0.07, 0.73)], (36, 118, 78))
        b.box(0, 0.9, 1, 1, b.tint((110, 66, 38)))
    b.soften(0.008)


def _kitchen(b: Board) -> None:
    b.ramp(0, 1, b.tint((240, 236, 222), 0.03), (226, 220, 204))
    front = b.tint(
        ((112, 166, 160), (238, 240, 236), (122, 156, 190), (188, 206, 160))[int(b.rng.integers(4))],
        0.05,
    )
    knob = (214, 178, 110)
    gap = b.rng.choice([0.0, 0.32, 0.64])
    for i in range(3):
        x = i / 3
        if abs(x - gap) < 0.1:
            continue
        b.box(x + 0.008, -0.02, x + 0.325, 0.28, front)
        b.box(x + 0.03, 0.02, x + 0.30, 0.255, b.tint(front, 0.04))
        b.disc(x + 0.29, 0.22, 0.012, knob)
    step = 0.055
    for i in range(6):
        for j in range(int(1 / step) + 1):
            b.box(
                j * step + 0.003,
                0.31 + i * step,
                (j + 1) * step - 0.003,
                0.31 + (i + 1) * step - 0.006,
                b.tint((246, 246, 240), 0.03),
            )
    if gap > 0:
        b.box(gap + 0.02, 0.02, gap + 0.30, 0.5, (250, 250, 248))
        b.box(gap + 0.04, 0.04, gap + 0.28, 0.48, b.tint((184, 222, 240)))
        b.line(gap + 0.16, 0.04, gap + 0.16, 0.48, 0.014, (250, 250, 248))
    top = b.rng.uniform(0.66, 0.70)
    b.box(0, top, 1, top + 0.035, b.tint((176, 128, 82)))
    for i in range(4):
        b.box(i / 4 + 0.006, top + 0.045, i / 4 + 0.244, 1, front)
        b.line(i / 4 + 0.07, top + 0.09, i / 4 + 0.18, top + 0.09, 0.014, knob)
    pot = b.rng.choice([0.16, 0.84])
    b.box(pot - 0.09, top - 0.11, pot + 0.09, top, b.tint((196, 68, 52), 0.1))
    b.box(pot - 0.10, top - 0.125, pot + 0.10, top - 0.105, (224, 224, 224))
    other = 1 - pot
    for _ in range(5):
        b.disc(
            other + b.rng.uniform(-0.08, 0.08),
            top - b.rng.uniform(0.05, 0.08),
            0.032,
            b.tint((240, 160, 48), 0.12),
        )
    b.poly(
        [
            (other - 0.13, top - 0.05),
            (other + 0.13, top - 0.05),
            (other + 0.07, top),
            (other - 0.07, top),
        ],
        (236, 236, 230),
    )
    b.soften(0.008)


def _mountains(b: Board) -> None:
    b.ramp(0, 0.6, b.tint((104, 164, 222)), b.tint((220, 230, 236), 0.03))

    def ridge(base: float, high: float, tone: Colour, snow: bool) -> None:
        n = int(b.rng.integers(3, 5))
        for i in range(n):
            x = (i + b.rng.uniform(0.1, 0.9)) / n
            y = base - high * b.rng.uniform(0.7, 1.1)
            half = b.rng.uniform(0.24, 0.36)
            c = b.tint(tone, 0.06)
            b.poly([(x - half, base), (x, y), (x + half, base)], c)
            b.poly(
                [(x, y), (x + half, base), (x + half * 0.1, base)],
                (c[0] * 0.8, c[1] * 0.82, c[2] * 0.86),
            )
            if snow:
                d = (base - y) * 0.34
                k = half * 0.34
                b.poly(
                    [
                        (x, y),
                        (x + k, y + d),
                        (x + k * 0.4, y + d * 0.75),
                        (x, y + d * 1.1),
                        (x - k * 0.45, y + d * 0.7),
                        (x - k, y + d),
                    ],
                    (244, 248, 252),
                )

    ridge(0.62, 0.46, (126, 146, 176), True)
    ridge(0.68, 0.24, (92, 118, 132), False)
    b.ramp(0.66, 1, b.tint((86, 126, 84)), b.tint((60, 98, 60)))
    for row in range(2):
        for _ in range(13):
            x, y = b.rng.uniform(-0.02, 1.02), 0.76 + 0.12 * row + b.rng.uniform(-0.03, 0.03)
            r = 0.055 + 0.035 * row
            tone = b.tint((34, 84, 58), 0.2)
            for t in range(3):
                b.poly(
                    [
                        (x - r * (0.5 + 0.25 * t), y - r * (1.9 - 0.75 * t)),
                        (x, y - r * (3.1 - 0.8 * t)),
                        (x + r * (0.5 + 0.25 * t), y - r * (1.9 - 0.75 * t)),
                    ],
                    tone,
                )
    b.soften(0.007)


def _night(b: Board) -> None:
    b.ramp(0, 1, b.tint((16, 20, 54)), b.tint((64, 40, 96)))
    low = 0.78
    x = -0.04
    while x < 1:
        w = b.rng.uniform(0.12, 0.22)
        _house(b, x, x + w, b.rng.uniform(0.05, 0.42), low, b.tint((26, 28, 58), 0.2), True)
        x += w + b.rng.uniform(0, 0.02)
    b.ramp(low, 1, (34, 30, 58), (18, 18, 36))
    lights = ((255, 84, 150), (80, 200, 255), (255, 190, 80), (180, 96, 255), (255, 110, 70))
    for _ in range(3):
        x, y = b.rng.uniform(0.02, 0.85), b.rng.uniform(0.5, 0.7)
        tone = lights[int(b.rng.integers(len(lights)))]
        b.box(x, y, x + b.rng.uniform(0.06, 0.14), y + 0.035, tone)
        b.glow(x + 0.05, y, 0.16, tone, 0.4)
    b.soften(0.008)
    spots: F = np.zeros(b.im.shape, np.float32)
    for _ in range(26):
        tone = lights[int(b.rng.integers(len(lights)))]
        cx, cy = b._p(b.rng.uniform(0, 1), b.rng.uniform(0.35, 0.98))
        cv2.circle(
            spots,
            (cx, cy),
            round(b.rng.uniform(0.016, 0.042) * b.short * 16),
            tone,
            -1,
            cv2.LINE_AA,
            4,
        )
    spots = np.asarray(cv2.GaussianBlur(spots, (0, 0), 0.006 * b.short), np.float32)
    b.im = np.clip(b.im + spots * 0.55, 0, 255).astype(np.uint8)


PAINTERS: dict[str, Callable[[Board], None]] = {
    "office": _office,
    "cafe": _cafe,
    "beach": _beach,
    "street": _street,
    "studio": _studio,
    "garden": _garden,
    "library": _library,
    "kitchen": _kitchen,
    "mountains": _mountains,
    "night city": _night,
}


def scene(name: str, seed: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The place called `name` in a layout of its `seed`: h×w×3 uint8 RGB."""
    board = Board(size, np.random.default_rng((seed, 7)))
    PAINTERS[name](board)
    return np.ascontiguousarray(board.im, dtype=np.uint8)
