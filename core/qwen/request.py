"""Requests: what to draw, resolved against a profile, or refused before any work."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.qwen.loras.requested import RequestedLora
from core.qwen.profile import Mode, Profile, Size, Sizes
from core.qwen.text import with_trigger_word
from likeness.errors import InvalidRequest, UnknownMode

DEFAULT_ASPECT_RATIO = "1:1"
BLANK_PROMPT = " "
MAX_STEPS = 100
MAX_SEED = 2**53 - 1
"""The largest whole number that JSON carries safely."""


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """Pictures to draw, with nothing left open: the same request gives the same pictures."""

    prompt: str
    """The prompt as the encoder gets it, the trigger word in front."""
    negative_prompt: str
    """What guidance leads away from; without guidance it is not read."""
    mode: Mode
    size: Size
    seed: int
    """Seed of the first picture, 0 to 2^53 − 1; picture k is drawn with ``seed + k``."""
    count: int
    steps: int
    true_cfg_scale: float
    """Classifier-free guidance; 1 means none."""
    loras: tuple[RequestedLora, ...] = ()
    """The LoRAs to add, each once. Requests that are drawn in one batch must have the same ones."""
    preview_every: int = 0
    """Show each picture after every so many steps; 0 for never."""
    denoise: float = 1.0
    """How much of a source to replace, over 0 to 1; 1 where there is none."""

    @property
    def guided(self) -> bool:
        """Whether guidance acts, and with it the negative prompt."""
        return self.true_cfg_scale > 1

    @property
    def work_steps(self) -> int:
        """How many steps each picture takes."""
        return self.steps

    def present(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the picture to answer with, for what was drawn, height×width×3 RGB: as it is."""
        return pixels

    @property
    def shape(self) -> Hashable:
        """What requests must have in common to be drawn in one batch."""
        # By their files: tenants may have LoRAs of one name and version.
        loras = frozenset((lora.record.uri, lora.strength) for lora in self.loras)
        return self.mode.name, self.size, self.steps, self.true_cfg_scale, loras


def resolve_request(
    profile: Profile,
    *,
    prompt: str,
    seed: int,
    trigger_word: str = "",
    negative_prompt: str | None = None,
    mode: str = "",
    aspect_ratio: str = "",
    width: int | None = None,
    height: int | None = None,
    count: int | None = None,
    steps: int | None = None,
    true_cfg_scale: float | None = None,
    loras: Sequence[RequestedLora] = (),
    preview_every: int = 0,
) -> GenerationRequest:
    """Fill in what a request leaves open, from ``profile``; empty and None mean left out.

    Raises:
        UnknownMode: the profile has no such mode.
        InvalidRequest: a value is out of range, or would have no effect; the field is named.
    """
    if not prompt.strip():
        raise InvalidRequest("the prompt is empty: say what to draw", field="prompt")
    chosen = _find_mode(profile, mode)
    if not chosen.adjustable:
        for field, value, own in (
            ("steps", steps, chosen.steps),
            ("true_cfg_scale", true_cfg_scale, chosen.true_cfg_scale),
        ):
            if value is not None and value != own:
                raise InvalidRequest(
                    f"mode {chosen.name!r} always has {field} {own}: leave {field} out, or choose another mode",
                    field=field,
                )
    resolved_steps = chosen.steps if steps is None else steps
    guidance = chosen.true_cfg_scale if true_cfg_scale is None else true_cfg_scale
    _check_range("steps", resolved_steps, 1, MAX_STEPS)
    _check_range("true_cfg_scale", guidance, 1, 20)
    resolved_count = 1 if count is None else count
    _check_range("count", resolved_count, 1, profile.max_count)
    _check_range("preview_every", preview_every, 0, MAX_STEPS)
    _check_range("seed", seed, 0, MAX_SEED - (resolved_count - 1))
    if negative_prompt is not None and negative_prompt.strip() and guidance == 1:
        raise InvalidRequest(
            f"a negative prompt acts through guidance, and mode {chosen.name!r} would draw without it (true_cfg_scale "
            "1): leave negative_prompt out, or ask for guidance",
            field="negative_prompt",
        )
    _check_distinct(loras)
    unwanted = chosen.negative_prompt if negative_prompt is None else negative_prompt
    return GenerationRequest(
        prompt=_with_trigger_words(prompt, trigger_word, loras),
        negative_prompt=unwanted if unwanted.strip() else BLANK_PROMPT,
        mode=chosen,
        size=resolve_size(profile.sizes, aspect_ratio=aspect_ratio, width=width, height=height),
        seed=seed,
        count=resolved_count,
        steps=resolved_steps,
        true_cfg_scale=float(guidance),
        loras=tuple(loras),
        preview_every=preview_every,
    )


