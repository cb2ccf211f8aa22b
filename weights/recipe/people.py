"""Invented people (`Person`) and the pictures they are in (`Shot`), sampled from a generator.

A `Person` holds everything that makes a face recognisable and nothing else; a `Shot` holds
everything that may change from picture to picture. Nothing here draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SCENES = (
    "office",
    "cafe",
    "beach",
    "street",
    "studio",
    "garden",
    "library",
    "kitchen",
    "mountains",
    "night city",
)
CLOTHES = ("t-shirt", "shirt", "blazer", "sweater", "dress", "hoodie")
CLOTHES_COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (196, 44, 46),
    "blue": (44, 84, 176),
    "green": (46, 128, 76),
    "yellow": (236, 194, 62),
    "black": (40, 40, 46),
    "white": (238, 238, 236),
    "gray": (132, 136, 142),
    "pink": (232, 142, 168),
    "purple": (118, 70, 152),
    "orange": (232, 122, 44),
}
HAIR_COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (34, 29, 30),
    "dark brown": (62, 42, 33),
    "brown": (106, 68, 44),
    "blonde": (214, 174, 108),
    "red": (166, 68, 32),
    "gray": (150, 150, 152),
    "white": (222, 221, 218),
}
EYE_COLOURS: dict[str, tuple[int, int, int]] = {
    "brown": (98, 58, 30),
    "blue": (70, 130, 190),
    "green": (84, 138, 84),
    "gray": (128, 142, 150),
}
STYLES_WOMAN = ("long", "long", "medium", "medium", "short", "bun", "curly")
STYLES_MAN = ("short", "short", "short", "crop", "crop", "bald", "medium", "curly")
EXPRESSIONS = ("neutral", "smile", "open smile")
FRAMINGS = ("head shot", "half shot")


@dataclass(frozen=True)
class Person:
    """One invented identity. The fields after `seed` are geometry in −1..1, 0 the average face."""

    gender: str
    age: str
    skin: float
    """0 the lightest .. 1 the darkest."""
    skin_warmth: float
    """−1 cool and pink .. 1 warm and olive."""
    hair_colour: str
    hair_tone: float
    """−1 darker .. 1 lighter than the named colour."""
    hair_style: str
    fringe: bool
    parting: float
    """−1 the picture's left .. 1 its right."""
    eye_colour: str
    glasses: str
    """none, round, square or thin."""
    glasses_colour: str
    beard: str
    """none, stubble, moustache, goatee or beard."""
    freckles: bool
    wrinkles: float
    """0 smooth .. 1 deeply lined."""
    seed: int
    """Of the marks that belong to the skin and the hair: freckles, strands."""
    face_width: float
    face_length: float
    jaw: float
    chin_width: float
    chin_length: float
    cheekbones: float
    eye_gap: float
    eye_size: float
    eye_tilt: float
    eye_open: float
    brow_thickness: float
    brow_arch: float
    brow_height: float
    brow_tilt: float
    nose_length: float
    nose_width: float
    nose_bridge: float
    nose_tip: float
    mouth_width: float
    mouth_height: float
    upper_lip: float
    lower_lip: float
    ears: float
    forehead: float

    @property
    def skin_name(self) -> str:
        """light, olive, brown or dark."""
        if self.skin < 0.27:
            return "light"
        if self.skin < 0.5:
            return "olive"
        return "brown" if self.skin < 0.75 else "dark"


@dataclass(frozen=True)
class Shot:
    """One picture's circumstances; any `Person` can be drawn in any `Shot`."""

    scene: str
    clothes: str
    clothes_colour: str
    framing: str
    yaw: float
    """Degrees, positive: the nose points to the picture's right."""
    pitch: float
    """Degrees, positive: the nose points down."""
    roll: float
    """Degrees, positive: clockwise in the picture."""
    expression: str
    light_x: float
    """−1 from the picture's left .. 1 from its right."""
    light_y: float
    """0 level .. 1 from above."""
    warmth: float
    """−1 cold .. 1 warm light."""
    x: float
    """−1..1, how far the head is off the middle, in the room that the frame leaves."""
    y: float
    zoom: float
    """0 the widest .. 1 the closest of its framing."""
    seed: int
    """Of the scene's layout and tints and of the clothes' folds."""


_FIELDS = tuple(Person.__dataclass_fields__)
GEOMETRY = _FIELDS[_FIELDS.index("face_width") :]


def _pick(rng: np.random.Generator, names: tuple[str, ...], odds: tuple[float, ...]) -> str:
    share = np.asarray(odds, dtype=np.float64)
    return names[int(rng.choice(len(names), p=share / share.sum()))]


