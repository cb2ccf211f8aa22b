"""The engines and restorers of a deployment, by the names that requests call them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.faces.providers import Provider
from likeness.errors import InvalidRequest, UnknownEngine
from services.faceswap.engines.base import SwapEngine
from services.faceswap.engines.inswapper import InswapperEngine
from services.faceswap.restoration.base import Restorer
from services.faceswap.restoration.stage import RestorationChoice


class Engines:
    """The engines of a deployment."""

    def __init__(self, engines: Sequence[SwapEngine], default: str = "") -> None:
        """Hold `engines`; the first one is the default unless `default` names another.

        Raises UnknownEngine when `default` is not among them.
        """
        self._engines: Mapping[str, SwapEngine] = {engine.name: engine for engine in engines}
        self._default = default or engines[0].name
        self.get(self._default)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the engines, the default first."""
        return (self._default, *(name for name in self._engines if name != self._default))

    @property
    def neural(self) -> InswapperEngine | None:
        """The engine whose network draws faces; None when there is none."""
        return next((engine for engine in self._engines.values() if isinstance(engine, InswapperEngine)), None)

    @property
    def execution_provider(self) -> str:
        """What runs the default engine's networks, as the loaded sessions say; the mesh engine's run on the CPU."""
        engine = self._engines[self._default]
        return engine.provider if isinstance(engine, InswapperEngine) else Provider.CPU.value

    def get(self, name: str, pixel_boost: int = 0) -> SwapEngine:
        """Return the engine of that name, the default when empty, drawing faces of `pixel_boost` pixels unless 0.

        Raises UnknownEngine naming those there are, InvalidRequest when the engine can't draw at that size.
        """
        found = self._engines.get(name or self._default)
        if found is None:
            names = ", ".join(self._engines)
            raise UnknownEngine(
                f"this deployment has no engine '{name}'; it has: {names}", field="engine", engines=names
            )
        if not pixel_boost:
            return found
        if not isinstance(found, InswapperEngine):
            raise InvalidRequest(
                f"the engine '{found.name}' works in the picture's own pixels: leave pixel_boost out",
                field="pixel_boost",
            )
        return found.drawn_at(pixel_boost)


class Restorers:
    """The restorers of a deployment; there may be none."""

    def __init__(self, restorers: Sequence[Restorer] = ()) -> None:
        """Hold `restorers`; the first one is the default."""
        self._restorers: Mapping[str, Restorer] = {restorer.name: restorer for restorer in restorers}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the restorers, the default first."""
        return tuple(self._restorers)

    def choose(self, choice: RestorationChoice) -> Restorer | None:
        """Return the restorer that a request asks for; None when it wants none, or names none and there is none.

        Raises InvalidRequest for a name that this deployment lacks, and for a fidelity that the restorer doesn't take.
        """
        if not choice.wanted:
            return None
        names = ", ".join(self._restorers) or "none"
        if choice.model and choice.model not in self._restorers:
            raise InvalidRequest(
                f"this deployment has no restorer '{choice.model}'; it has: {names}", field="restore_model"
            )
        found = self._restorers.get(choice.model) or next(iter(self._restorers.values()), None)
        if found is not None and choice.fidelity is not None and not found.takes_fidelity:
            raise InvalidRequest(
                f"the restorer '{found.name}' takes no fidelity, CodeFormer does; this deployment has: {names}",
                field="restore_fidelity",
            )
        return found
