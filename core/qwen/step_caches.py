"""Ways to skip work that changes little from one denoising step to the next, as a profile's modes name them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class FirstBlockCache:
    """First Block Cache: a step whose first block changed little reuses what the other blocks added before.

    From ParaAttention (github.com/chengzeyi/ParaAttention), after TeaCache (arxiv.org/abs/2411.19108).
    """

    kind: Literal["first_block"] = "first_block"
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.08
    """Relative change of the first block's residual (mean of absolute values) below which a step is skipped."""

    @property
    def label(self) -> str:
        """The cache's name and numbers in answers."""
        return f"first_block(threshold={self.threshold:g})"


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TaylorSeerCache:
    """TaylorSeer: between full steps the attention's outputs are extrapolated (arxiv.org/abs/2503.06923)."""

    kind: Literal["taylor_seer"] = "taylor_seer"
    interval: Annotated[int, Field(ge=2, le=10)] = 3
    """Every so many steps one is computed in full."""
    first_steps: Annotated[int, Field(ge=2, le=50)] = 4
    """So many steps at the start are all computed in full."""
    order: Annotated[int, Field(ge=1, le=2)] = 1
    """Order of the Taylor expansion."""

    @property
    def label(self) -> str:
        """The cache's name and numbers in answers."""
        return f"taylor_seer(interval={self.interval}, first_steps={self.first_steps}, order={self.order})"


StepCache = Annotated[FirstBlockCache | TaylorSeerCache, Field(discriminator="kind")]
"""One of the ways, by its ``kind``."""
