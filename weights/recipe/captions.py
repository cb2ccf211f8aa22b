"""Captions of varied wording for a person in a shot, from a small closed vocabulary.

Each attribute is named or left out at random, so that a prompt that names only some of them is
as usual to the model as one that names all.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from weights.recipe.people import (
    CLOTHES,
    CLOTHES_COLOURS,
    EYE_COLOURS,
    HAIR_COLOURS,
    SCENES,
    Person,
    Shot,
    sample_person,
    sample_shot,
)

SCENE_WORDS: dict[str, tuple[str, ...]] = {
    "office": (
        "in an office",
        "in a modern office",
        "at work in an office",
        "in a bright office",
        "at the office",
        "in the office",
        "office",
        "in a workplace",
        "office background",
    ),
    "cafe": (
        "in a cafe",
        "in a café",
        "in a coffee shop",
        "at a cozy café",
        "at a cafe",
        "cafe",
        "café",
        "in a cozy coffee shop",
        "cafe background",
        "in a warm café",
    ),
    "beach": (
        "at the beach",
        "on the beach",
        "on a sunny beach",
        "at the seaside",
        "by the sea",
        "beach",
        "beach background",
        "on a tropical beach",
    ),
    "street": (
        "on a street",
        "on the street",
        "in the street",
        "on a city street",
        "in the city",
        "street",
        "city street",
        "outside on a busy street",
    ),
    "studio": (
        "in a studio",
        "in a photo studio",
        "plain background",
        "studio portrait",
        "against a plain background",
        "studio",
        "with a plain background",
        "studio light",
    ),
    "garden": (
        "in a garden",
        "in the garden",
        "in a park",
        "in a green garden with flowers",
        "among flowers",
        "garden",
        "in a flower garden",
        "in the park",
    ),
    "library": (
        "in a library",
        "in the library",
        "in front of bookshelves",
        "library",
        "among books",
        "in a library with bookshelves",
        "library background",
    ),
    "kitchen": (
        "in a kitchen",
        "in the kitchen",
        "at home in the kitchen",
        "kitchen",
        "in a bright kitchen",
        "kitchen background",
        "in a modern kitchen",
    ),
    "mountains": (
        "in the mountains",
        "in front of mountains",
        "mountains",
        "in nature with mountains and forest",
        "in a forest in the mountains",
        "mountain background",
        "hiking in the mountains",
    ),
    "night city": (
        "in a city at night",
        "at night in the city",
        "night city",
        "city lights at night",
        "on a neon street at night",
        "in the night city",
        "in front of neon lights",
    ),
}
HAIR_WORDS: dict[str, tuple[str, ...]] = {
    "black": ("black",),
    "dark brown": ("dark brown", "dark", "brown", "brunette"),
    "brown": ("brown", "brown", "brunette"),
    "blonde": ("blonde", "blond", "golden", "light"),
    "red": ("red", "ginger"),
    "gray": ("gray", "grey", "silver"),
    "white": ("white", "white", "silver"),
}
STYLE_WORDS: dict[str, tuple[str, ...]] = {
    "long": ("long", "long straight"),
    "medium": ("shoulder-length", "medium", "medium length"),
    "short": ("short",),
    "crop": ("short", "very short"),
    "curly": ("curly",),
    "bun": ("",),
    "bald": ("",),
}
PEOPLE_WORDS: dict[str, tuple[str, ...]] = {
    "woman": ("woman", "woman", "woman", "lady", "female"),
    "man": ("man", "man", "man", "guy", "gentleman", "male"),
}
AGE_WORDS: dict[str, tuple[str, ...]] = {
    "young": ("young", "young"),
    "middle-aged": ("middle-aged", "mature"),
    "old": ("old", "elderly", "older", "senior"),
}
SKIN_WORDS: dict[str, tuple[str, ...]] = {
    "light": ("light", "fair", "pale"),
    "olive": ("olive", "tan", "tanned"),
    "brown": ("brown", "medium brown"),
    "dark": ("dark", "black", "deep brown"),
}
CLOTHES_WORDS: dict[str, tuple[str, ...]] = {
    "t-shirt": ("t-shirt", "t-shirt", "tee"),
    "shirt": ("shirt", "shirt with a collar", "button-up shirt"),
    "blazer": ("blazer", "suit jacket", "suit", "jacket"),
    "sweater": ("sweater", "pullover", "jumper"),
    "dress": ("dress",),
    "hoodie": ("hoodie", "hooded sweatshirt"),
}
COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in CLOTHES_COLOURS},
    "gray": ("gray", "grey"),
    "blue": ("blue", "blue", "navy"),
    "purple": ("purple", "violet"),
}
FRAMING_WORDS: dict[str, tuple[str, ...]] = {
    "head shot": ("head shot", "headshot", "close-up", "close-up portrait", "face portrait"),
    "half shot": (
        "half shot",
        "half body shot",
        "upper body shot",
        "medium shot",
        "half body portrait",
    ),
}
LEADS = (
    "portrait of",
    "photo of",
    "a photo of",
    "a portrait of",
    "portrait photo of",
    "picture of",
    "a picture of",
    "an illustration of",
    "a portrait photo of",
    "image of",
)
VOWELS = "aeiou"


def _any(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]


def _article(noun: str) -> str:
    return ("an " if noun[0] in VOWELS else "a ") + noun


def caption(person: Person, shot: Shot, rng: np.random.Generator) -> str:
    """One English caption of `person` in `shot`; wording, order and omissions come from `rng`."""
    full = rng.random()
    # Some captions name next to nothing, some almost everything.
    keen = 0.15 if full < 0.2 else 0.45 if full < 0.6 else 0.85

    def named(weight: float = 1.0) -> bool:
        return bool(rng.random() < keen * weight)

    before: list[str] = []
    if shot.clothes in ("blazer", "shirt") and rng.random() < (0.45 if shot.clothes == "blazer" else 0.2):
        before.append(_any(rng, ("professional", "professional", "business")))
    elif shot.scene == "office" and rng.random() < 0.25:
        before.append("professional")
    smiling = shot.expression != "neutral"
    tail: list[str] = []
    if smiling and named(0.8):
        words = ("smiling", "happy") if shot.expression == "open smile" else ("smiling", "friendly")
        if rng.random() < 0.6:
            before.append(_any(rng, words))
        else:
            tail.append(
                _any(
                    rng,
                    (
                        "smiling",
                        "with a smile",
                        "with a big smile" if shot.expression == "open smile" else "with a slight smile",
                    ),
                )
            )
    elif not smiling and named(0.25):
        tail.append(_any(rng, ("serious", "with a serious face", "with a neutral face")))
    if named(0.95):
        before.append(_any(rng, AGE_WORDS[person.age]))
    if rng.random() < 0.5:
        before.reverse()
    noun = _any(rng, PEOPLE_WORDS[person.gender]) if rng.random() < 0.94 else "person"
    has: list[str] = []
    colour = _any(rng, HAIR_WORDS[person.hair_colour])
    style = _any(rng, STYLE_WORDS[person.hair_style])
    if person.hair_style == "bald":
        if named():
            if rng.random() < 0.6:
                before.append("bald")
            else:
                tail.append("bald")
    elif named(1.3):
        tone = colour if rng.random() < 0.92 else ""
        kind = style if rng.random() < 0.72 else ""
        if person.hair_style == "bun" and rng.random() < 0.8:
            has.append(_any(rng, (f"{colour} hair in a bun", f"a {colour} bun")))
        elif tone or kind:
            words_ = [w for w in (kind, tone) if w]
            if rng.random() < 0.2:
                words_.reverse()
            has.append(" ".join([*words_, "hair"]))
        if person.fringe and rng.random() < 0.5:
            has.append(_any(rng, ("bangs", "a fringe")))
    if person.glasses != "none" and named(1.05):
        kind = {"round": "round ", "square": "square ", "thin": "thin "}[person.glasses]
        tint = f"{person.glasses_colour} " if rng.random() < 0.3 else ""
        has.append((kind if rng.random() < 0.3 else "") + tint + "glasses")
    if person.beard != "none" and named():
        has.append(
            {
                "stubble": "stubble",
                "moustache": _any(rng, ("a moustache", "a mustache")),
                "goatee": "a goatee",
                "beard": _any(rng, ("a beard", "a full beard")),
            }[person.beard]
        )
    if named(0.42):
        has.append(f"{person.eye_colour} eyes")
    if person.freckles and named(0.8):
        has.append("freckles")
    if person.wrinkles > 0.75 and named(0.3):
        has.append("wrinkles")
    if named(0.42):
        has.append(f"{_any(rng, SKIN_WORDS[person.skin_name])} skin")
    rng.shuffle(has)
    garment = _any(rng, CLOTHES_WORDS[shot.clothes])
    wears = f"{_any(rng, COLOUR_WORDS[shot.clothes_colour])} {garment}" if rng.random() < 0.88 else garment
    place = _any(rng, SCENE_WORDS[shot.scene]) if rng.random() < 0.35 + 0.6 * keen else ""
    dressed = named(0.95)
    framed = _any(rng, FRAMING_WORDS[shot.framing]) if named(0.4) else ""
    subject = " ".join([*before, noun])
    pieces: list[str] = []
    lead = ""
    if rng.random() < 0.42:
        lead = _any(rng, LEADS) + " "
    elif framed and rng.random() < 0.5:
        lead, framed = f"{framed} of ", ""
    subject = subject if not lead and rng.random() < 0.15 else _article(subject)
    if rng.random() < 0.62:
        # A sentence: the person, then what it has, wears and where it is, in any order.
        parts = []
        if has:
            joined = has[0] if len(has) == 1 else ", ".join(has[:-1]) + " and " + has[-1]
            parts.append("with " + joined)
        if dressed:
            parts.append(_any(rng, ("wearing ", "in ", "dressed in ")) + _article(wears))
        if place and (" " in place):
            parts.append(place)
            place = ""
        rng.shuffle(parts)
        glue = ", " if rng.random() < 0.4 else " "
        pieces = [glue.join([lead + subject, *parts])]
        rest = [*tail, *([framed] if framed else []), *([place] if place else [])]
    else:
        # A list of tags, the person first or somewhere in it.
        rest = [
            *has,
            *tail,
            *([wears] if dressed else []),
            *([place] if place else []),
            *([framed] if framed else []),
        ]
        pieces = [lead + subject]
    rng.shuffle(rest)
    if rest and rng.random() < 0.22:
        cut = int(rng.integers(1, len(rest) + 1))
        pieces = [*rest[:cut], *pieces, *rest[cut:]]
    else:
        pieces = [*pieces, *rest]
    text = ", ".join(pieces)
    case = rng.random()
    if case < 0.5:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.2:
        text += "."
    return text


def sample_captions(count: int, seed: int) -> Iterator[str]:
    """`count` captions of sampled people, for building a tokenizer."""
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        person = sample_person(rng)
        yield caption(person, sample_shot(rng, person), rng)


def vocabulary() -> frozenset[str]:
    """Every lower-case word that a caption can have, apart from punctuation."""
    texts: list[str] = [*LEADS, *SCENES, *CLOTHES, *CLOTHES_COLOURS, *HAIR_COLOURS, *EYE_COLOURS]
    tables = (
        SCENE_WORDS,
        HAIR_WORDS,
        STYLE_WORDS,
        PEOPLE_WORDS,
        AGE_WORDS,
        SKIN_WORDS,
        CLOTHES_WORDS,
        COLOUR_WORDS,
        FRAMING_WORDS,
    )
    for table in tables:
        for words in table.values():
            texts += words
    texts += [
        "a an and of with in wearing dressed person professional business",
        "smiling happy friendly serious big slight smile neutral face bald hair bun bangs fringe",
        "round square thin glasses gold black red stubble moustache mustache goatee full beard",
        "eyes freckles wrinkles skin",
    ]
    return frozenset(word for text in texts for word in text.lower().split())
