"""Profiles: which weights, sizes and modes a deployment has, as data beside the code.

The shipped profiles are ``profiles/*.toml``. A fine-tune or a newer model is a further file of the same form, named by
its path; no code knows a profile by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from core.qwen.step_caches import StepCache
from core.runtime.profiles import read_profile

PROFILES_FOLDER = Path(__file__).parent / "profiles"
PIXELS_PER_TOKEN = 16 * 16
"""What one token of the transformer covers: a patch of 2×2 latents, each 8×8 pixels."""
PIXELS_PER_VISION_TOKEN = 28 * 28
"""What one token of Qwen2.5-VL's vision tower covers."""

_STRICT = ConfigDict(extra="forbid")
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
LoraWidth = Annotated[int, Field(ge=1, le=4096)]
Precision = Literal["float32", "bfloat16", "float8"]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Size:
    """Width and height of a picture in pixels."""

    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]

    @property
    def pixels(self) -> int:
        """The area in pixels."""
        return self.width * self.height


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class WeightsSource:
    """Where a pipeline's folder is: on this machine, or on the Hugging Face hub at one commit."""

    name: str
    """The model's name in answers, for example ``Qwen/Qwen-Image-2512``."""
    folder: str | None = None
    """A folder in diffusers' format; a relative one is inside the deployment's weights folder."""
    repository: str | None = None
    """The hub repository, for example ``Qwen/Qwen-Image-2512``."""
    revision: Commit | None = None
    """The commit of the repository; a branch would move under a running deployment."""

    @model_validator(mode="after")
    def _one_source(self) -> WeightsSource:
        if (self.folder is None) == (self.repository is None):
            raise ValueError("name either a folder or a repository")
        if self.repository is not None and self.revision is None:
            raise ValueError("a repository needs its revision: a commit of 40 hexadecimal digits")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class LoraSource:
    """Where a mode's distilled LoRA is: beside the pipeline, or in a hub repository at one commit."""

    file: Annotated[str, Field(min_length=1)]
    """Name of the safetensors file; without a repository, inside the pipeline's folder or an absolute path."""
    repository: str | None = None
    """The hub repository of the file."""
    revision: Commit | None = None
    """The commit of the repository."""
    optional: bool = False
    """Whether the mode is left out where the file isn't there, in place of refusing to start; not from the hub."""

    @model_validator(mode="after")
    def _pinned(self) -> LoraSource:
        if self.repository is not None and self.revision is None:
            raise ValueError("a repository needs its revision: a commit of 40 hexadecimal digits")
        if self.repository is not None and self.optional:
            raise ValueError("a repository's file can't be optional: leave the mode out")
        return self

    @property
    def label(self) -> str:
        """The LoRA's name in answers: the file, with its repository where it has one."""
        return f"{self.repository}/{self.file}" if self.repository else self.file


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Mode:
    """What has to go together: steps, guidance, scheduler and, in distilled modes, the LoRA."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")]
    steps: Annotated[int, Field(ge=1, le=100)]
    """Denoising steps when a request gives none."""
    true_cfg_scale: Annotated[float, Field(ge=1, le=20)]
    """Classifier-free guidance when a request gives none; 1 means none."""
    negative_prompt: str = " "
    """What guidance leads away from when a request gives nothing."""
    adjustable: bool = True
    """Whether a request may choose its own steps and guidance."""
    lora: LoraSource | None = None
    """The distilled LoRA that acts in this mode."""
    scheduler: Mapping[str, float] = Field(default_factory=dict)
    """Entries of the scheduler's configuration that this mode replaces; a ``shift_terminal`` of 0 means none."""
    step_cache: StepCache | None = None
    """What lets this mode skip work that changes little between steps; its pictures are then alike, not equal."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Sizes:
    """The picture sizes that a model takes."""

    multiple: Annotated[int, Field(ge=1)]
    """Width and height are multiples of this many pixels."""
    min_pixels: Annotated[int, Field(ge=1)]
    max_pixels: Annotated[int, Field(ge=1)]
    max_aspect_ratio: Annotated[float, Field(ge=1)]
    """The longer side over the shorter one, at most."""
    by_aspect_ratio: Mapping[str, Size]
    """The size of each named shape, ``1:1`` among them."""

    @model_validator(mode="after")
    def _consistent(self) -> Sizes:
        if "1:1" not in self.by_aspect_ratio:
            raise ValueError("by_aspect_ratio needs an entry for 1:1")
        for ratio, size in self.by_aspect_ratio.items():
            if size.width % self.multiple or size.height % self.multiple:
                raise ValueError(f"{ratio}: {size.width}×{size.height} is not a multiple of {self.multiple}")
            if not self.min_pixels <= size.pixels <= self.max_pixels:
                raise ValueError(f"{ratio}: {size.width}×{size.height} is outside min_pixels..max_pixels")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class PrecisionByDevice:
    """The number format of the weights on each kind of device; ``float8`` is for CUDA alone."""

    cpu: Precision
    cuda: Precision

    @model_validator(mode="after")
    def _supported(self) -> PrecisionByDevice:
        if self.cpu == "float8":
            raise ValueError("cpu: float8 needs a GPU's scaled matrix products; take bfloat16 or float32")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class BatchTokensByDevice:
    """How many image tokens (16×16 pixels each) are denoised at once, over all pictures of a batch, by kind of device.

    A device that one picture fills gains nothing by two. 0 draws each picture alone, whatever its size.
    """

    cpu: Annotated[int, Field(ge=0)] = 0
    cuda: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class LoraLimits:
    """The room for LoRAs in every linear layer of the transformer. A row costs memory whether it is used or not."""

    max_rank: Annotated[int, Field(ge=1, le=1024)] = 128
    """Highest rank of a LoRA that is registered."""
    widths: Annotated[tuple[LoraWidth, ...], Field(min_length=1, max_length=6)] = (64, 128, 256)
    """How many rows may act at once: the ranks of a request's LoRAs, the mode's own among them, add up to at most the
    last, and are rounded up to one of these. Each is a compiled graph of its own."""

    @model_validator(mode="after")
    def _ascending(self) -> LoraLimits:
        if list(self.widths) != sorted(set(self.widths)):
            raise ValueError("widths must ascend")
        if self.max_rank > self.widths[-1]:
            raise ValueError("max_rank is above the last of widths")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SceneWords:
    """The instructions that put the persons of pictures into a scene: ``{scene}`` stands for what the request says."""

    one: Annotated[str, Field(min_length=1, max_length=2000)]
    """With one picture."""
    several: Annotated[str, Field(min_length=1, max_length=2000)]
    """With several; ``{pictures}`` stands for their names, ``Picture 1 and Picture 2``."""

    @model_validator(mode="after")
    def _with_scene(self) -> SceneWords:
        if "{scene}" not in self.one or "{scene}" not in self.several:
            raise ValueError("both need {scene}")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Editing:
    """What an edit model does with the pictures that it is given."""

    max_images: Annotated[int, Field(ge=1, le=4)] = 4
    """Most pictures a request."""
    vision_pixels: Annotated[int, Field(ge=28 * 28)] = 384 * 384
    """Area in which the vision tower sees a picture."""
    latent_pixels: Annotated[int, Field(ge=32 * 32)] = 1024 * 1024
    """Area in which the autoencoder sees a picture; of the first one it is the area of the result as well."""
    multiple: Annotated[int, Field(ge=16, multiple_of=16)] = 32
    """Sides of both are multiples of this many pixels."""
    denoise: Annotated[float, Field(gt=0, le=1)] = 0.7
    """How much of the picture to replace when a request with one says nothing."""
    denoise_of_several: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The same for a request with several."""
    scene: SceneWords


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Profile:
    """Everything that distinguishes one deployment's model from another's."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")]
    weights: WeightsSource
    precision: PrecisionByDevice
    sizes: Sizes
    modes: Annotated[tuple[Mode, ...], Field(min_length=1)]
    """The modes, the default first."""
    max_prompt_tokens: Annotated[int, Field(ge=1, le=1024)]
    """Most tokens of a prompt, the chat template not counted."""
    max_count: Annotated[int, Field(ge=1, le=8)]
    """Most pictures a request."""
    batch_tokens: BatchTokensByDevice = Field(default_factory=BatchTokensByDevice)
    """How much is denoised at once where several pictures of one shape are wanted."""
    loras: LoraLimits = Field(default_factory=LoraLimits)
    """The room for LoRAs."""
    compiled: bool = False
    """Whether a GPU's transformer blocks are compiled; every size of the profile is then drawn while warming up."""
    editing: Editing | None = None
    """What makes the model one that edits pictures; None for one that draws from words alone."""

    @property
    def max_picture_tokens(self) -> int:
        """Tokens of the largest result and of all the pictures that it is made from."""
        largest = self.sizes.max_pixels
        if self.editing is None:
            return largest // PIXELS_PER_TOKEN
        # The first picture may be laid under the result, in its size.
        references = (
            max(self.editing.latent_pixels, largest) + (self.editing.max_images - 1) * self.editing.latent_pixels
        )
        return (largest + references) // PIXELS_PER_TOKEN

    @property
    def max_text_tokens(self) -> int:
        """Tokens of the longest prompt, with those of the pictures that the vision tower sees for it."""
        seen = self.editing.max_images * self.editing.vision_pixels if self.editing else 0
        return self.max_prompt_tokens + seen // PIXELS_PER_VISION_TOKEN

    @model_validator(mode="after")
    def _distinct_modes(self) -> Profile:
        names = [mode.name for mode in self.modes]
        if len(set(names)) != len(names):
            raise ValueError(f"modes share a name: {', '.join(names)}")
        return self


def load_profile(name_or_path: str) -> Profile:
    """Read a shipped profile by its name, or any other by the path of its TOML file.

    Raises:
        ProfileError: when there is no such profile, or an entry of it is missing, unknown, of another type or out of
            range.
    """
    return read_profile(Profile, name_or_path, PROFILES_FOLDER)
