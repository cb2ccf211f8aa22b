"""Profiles: which weights, sizes and modes a deployment has, as data beside the code.

The shipped profiles are ``profiles/*.toml``. A fine-tune or a newer model is a further file of the same form, named by
its path; no code knows a profile by its name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

PROFILES_FOLDER = Path(__file__).parent / "profiles"

_STRICT = ConfigDict(extra="forbid")
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Precision = Literal["float32", "bfloat16"]


class ProfileError(ValueError):
    """A profile that does not exist or does not make sense; the message names the file and the entry."""


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

    @model_validator(mode="after")
    def _pinned(self) -> LoraSource:
        if self.repository is not None and self.revision is None:
            raise ValueError("a repository needs its revision: a commit of 40 hexadecimal digits")
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
    """The number format of the weights on each kind of device."""

    cpu: Precision
    cuda: Precision


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

    @model_validator(mode="after")
    def _distinct_modes(self) -> Profile:
        names = [mode.name for mode in self.modes]
        if len(set(names)) != len(names):
            raise ValueError(f"modes share a name: {', '.join(names)}")
        return self


def load_profile(name_or_path: str) -> Profile:
    """Read a shipped profile by its name, or any other by the path of its TOML file.

    Raises:
        ProfileError: when there is no such profile, or an entry of it is missing, unknown or out of range.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = PROFILES_FOLDER / f"{name_or_path}.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        shipped = ", ".join(sorted(file.stem for file in PROFILES_FOLDER.glob("*.toml")))
        raise ProfileError(f"no profile {name_or_path!r}: name one of {shipped}, or the path of a .toml file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: {error}") from error
    try:
        return TypeAdapter(Profile).validate_python(data)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ProfileError(f"{path}: {faults}") from error
