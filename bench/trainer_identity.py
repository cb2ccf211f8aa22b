"""Measures how well a LoRA that the trainer made draws its character: likeness, rank among strangers, drift, time.

    python -m bench.trainer_identity --work out/trainer_identity --json bench/results/trainer_identity.json \
        --sheet out/trainer_identity.jpg

For each of ten invented people a run trains on twelve drawn photos with the profile's defaults. Its LoRA goes through
the generator's registry, and the generator draws three scenes with it, with seeds that the choice of the checkpoint
did not use. Pictures are compared with six photos that the run never had:

- gain: LoRA's pictures against the base's, as a share of the drawing script's own pictures of the person in the same
  scenes against random people's;
- closed: LoRA's against the base's, as a share of the script's own against the base's;
- first: pictures that are more alike to the person than to each of twenty strangers;
- drift: what the LoRA changes where the trigger word is not named.

Called again, it goes on where it was stopped, inside a run too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from pydantic import TypeAdapter

from bench.report import machine
from bench.trainer_figures import CharacterFigures, Drift, Measured, Training, print_table, summarise
from bench.trainer_people import SCENES, Character, Judge, Picture, Strangers
from core.faces import FaceAnalyser
from core.qwen.loading import QwenImageModel, load_model
from core.qwen.loras.library import LoraChoice, LoraLibrary
from core.qwen.loras.requested import RequestedLora
from core.qwen.profile import load_profile
from core.qwen.request import resolve_request
from core.qwen.sampling import ImageFinished, generate
from core.runtime.artifacts import ArtifactStore
from core.runtime.cancellation import CancelToken
from core.runtime.images import ImageFormat, encode_image
from core.training.run import run_training
from core.training.settings import change_settings, default_settings
from core.training.spec import (
    CheckpointScored,
    PhotoFile,
    StepTrained,
    TrainingEvent,
    TrainingResult,
    TrainingSpec,
    latest_checkpoint,
)

WEIGHTS = Path(__file__).parents[1] / "weights"
PROFILE = "miniature"
TRIGGER_WORD = "ohwx"
SEED = 7000
"""Of the first picture; the choice of the checkpoint draws from 1000 on."""
_TILE = 128


_FIGURES = TypeAdapter(CharacterFigures)


class Bench:
    """Measures characters one after the other, each in a folder of its own."""

    def __init__(
        self, work: Path, changes: Mapping[str, Any], *, modes: Sequence[str], seeds: int, threads: int, strangers: int
    ) -> None:
        """Measure in ``work`` with the profile's defaults and ``changes``, ``seeds`` pictures for each scene."""
        self._work = work
        self._changes = changes
        self._modes = tuple(modes)
        self._seeds = seeds
        self._threads = threads
        self._analyser = FaceAnalyser(threads=threads)
        self._strangers = Strangers.load(self._analyser, work / f"strangers-{strangers}.npz", strangers)

    def measure(self, number: int) -> CharacterFigures:
        """Train and draw one character, or return what an earlier call has measured."""
        folder = self._work / f"character-{number:03d}"
        file = folder / "figures.json"
        if file.exists():
            return _FIGURES.validate_json(file.read_bytes())
        character = Character(number)
        result, training = self._train(character, folder / "run")
        judge = Judge(self._analyser, character, self._strangers)
        data = (folder / "run" / result.lora_file).read_bytes()
        modes = {mode: self._draw(character, judge, mode, data, folder) for mode in self._modes}
        person = character.person
        words = f"{person.age} {person.gender}, {person.hair_colour} {person.hair_style} hair"
        figures = CharacterFigures(number, words, training, modes)
        file.write_bytes(_FIGURES.dump_json(figures, indent=1))
        return figures

    def tiles(self, number: int) -> Picture:
        """Return a row of the sheet: two photos, then the base's and the LoRA's picture of each scene."""
        folder = self._work / f"character-{number:03d}"
        photos = [cv2.resize(picture, (_TILE, _TILE)) for picture in Character(number).references()[:2]]
        drawn = cv2.imread(str(folder / f"{self._modes[0]}.png"))
        assert drawn is not None
        return np.hstack([*photos, drawn[..., ::-1]])

    def _train(self, character: Character, run: Path) -> tuple[TrainingResult, Training]:
        files = []
        (run / "photos").mkdir(parents=True, exist_ok=True)
        for place, picture in enumerate(character.photos()):
            name = f"photos/{place:03d}.png"
            (run / name).write_bytes(encode_image(picture).data)
            files.append(PhotoFile(file=name, name=f"photo {place}"))
        settings = change_settings(default_settings(PROFILE), {"class_word": character.person.gender, **self._changes})
        spec = TrainingSpec(
            job_id=f"bench-{character.number}",
            character_id=f"character-{character.number}",
            trigger_word=TRIGGER_WORD,
            photos=tuple(files),
            settings=settings,
            profile=PROFILE,
            weights_dir=str(WEIGHTS),
            threads=self._threads,
        )
        resumed = latest_checkpoint(run) > 0
        wall, cpu = time.monotonic(), time.process_time()
        result = run_training(spec, run, _tell, CancelToken())
        best = result.ranking[0]
        return result, Training(
            step=result.step,
            wall_seconds=round(time.monotonic() - wall, 1),
            cpu_seconds=round(time.process_time() - cpu, 1),
            resumed=resumed,
            first_loss=result.first_loss,
            last_loss=result.last_loss,
            adherence=best.adherence,
            copies=best.copies,
        )

    def _draw(self, character: Character, judge: Judge, mode: str, data: bytes, folder: Path) -> Measured:
        model = load_model(load_profile(PROFILE), weights_dir=WEIGHTS)
        store = ArtifactStore(str(folder / "artifacts"))
        library = LoraLibrary(model, store, max_count=2, max_bytes=2**30, max_file_bytes=2**30)
        class_word = character.person.gender
        before = self._pictures(model, mode, class_word, ())
        library.register("character", data)
        loras = library.find([LoraChoice("character", 0, 1.0)])
        drawn = self._pictures(model, mode, f"{TRIGGER_WORD} {class_word}", loras)
        unnamed = self._pictures(model, mode, class_word, loras)
        after = self._pictures(model, mode, class_word, ())
        shown = [cv2.resize(picture, (_TILE, _TILE)) for picture in (*before[:3], *drawn[:3])]
        (folder / f"{mode}.png").write_bytes(encode_image(np.hstack(shown)).data)
        return Measured(
            own=judge.look(character.in_scenes(2)),
            stranger=judge.stranger(),
            base=judge.look(before),
            lora=judge.look(drawn),
            drift=Drift(
                identity=judge.look(unnamed).identity,
                pixels=_difference(unnamed, before),
                pixels_with_trigger=_difference(drawn, before),
            ),
            base_unchanged=all(np.array_equal(a, b) for a, b in zip(before, after, strict=True)),
        )

    def _pictures(
        self, model: QwenImageModel, mode: str, subject: str, loras: tuple[RequestedLora, ...]
    ) -> list[Picture]:
        pictures: list[Picture] = []

        def keep(event: object) -> None:
            if isinstance(event, ImageFinished):
                pictures.append(event.pixels)

        for place in range(self._seeds * len(SCENES)):
            prompt = SCENES[place % len(SCENES)][0].format(subject=subject)
            request = resolve_request(model.profile, prompt=prompt, seed=SEED + place, mode=mode, loras=loras)
            generate(model.pipeline, model.decoder, request, CancelToken(), keep)
        return pictures


