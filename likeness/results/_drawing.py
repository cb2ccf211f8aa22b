"""What the generator answers with: the events of a drawing, its pictures, and what a deployment can draw."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from likeness.results._common import ModelInfo, Picture


class Priority(StrEnum):
    """Which work goes first where several pieces wait; it does not change the pictures."""

    HIGH = "high"
    """Before the tenant's own other work: somebody waits for it."""
    NORMAL = "normal"
    LOW = "low"
    """After everybody's other work: nobody waits for it."""


@dataclass(frozen=True)
class Queued:
    """The work waits for a device."""

    position: int
    """How many pieces of work stand before this one; 0 is next."""


@dataclass(frozen=True)
class Started:
    """A device has taken up the work."""

    queued_seconds: float
    """How long the work had waited."""


@dataclass(frozen=True)
class Step:
    """A denoising step has ended."""

    image_index: int
    """Which picture of the request, from 0."""
    step: int
    """Which step has ended, from 1."""
    total_steps: int
    """How many steps this picture takes."""


@dataclass(frozen=True)
class Preview:
    """What a picture is on its way to: small and rough."""

    image_index: int
    """Which picture of the request, from 0."""
    step: int
    """Which step has ended, from 1."""
    total_steps: int
    """How many steps this picture takes."""
    picture: Picture
    """A JPEG, at most 384 pixels along its longer side."""


@dataclass(frozen=True)
class GeneratedPicture:
    """One drawn picture."""

    index: int
    """Which picture of the request, from 0."""
    seed: int
    """The seed that draws this picture again, alone."""
    picture: Picture


@dataclass(frozen=True)
class Timings:
    """Where the time of a drawing went, in seconds."""

    queue_seconds: float = 0.0
    encode_seconds: float = 0.0
    denoise_seconds: float = 0.0
    decode_seconds: float = 0.0
    total_seconds: float = 0.0


@dataclass(frozen=True)
class LoraUse:
    """A LoRA of the registry and how strongly it acts."""

    lora_id: str
    version: int = 0
    """The newest when 0."""
    strength: float = 1.0
    """−4 to 4."""


@dataclass(frozen=True)
class Finished:
    """All pictures are ready: how they were made."""

    seed: int
    """Seed of the first picture."""
    width: int
    height: int
    mode: str
    steps: int
    true_cfg_scale: float
    timings: Timings
    model: ModelInfo
    loras: tuple[LoraUse, ...] = ()


GenerationEvent = Queued | Started | Step | Preview | GeneratedPicture | Finished
"""One event of a drawing; the last one is `Finished`."""


@dataclass(frozen=True)
class Generation:
    """The pictures of one request and how they were made."""

    pictures: tuple[GeneratedPicture, ...]
    finished: Finished


@dataclass(frozen=True)
class Mode:
    """A way to draw: steps, guidance, scheduler and, for fast modes, the distilled LoRA."""

    name: str
    default_steps: int
    default_true_cfg_scale: float
    distilled_lora: str
    adjustable: bool
    default_negative_prompt: str
    step_cache: str = ""
    """What lets a step reuse an earlier one's work; empty where every step is computed in full."""


@dataclass(frozen=True)
class Size:
    """The picture size of an aspect ratio, in pixels."""

    aspect_ratio: str
    width: int
    height: int


@dataclass(frozen=True)
class GeneratorCapabilities:
    """What the generator of a deployment can do."""

    model: ModelInfo
    modes: tuple[Mode, ...]
    """The default first."""
    sizes: tuple[Size, ...]
    size_multiple: int
    min_pixels: int
    max_pixels: int
    max_count: int
    max_prompt_tokens: int
    queue_capacity: int
    max_loras: int = 0
    """Most LoRAs a request; 0 when the deployment keeps none."""
    max_lora_rank: int = 0
    max_total_lora_rank: int = 0
    """What the ranks of a request's LoRAs, with that of the mode's own, may add up to."""
    max_lora_bytes: int = 0
    """Largest file of a LoRA."""
