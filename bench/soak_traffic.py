"""Random requests for `bench.soak`, each with the outcomes that are right for it."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from bench.soak_outcome import LEFT, OK, Case, Outcome, faults_of
from likeness.calls import CallOptions
from likeness.client import AsyncClient
from likeness.errors import LikenessError
from likeness.metadata import CallMetadata
from likeness.results import (
    Finished,
    GeneratedPicture,
    GeneratorCapabilities,
    ImageFormat,
    LoraUse,
    Priority,
)

PROMPTS = (
    "a man",
    "a professional woman in a modern office",
    "an old man with short gray hair and glasses in a café, a long coat, a warm evening, people in the background",
    "portrait of a young woman on the beach",
    "Frau mit Brille — 30 % älter ☕",
)
BAD: tuple[tuple[Mapping[str, Any], str], ...] = (
    ({"prompt": " \n"}, "INVALID_REQUEST"),
    ({"prompt": " the" * 1200}, "INVALID_REQUEST"),
    ({"prompt": " the" * 990}, "PROMPT_TOO_LONG"),
    ({"steps": 0}, "INVALID_REQUEST"),
    ({"count": 9}, "INVALID_REQUEST"),
    ({"width": 100_000, "height": 10_000}, "INVALID_REQUEST"),
    ({"width": 2048, "height": 64}, "INVALID_REQUEST"),
    ({"width": 256}, "INVALID_REQUEST"),
    ({"aspect_ratio": "5:4"}, "INVALID_REQUEST"),
    ({"mode": "turbo"}, "UNKNOWN_MODE"),
    ({"mode": "fast", "true_cfg_scale": 4.0}, "INVALID_REQUEST"),
    ({"quality": 101}, "INVALID_REQUEST"),
    ({"preview_every": -1}, "INVALID_REQUEST"),
    ({"seed": 2**53}, "INVALID_REQUEST"),
    ({"loras": [LoraUse("nobody-registered-this")]}, "LORA_NOT_FOUND"),
)


@dataclass(frozen=True)
class Traffic:
    """Makes random cases for a deployment."""

    capabilities: GeneratorCapabilities
    loras: Sequence[str]
    """Ids of the registered LoRAs; empty where there are none."""
    choice: random.Random = field(default_factory=random.Random)

    def draw(self) -> Case:
        """Return a random case."""
        kinds: list[tuple[Callable[[], Case], int]] = [
            (self._plain, 45),
            (self._lora, 20 if self.loras else 0),
            (self._leaving, 15),
            (self._late, 10),
            (self._bad, 15),
        ]
        [make] = self.choice.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])
        return make()

    def warm_up(self) -> list[Case]:
        """Return cases that draw every size and every LoRA once: what they leave in caches is there from then on."""
        sizes = [Case("warm-up", self._arguments(size), frozenset((OK,))) for size in self._sizes()]
        return sizes + [self._case("warm-up", OK, loras=[LoraUse(lora_id)]) for lora_id in self.loras]

    def probes(self) -> list[Case]:
        """Return the two cases whose pictures have to stay equal to the bit."""
        cases = [Case("probe", {"prompt": "a man", "seed": 7, "steps": 3}, frozenset((OK,)))]
        if self.loras:
            use = {"mode": "fast", "loras": [LoraUse(self.loras[0])]}
            cases.append(Case("probe", {"prompt": "a man", "seed": 8, **use}, frozenset((OK,))))
        return cases

    async def run(self, client: AsyncClient, case: Case) -> Outcome:
        """Send a case and say how it ended. Raises nothing that the deployment could cause."""
        began = time.perf_counter()
        options = CallOptions(CallMetadata.new(tenant_id=case.tenant), case.timeout_seconds)
        pictures: list[GeneratedPicture] = []
        finished: Finished | None = None
        ended = OK
        try:
            async with aclosing(client.generate_events(options=options, **case.arguments)) as events:
                number = 0
                async for event in events:
                    number += 1
                    if number == case.leave_after:
                        ended = LEFT
                        break
                    if isinstance(event, GeneratedPicture):
                        pictures.append(event)
                    elif isinstance(event, Finished):
                        finished = event
        except LikenessError as error:
            ended = error.reason
        seconds = time.perf_counter() - began
        if ended != OK:
            return Outcome(case, ended, seconds)
        faults, digest = await asyncio.to_thread(_look_at, case, pictures, finished)
        return Outcome(case, ended, seconds, faults, digest)

    def _case(self, kind: str, *expected: str, **changes: Any) -> Case:
        own = {name: changes.pop(name) for name in ("timeout_seconds", "leave_after") if name in changes}
        tenant = self.choice.choice(("default", "acme", "umbrella"))
        return Case(kind, {**self._arguments(), **changes}, frozenset(expected), tenant, **own)

    def _arguments(self, size: Mapping[str, Any] | None = None) -> dict[str, Any]:
        choice = self.choice
        arguments: dict[str, Any] = {
            "prompt": choice.choice(PROMPTS),
            "seed": choice.randrange(2**32),
            "count": choice.choice((1, 1, 1, 2, 3)),
            "priority": choice.choice(list(Priority)),
            "preview_every": choice.choice((0, 0, 1)),
            "output_format": choice.choice(list(ImageFormat)),
            "quality": choice.choice((None, 50, 90)),
            "trigger_word": choice.choice(("", "ohwx")),
        }
        if choice.random() < 0.4:
            arguments["mode"] = "fast"
        else:
            arguments["steps"] = choice.randint(1, 3)
            arguments["true_cfg_scale"] = choice.choice((1.0, 2.5, 4.0))
            if arguments["true_cfg_scale"] > 1:
                arguments["negative_prompt"] = choice.choice((None, "blurred, hats"))
        return {**arguments, **(size or choice.choice(self._sizes()))}

    def _sizes(self) -> list[dict[str, Any]]:
        side = round(self.capabilities.min_pixels**0.5)
        free = [{"width": side + wider, "height": side + higher} for wider, higher in ((0, 0), (50, 0), (0, 90))]
        return [*({"aspect_ratio": size.aspect_ratio} for size in self.capabilities.sizes), *free]

    def _plain(self) -> Case:
        return self._case("plain", OK)

    def _lora(self) -> Case:
        chosen = self.choice.sample(list(self.loras), self.choice.randint(1, min(2, len(self.loras))))
        uses = [LoraUse(lora_id, strength=self.choice.choice((0.5, 1.0))) for lora_id in chosen]
        return self._case("lora", OK, loras=uses)

    def _leaving(self) -> Case:
        return self._case("leaving", OK, LEFT, leave_after=self.choice.randint(1, 6))

    def _late(self) -> Case:
        seconds = self.choice.choice((0.02, 0.1, 0.3))
        long = {"mode": "", "steps": 100, "count": 8, "true_cfg_scale": 4.0}
        return self._case("late", "DEADLINE_TOO_SHORT", "DEADLINE_EXCEEDED", timeout_seconds=seconds, **long)

    def _bad(self) -> Case:
        changes, reason = self.choice.choice(BAD)
        arguments = {"prompt": "a man", "seed": 1, **changes}
        return Case("bad", arguments, frozenset((reason,)))


def _look_at(
    case: Case, pictures: Sequence[GeneratedPicture], finished: Finished | None
) -> tuple[tuple[str, ...], str]:
    """Return what is wrong with an answer, and a digest over its pictures."""
    if finished is None:
        return ("no finishing event",), ""
    faults = []
    seeds = [case.arguments["seed"] + index for index in range(case.arguments.get("count") or 1)]
    if [picture.seed for picture in pictures] != seeds:
        faults.append("not the seeds that were asked for")
    if {lora.lora_id for lora in finished.loras} != {lora.lora_id for lora in case.arguments.get("loras", ())}:
        faults.append("not the LoRAs that were asked for")
    wanted = case.arguments.get("output_format", ImageFormat.PNG)
    digest = hashlib.sha256()
    for item in pictures:
        digest.update(item.picture.sha256.encode())
        faults += faults_of(item.picture, wanted, (finished.width, finished.height))
    return tuple(faults), digest.hexdigest()