def sample_person(rng: np.random.Generator) -> Person:
    """An invented identity, from `rng` alone."""
    woman = bool(rng.random() < 0.55)
    age = _pick(rng, ("young", "middle-aged", "old"), (0.5, 0.27, 0.23))
    skin = float(
        rng.choice(
            [
                rng.uniform(0, 0.27),
                rng.uniform(0.27, 0.5),
                rng.uniform(0.5, 0.75),
                rng.uniform(0.75, 1),
            ],
            p=[0.45, 0.22, 0.17, 0.16],
        )
    )
    names = tuple(HAIR_COLOURS)
    if skin < 0.3:
        odds: tuple[float, ...] = (0.2, 0.12, 0.22, 0.24, 0.2, 0.02, 0.0)
    elif skin < 0.5:
        odds = (0.36, 0.2, 0.26, 0.1, 0.06, 0.02, 0.0)
    else:
        odds = (0.64, 0.22, 0.08, 0.03, 0.02, 0.01, 0.0)
    if age == "middle-aged":
        odds = (*tuple(o * 0.85 for o in odds[:5]), 0.13, 0.02)
    elif age == "old":
        odds = (*tuple(o * 0.15 for o in odds[:5]), 0.45, 0.4)
    hair_colour = _pick(rng, names, odds)
    style = str(rng.choice(STYLES_WOMAN if woman else STYLES_MAN))
    if skin < 0.4:
        eyes = _pick(rng, tuple(EYE_COLOURS), (0.3, 0.32, 0.22, 0.16))
    else:
        eyes = _pick(rng, tuple(EYE_COLOURS), (0.86, 0.03, 0.07, 0.04))
    beard = "none"
    if not woman:
        beard = _pick(rng, ("none", "stubble", "moustache", "goatee", "beard"), (0.42, 0.17, 0.09, 0.09, 0.23))
    glasses = _pick(rng, ("none", "round", "square", "thin"), (0.7, 0.1, 0.12, 0.08))
    lines = {"young": (0.0, 0.08), "middle-aged": (0.28, 0.5), "old": (0.7, 1.0)}[age]
    shape = np.clip(rng.normal(0, 0.66, len(GEOMETRY)), -1.15, 1.15)
    return Person(
        gender="woman" if woman else "man",
        age=age,
        skin=skin,
        skin_warmth=float(rng.uniform(-1, 1)),
        hair_colour=hair_colour,
        hair_tone=float(rng.uniform(-1, 1)),
        hair_style=style,
        fringe=bool(woman and style in ("long", "medium", "short") and rng.random() < 0.28),
        parting=float(rng.uniform(-1, 1)),
        eye_colour=eyes,
        glasses=glasses,
        glasses_colour=_pick(rng, ("black", "brown", "gold", "red"), (0.55, 0.25, 0.12, 0.08)),
        beard=beard,
        freckles=bool(skin < 0.3 and rng.random() < (0.55 if hair_colour == "red" else 0.12)),
        wrinkles=float(rng.uniform(*lines)),
        seed=int(rng.integers(1 << 31)),
        **{name: float(value) for name, value in zip(GEOMETRY, shape, strict=True)},
    )


def sample_shot(rng: np.random.Generator, person: Person) -> Shot:
    """Circumstances for a picture of `person`: only the clothes depend on who it is."""
    scene = str(rng.choice(SCENES))
    woman = person.gender == "woman"
    odds = [0.24, 0.2, 0.2, 0.16, 0.12 if woman else 0.0, 0.1]
    if scene == "office":
        odds = [0.1, 0.28, 0.46, 0.08, 0.05 if woman else 0.0, 0.03]
    elif scene == "beach":
        odds = [0.46, 0.18, 0.04, 0.08, 0.2 if woman else 0.0, 0.08]
    half = bool(rng.random() < 0.2)
    return Shot(
        scene=scene,
        clothes=_pick(rng, CLOTHES, tuple(odds)),
        clothes_colour=str(rng.choice(list(CLOTHES_COLOURS))),
        framing="half shot" if half else "head shot",
        yaw=float(np.clip(rng.normal(0, 8), -20, 20)),
        pitch=float(np.clip(rng.normal(0, 3.5), -9, 9)),
        roll=float(np.clip(rng.normal(0, 3), -8, 8)),
        expression=_pick(rng, EXPRESSIONS, (0.36, 0.38, 0.26)),
        light_x=float(rng.uniform(-1, 1)),
        light_y=float(rng.uniform(0.25, 0.9)),
        warmth=float(rng.uniform(-1, 1)),
        x=float(np.clip(rng.normal(0, 0.3), -0.8, 0.8)),
        y=float(rng.uniform(-1, 1)),
        zoom=float(rng.uniform(0, 1)),
        seed=int(rng.integers(1 << 31)),
    )