def _tell(event: TrainingEvent) -> None:
    if isinstance(event, StepTrained) and event.step % 50 == 0:
        print(f"  step {event.step} loss {event.smoothed_loss:.3f} {event.seconds_per_step:.2f} s/step", flush=True)
    if isinstance(event, CheckpointScored):
        print(f"  scored {event.score.step}: identity {event.score.identity:.3f}", flush=True)


def _difference(first: Sequence[Picture], second: Sequence[Picture]) -> float:
    return float(np.mean([np.abs(a.astype(np.int16) - b).mean() for a, b in zip(first, second, strict=True)]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs; what is there is not done again")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--sheet", type=Path, help="write the pictures here (JPEG)")
    parser.add_argument("--characters", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="number of the first character")
    parser.add_argument("--seeds", type=int, default=2, help="pictures for each scene")
    parser.add_argument("--strangers", type=int, default=20, help="people that the character is told from")
    parser.add_argument("--modes", nargs="+", default=["fast"], help="modes of the generator to draw in")
    parser.add_argument("--changes", type=Path, help="JSON of training settings that differ from the defaults")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    changes = json.loads(chosen.changes.read_text(encoding="utf-8")) if chosen.changes else {}
    bench = Bench(
        chosen.work,
        changes,
        modes=chosen.modes,
        seeds=chosen.seeds,
        threads=chosen.threads,
        strangers=chosen.strangers,
    )
    figures: list[CharacterFigures] = []
    for number in range(chosen.first, chosen.first + chosen.characters):
        print(f"character {number}", flush=True)
        figures.append(bench.measure(number))
        if chosen.json:
            document = {
                "machine": {**machine("torch", "diffusers", "peft"), "threads": chosen.threads},
                "changes": changes,
                "summary": {mode: summarise(figures, mode) for mode in chosen.modes},
                "characters": [asdict(figure) for figure in figures],
            }
            chosen.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for mode in chosen.modes:
        print_table(figures, mode)
        print(json.dumps(summarise(figures, mode), indent=1))
    if chosen.sheet:
        sheet = np.vstack([bench.tiles(figure.number) for figure in figures])
        chosen.sheet.write_bytes(encode_image(sheet, ImageFormat.JPEG, 88).data)


if __name__ == "__main__":
    main()