def resolve_size(sizes: Sizes, *, aspect_ratio: str = "", width: int | None = None, height: int | None = None) -> Size:
    """Choose the size of a picture: a named shape, or the size that the model takes nearest to ``width`` × ``height``.

    Raises:
        InvalidRequest: an unknown shape, half a size, both ways at once, or a size outside the model's limits.
    """
    if width is None and height is None:
        ratio = aspect_ratio or DEFAULT_ASPECT_RATIO
        if ratio not in sizes.by_aspect_ratio:
            known = ", ".join(sizes.by_aspect_ratio)
            raise InvalidRequest(f"unknown aspect ratio {ratio!r}: choose one of {known}", field="aspect_ratio")
        return sizes.by_aspect_ratio[ratio]
    if width is None or height is None:
        missing = "width" if width is None else "height"
        raise InvalidRequest("width and height go together: set both, or neither", field=missing)
    if aspect_ratio:
        raise InvalidRequest("set aspect_ratio, or width and height, not both", field="aspect_ratio")
    longer, shorter = max(width, height), min(width, height)
    longer_field = "width" if width >= height else "height"
    if shorter < 1 or longer > shorter * sizes.max_aspect_ratio:
        raise InvalidRequest(
            f"{width}×{height} is too long a shape: one side may be {sizes.max_aspect_ratio:g} times the other",
            field=longer_field,
        )
    size = Size(width=_nearest(width, sizes.multiple), height=_nearest(height, sizes.multiple))
    if not sizes.min_pixels <= size.pixels <= sizes.max_pixels:
        raise InvalidRequest(
            f"{width}×{height} has {size.pixels:,} pixels; the model draws {sizes.min_pixels:,} to "
            f"{sizes.max_pixels:,}",
            field=longer_field,
        )
    return size


def _with_trigger_words(prompt: str, trigger_word: str, loras: Sequence[RequestedLora]) -> str:
    """Put the request's trigger word in front, or where it names none those of its LoRAs, the first one first."""
    if trigger_word.strip():
        return with_trigger_word(prompt, trigger_word)
    for lora in reversed(loras):
        if lora.strength != 0:
            prompt = with_trigger_word(prompt, lora.record.trigger_word)
    return prompt


def _check_distinct(loras: Sequence[RequestedLora]) -> None:
    seen: set[tuple[str, int]] = set()
    for lora in loras:
        identity = (lora.record.lora_id, lora.record.version)
        if identity in seen:
            raise InvalidRequest(
                f"LoRA {identity[0]!r} version {identity[1]} is named twice: name it once, with the strength it "
                "should have in all",
                field=lora.field_path,
            )
        seen.add(identity)


def _find_mode(profile: Profile, name: str) -> Mode:
    if not name:
        return profile.modes[0]
    for mode in profile.modes:
        if mode.name == name:
            return mode
    known = ", ".join(mode.name for mode in profile.modes)
    raise UnknownMode(f"unknown mode {name!r}: choose one of {known}", field="mode")


def _check_range(field: str, value: float, low: int, high: int) -> None:
    # Written so that NaN, which compares false with everything, is refused too.
    if not low <= value <= high:
        raise InvalidRequest(f"{field} is {value}: it goes from {low} to {high}", field=field)


def _nearest(pixels: int, multiple: int) -> int:
    return max(multiple, (pixels + multiple // 2) // multiple * multiple)
