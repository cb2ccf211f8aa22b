"""The rows in which LoRAs act: fixed room in every linear layer of a transformer, filled anew for each request.

Several LoRAs are one: stacking their matrices along the rank adds their updates up. So a layer keeps one pair of
matrices, whose shape never changes, and a scale for each row. Putting in other LoRAs copies numbers in place: the
layer's own weights aren't touched, memory doesn't grow, and a compiled graph stays valid
(docs/decisions/0012-lora-rows.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from core.qwen.loras.adapter import Adapter


class LoraLinear(nn.Module):
    """A linear layer with room for LoRAs: ``base(x) + up · (scale ∘ (down · x))`` over the rows that act."""

    lora_down: torch.Tensor
    lora_up: torch.Tensor
    lora_scale: torch.Tensor

    def __init__(self, base: nn.Module, *, inputs: int, outputs: int, rows: int, like: torch.Tensor) -> None:
        """Wrap ``base``, a module from ``inputs`` to ``outputs``, with ``rows`` rows of ``like``'s dtype and device."""
        super().__init__()
        self.base: Any = base
        self.width = 0
        """How many rows act, 0 for none: a constant of compiled graphs."""
        self.register_buffer("lora_down", like.new_zeros(rows, inputs), persistent=False)
        self.register_buffer("lora_up", like.new_zeros(outputs, rows), persistent=False)
        scale = torch.zeros(rows, dtype=torch.float32, device=like.device)
        self.register_buffer("lora_scale", scale, persistent=False)

    @property
    def weight(self) -> torch.Tensor:
        """The layer's own weight."""
        weight: torch.Tensor = self.base.weight
        return weight

    @property
    def bias(self) -> torch.Tensor | None:
        """The layer's own bias."""
        bias: torch.Tensor | None = self.base.bias
        return bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output, … × outputs, for ``x``, … × inputs."""
        result: torch.Tensor = self.base(x)
        if self.width == 0:
            return result
        rows = functional.linear(x, self.lora_down[: self.width]) * self.lora_scale[: self.width]
        return result + functional.linear(rows.to(x.dtype), self.lora_up[:, : self.width])


@dataclass(frozen=True)
class _Place:
    """Rows that hold an adapter's weights."""

    key: str
    start: int
    rank: int

    def overlaps(self, other: _Place) -> bool:
        return self.start < other.start + other.rank and other.start < self.start + self.rank


class LoraStack:
    """All `LoraLinear` layers of one transformer. For the one thread that draws."""

    def __init__(
        self,
        layers: Mapping[str, LoraLinear],
        shapes: Mapping[str, tuple[int, int]],
        widths: Sequence[int],
        dtype: torch.dtype,
    ) -> None:
        """Made by `install`."""
        self.dtype = dtype
        """Number format of the rows."""
        self.shapes = shapes
        """Outputs and inputs of each layer, by name: what a LoRA may change."""
        self.widths = tuple(sorted(widths))
        """How many rows may act at once: the ranks together, rounded up to one of these."""
        self.kept: dict[str, Adapter] = {}
        """Adapters that belong to the model, by name: those of its modes. On the layers' device."""
        self._layers = layers
        self._places: list[_Place] = []
        self._acting: tuple[tuple[str, int, float], ...] = ()

    @classmethod
    def install(cls, transformer: nn.Module, *, widths: Sequence[int], dtype: torch.dtype) -> LoraStack:
        """Give every linear layer of ``transformer`` room for ``max(widths)`` rows of ``dtype``, on the layer's device.

        Before anything is compiled, after layers were exchanged for quantised ones: those have ``in_features`` and
        ``out_features`` as well.
        """
        found = {
            name: module
            for name, module in transformer.named_modules()
            if isinstance(getattr(module, "in_features", None), int)
            and isinstance(getattr(module, "out_features", None), int)
        }
        layers, shapes = {}, {}
        for name, base in found.items():
            tensors = [*base.parameters(), *base.buffers()]
            shapes[name] = (int(base.out_features), int(base.in_features))
            layers[name] = LoraLinear(
                base,
                outputs=shapes[name][0],
                inputs=shapes[name][1],
                rows=max(widths),
                like=torch.empty(0, dtype=dtype, device=tensors[0].device),
            )
            transformer.set_submodule(name, layers[name])
        stack = cls(layers, shapes, widths, dtype)
        transformer.lora_stack = stack  # type: ignore[assignment]
        return stack

    @staticmethod
    def of(transformer: nn.Module) -> LoraStack | None:
        """Return what `install` made for ``transformer``; None when it was never called."""
        stack = getattr(transformer, "lora_stack", None)
        return stack if isinstance(stack, LoraStack) else None

    @property
    def rows(self) -> int:
        """How high the ranks of all LoRAs that act at once may be together."""
        return self.widths[-1]

    def keep(self, name: str, adapter: Adapter) -> None:
        """Keep a mode's adapter. Raises ValueError when it needs more rows than there are."""
        if adapter.rank > self.rows:
            raise ValueError(f"a LoRA of rank {adapter.rank} needs more than the {self.rows} rows that there are")
        self.kept[name] = adapter

    def width_for(self, rank: int) -> int:
        """Return how many rows act for LoRAs whose ranks add up to ``rank``. Raises ValueError above `rows`."""
        if rank == 0:
            return 0
        for width in self.widths:
            if rank <= width:
                return width
        raise ValueError(f"the LoRAs' ranks add up to {rank}; there are {self.rows} rows")

    def apply(self, adapters: Sequence[tuple[Adapter, float]]) -> None:
        """Let these adapters act, each with its strength, and nothing else.

        The same adapters in the same order take the same rows, so that the result does not depend on what acted
        before. Raises ValueError when their ranks add up to more than `rows`.
        """
        width = self.width_for(sum(adapter.rank for adapter, _ in adapters))
        start = 0
        acting: list[tuple[str, int, float]] = []
        for adapter, strength in adapters:
            self._fill(adapter, start)
            acting.append((adapter.key, start, strength))
            start += adapter.rank
        if tuple(acting) != self._acting and width:
            # Not the new ones until all layers have them: after an error the next call begins anew.
            self._acting = ()
            self._scale(adapters)
        self._acting = tuple(acting) if width else self._acting
        for layer in self._layers.values():
            layer.width = width

    def _fill(self, adapter: Adapter, start: int) -> None:
        """Copy an adapter's weights into the rows from ``start``, unless they are there."""
        place = _Place(adapter.key, start, adapter.rank)
        if place in self._places:
            return
        self._places = [other for other in self._places if not other.overlaps(place)]
        self._acting = ()
        for name, update in adapter.updates.items():
            layer = self._layers[name]
            end = start + update.rank
            layer.lora_down[start:end].copy_(update.down, non_blocking=True)
            layer.lora_up[:, start:end].copy_(update.up, non_blocking=True)
        self._places.append(place)

    def _scale(self, adapters: Sequence[tuple[Adapter, float]]) -> None:
        """Set the scale of every row; 0 wherever no adapter acts, whatever weights an earlier one has left there."""
        for name, layer in self._layers.items():
            scale = torch.zeros(self.rows)
            start = 0
            for adapter, strength in adapters:
                update = adapter.updates.get(name)
                if update is not None:
                    scale[start : start + update.rank] = strength * update.scale
                start += adapter.rank
            layer.lora_scale.copy_(scale)
