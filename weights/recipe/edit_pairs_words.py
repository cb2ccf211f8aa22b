"""The instructions of the drawn edits, in several wordings each, the edit profile's own among them."""

from __future__ import annotations

from functools import cache

import numpy as np

from core.qwen.editing.scene import compose_scene
from core.qwen.profile import SceneWords, load_profile
from weights.recipe.captions import SCENE_WORDS

WORDINGS = 4
"""Instructions an edit."""
ALONE = (
    "The person of Picture 1 {scene}",
    "Put the person of Picture 1 {scene}",
    "The same person {scene}",
    "Picture 1 {scene}, the same face and clothes",
)
TOGETHER = (
    "The persons of Picture 1 and Picture 2 together {scene}",
    "The person of Picture 1 and the person of Picture 2 {scene}",
    "Both persons {scene}",
)
BACKGROUND = (
    "Change the background: {scene}",
    "The same picture {scene}",
    "Only the background changes: {scene}",
    "{scene}",
)
CLOTHES = (
    "Change the clothes to a {colour} {clothes}",
    "The same picture, wearing a {colour} {clothes}",
    "Dress the person in a {colour} {clothes}",
)
CLOTHES_COLOUR = (
    "Make the {clothes} {colour}",
    "Change the colour of the {clothes} to {colour}",
    "The same picture with a {colour} {clothes}",
)
HAIR_COLOUR = (
    "Make the hair {colour}",
    "Change the hair colour to {colour}",
    "The same person with {colour} hair",
)
NOTHING = ("Change nothing", "Keep the picture as it is", "The same picture", "Leave everything as it is")


def filled(rng: np.random.Generator, texts: tuple[str, ...], **words: str) -> tuple[str, ...]:
    """Return ``WORDINGS`` instructions from ``texts``; a ``scene`` is worded anew in each."""

    def one() -> str:
        named = {**words, "scene": str(rng.choice(SCENE_WORDS[words["scene"]]))} if "scene" in words else words
        return str(rng.choice(texts)).format(**named)

    return tuple(one() for _ in range(WORDINGS))


def scene_wordings(rng: np.random.Generator, scene: str, pictures: int) -> tuple[str, ...]:
    """Return the profile's own wording of a scene for so many ``pictures``, and freer ones, half of each."""
    own = tuple(
        compose_scene(_profile_words(), str(rng.choice(SCENE_WORDS[scene])), pictures) for _ in range(WORDINGS // 2)
    )
    return (*own, *filled(rng, ALONE if pictures == 1 else TOGETHER, scene=scene)[WORDINGS // 2 :])


@cache
def _profile_words() -> SceneWords:
    editing = load_profile("miniature-edit").editing
    assert editing is not None
    return editing.scene
