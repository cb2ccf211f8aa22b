"""What is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from likeness.errors import InvalidRequest
from likeness.results import LoraUse
from likeness.ways.result import Way

MAX_SCENES = 12
MAX_SEEDS = 8
MAX_PHOTOS = 20
MAX_NAME_CHARACTERS = 200
DEFAULT_SCENES = ("in an office", "in a café", "on the beach")
DEFAULT_SEEDS = (1, 2)


@dataclass(frozen=True)
class WaysPlan:
    """One character, and what shall be drawn of it by each way."""

    reference: bytes
    """The photo whose face is swapped in and that the editor gets: an encoded file."""
    photos: Sequence[bytes] = ()
    """Further photos of the person, encoded files; likeness is measured to them too. Best ones that no LoRA saw."""
    ways: Sequence[Way] = tuple(Way)
    """Which ways, without repetition; their order is that of the result."""
    person: str = "a person"
    """The words for the person where the model does not know the character."""
    scenes: Sequence[str] = DEFAULT_SCENES
    """Where the person shall be: each follows the words for the person."""
    seeds: Sequence[int] = DEFAULT_SEEDS
    """Every scene is drawn with each of them."""
    mode: str = ""
    """Mode of the generator and of the editor; their default when empty."""
    lora: LoraUse | None = None
    """The character's LoRA; without it that way is unavailable."""
    lora_person: str = ""
    """The words for the person with the LoRA: trigger word and class word. `person` when empty."""
    lora_seconds: float | None = None
    """How long its training took; None when nobody knows."""
    denoise: float | None = None
    """How much the editor replaces, over 0 to 1. The editor's default keeps the layout of the photo; 1 is a new one."""
    engine: str = ""
    """Swap engine; the deployment's own when empty."""

    def prompt(self, scene: str, *, with_lora: bool = False) -> str:
        """Return the prompt of a scene."""
        return f"{(self.lora_person or self.person) if with_lora else self.person} {scene}"

    def check(self) -> None:
        """Raise InvalidRequest, naming the field, for what cannot be compared."""
        for field, values, most in (
            ("ways", self.ways, len(Way)), ("scenes", self.scenes, MAX_SCENES), ("seeds", self.seeds, MAX_SEEDS),
        ):  # fmt: skip
            if not 1 <= len(values) <= most:
                raise InvalidRequest(f"{field}: name 1 to {most}", field=field)
            if len(set(values)) < len(values):
                raise InvalidRequest(f"{field}: name each once", field=field)
        if len(self.photos) > MAX_PHOTOS:
            raise InvalidRequest(f"photos: at most {MAX_PHOTOS} are taken", field="photos")
        texts = [("person", self.person), *(("scenes", scene) for scene in self.scenes)]
        for field, text in texts:
            if not text.strip() or len(text) > MAX_NAME_CHARACTERS:
                raise InvalidRequest(f"{field}: 1 to {MAX_NAME_CHARACTERS} characters are taken", field=field)
        if self.denoise is not None and not 0 < self.denoise <= 1:
            raise InvalidRequest("denoise: over 0 to 1 is taken", field="denoise")
        if any(not 0 <= seed < 2**32 for seed in self.seeds):
            raise InvalidRequest("seeds: 0 to 4294967295 are taken", field="seeds")
