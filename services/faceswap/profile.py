"""Profiles: which engines and restorers a deployment has, and what their files have to be, as data beside the code.

The shipped profiles are ``profiles/*.toml``. Another is a further file of the same form, named by its path; no code
knows a profile by its name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from core.runtime.profiles import read_profile

PROFILES_FOLDER = Path(__file__).parent / "profiles"

_STRICT = ConfigDict(extra="forbid")
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.+-]{0,31}$")]
EngineName = Literal["mesh", "inswapper"]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ModelFileEntry:
    """A model file that the operator gets and puts into the models' folder."""

    file: Annotated[str, Field(min_length=1)]
    """Its path; a relative one is inside the deployment's models folder."""
    source: Annotated[str, Field(min_length=1)]
    """Where to get it: told when it is missing."""
    licence: Annotated[str, Field(min_length=1)]
    """What its licence allows, in a few words: told when it is missing."""
    size_bytes: Annotated[int, Field(gt=0)] | None = None
    """Its exact size; unchecked when left out."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of its content; unchecked when left out, and then the digest is logged at the start."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class InswapperFiles:
    """The files of the engine "inswapper"."""

    network: ModelFileEntry
    """inswapper_128, reswapper_128, reswapper_256 or hyperswap_256: told apart by their signatures."""
    fallback: ModelFileEntry | None = None
    """The same network in float32, drawing what `network` in half precision overflows on."""
    embedder: ModelFileEntry
    """buffalo_l's w600k_r50: the only identity that these networks know."""
    detector: ModelFileEntry | None = None
    """buffalo_l's det_10g, for the points to align by; without it the dense mesh's points serve."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class RestorerEntry:
    """A restorer."""

    name: Name
    """Its name in requests and answers."""
    kind: Literal["onnx", "gfpgan"]
    """``onnx`` for an ONNX file (GFPGAN, RestoreFormer++, CodeFormer), ``gfpgan`` for GFPGAN's PyTorch checkpoint."""
    network: ModelFileEntry
    fallback: ModelFileEntry | None = None
    """The same network in float32, drawing what `network` in half precision overflows on; of the same kind."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SwapProfile:
    """Everything that distinguishes one deployment's swaps from another's."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")]
    engines: Annotated[tuple[EngineName, ...], Field(min_length=1)]
    """The engines, the default first."""
    inswapper: InswapperFiles | None = None
    restorers: tuple[RestorerEntry, ...] = ()
    """The restorers, the default first."""

    @model_validator(mode="after")
    def _consistent(self) -> SwapProfile:
        if len(set(self.engines)) != len(self.engines):
            raise ValueError(f"engines names one twice: {', '.join(self.engines)}")
        if ("inswapper" in self.engines) != (self.inswapper is not None):
            raise ValueError("the engine inswapper and the table [inswapper] with its files go together")
        names = [restorer.name for restorer in self.restorers]
        if len(set(names)) != len(names):
            raise ValueError(f"restorers share a name: {', '.join(names)}")
        return self

    @property
    def needs_files(self) -> bool:
        """Whether anything is loaded that does not ship with the product, so that a GPU would have work."""
        return self.inswapper is not None or bool(self.restorers)


MESH_ALONE = SwapProfile(name="miniature", engines=("mesh",))
"""The profile of what ships with the product."""


def load_swap_profile(name_or_path: str) -> SwapProfile:
    """Read a shipped profile by its name, or any other by the path of its TOML file.

    Raises:
        ProfileError: when there is no such profile, or an entry of it is missing, unknown, of another type or out of
            range.
    """
    return read_profile(SwapProfile, name_or_path, PROFILES_FOLDER)
