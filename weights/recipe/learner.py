"""One optimizer step over all cards, and the running average of the weights that is kept in the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from weights.recipe import parallel


class Learner:
    """AdamW on ``parameters``, with the same start on every card and an average of the weights along the way."""

    def __init__(self, parameters: Sequence[nn.Parameter], *, beta2: float, weight_decay: float = 0.0) -> None:
        """Give every process the parameters of process 0."""
        self._parameters = list(parameters)
        parallel.broadcast(p.data for p in self._parameters)
        self._optimizer = torch.optim.AdamW(self._parameters, betas=(0.9, beta2), weight_decay=weight_decay, fused=True)
        self._averaged = [p.detach().clone() for p in self._parameters]

    def step(self, loss: Tensor, *, rate: float, average: float, frozen: Iterable[nn.Parameter] = ()) -> None:
        """Go down the gradient of ``loss`` at learning rate ``rate``; ``frozen`` parameters stay as they are.

        ``average`` is the share of the new weights in the running average, 0–1.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for p in frozen:
            p.grad = None
        parallel.average_gradients(self._parameters)
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        torch._foreach_lerp_(self._averaged, [p.detach() for p in self._parameters], average)

    @torch.no_grad()
    def keep_average(self) -> None:
        """Replace the parameters by their running average."""
        for p, mean in zip(self._parameters, self._averaged, strict=True):
            p.copy_(mean)

    @property
    def averages(self) -> list[Tensor]:
        """The running averages, in the order of the parameters."""
        return self._averaged

    def tensors(self) -> dict[str, Tensor]:
        """Return all that a later `restore` needs, by name."""
        kept: dict[str, Tensor] = {}
        for place, (p, mean) in enumerate(zip(self._parameters, self._averaged, strict=True)):
            state = self._optimizer.state.get(p, {})
            kept |= {f"{place}.parameter": p.detach(), f"{place}.average": mean}
            kept |= {f"{place}.optimizer.{name}": torch.as_tensor(value) for name, value in state.items()}
        return kept

    @torch.no_grad()
    def restore(self, kept: dict[str, Tensor]) -> None:
        """Take over the tensors that `tensors` gave for the same parameters."""
        for place, (p, mean) in enumerate(zip(self._parameters, self._averaged, strict=True)):
            p.copy_(kept[f"{place}.parameter"])
            mean.copy_(kept[f"{place}.average"])
            prefix = f"{place}.optimizer."
            state = {name.removeprefix(prefix): value for name, value in kept.items() if name.startswith(prefix)}
            if state:
                self._optimizer.state[p] = {name: value.to(p.device) for name, value in state.items()}
