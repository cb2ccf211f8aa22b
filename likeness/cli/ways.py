"""The command ``likeness compare``: one character by swap, edit and LoRA."""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from likeness.calls import CallOptions
from likeness.channel import (
    DEFAULT_EDITOR_ADDRESS,
    DEFAULT_FACESWAP_ADDRESS,
    DEFAULT_GENERATOR_ADDRESS,
    DEFAULT_TRAINER_ADDRESS,
)
from likeness.cli import output
from likeness.cli.loras import lora_use
from likeness.cli.options import (
    EDITOR_VARIABLE,
    FACESWAP_VARIABLE,
    GENERATOR_VARIABLE,
    TRAINER_VARIABLE,
    add_common,
)
from likeness.cli.photos import photo_files
from likeness.cli.progress import CountLine
from likeness.cli.ways_output import describe_ways
from likeness.cli.writing import check_place, show
from likeness.client import AsyncClient
from likeness.errors import InvalidRequest
from likeness.metadata import CallMetadata
from likeness.results import LoraUse
from likeness.trainer_client import AsyncTrainerClient
from likeness.ways.files import write_pictures
from likeness.ways.judge import Judge, JudgeError, judged
from likeness.ways.plan import DEFAULT_SCENES, DEFAULT_SEEDS, WaysPlan
from likeness.ways.result import Way, WaysResult

_SERVERS = (
    ("generator", GENERATOR_VARIABLE, DEFAULT_GENERATOR_ADDRESS),
    ("faceswap", FACESWAP_VARIABLE, DEFAULT_FACESWAP_ADDRESS),
    ("editor", EDITOR_VARIABLE, DEFAULT_EDITOR_ADDRESS),
    ("trainer", TRAINER_VARIABLE, DEFAULT_TRAINER_ADDRESS),
)
_EPILOG = """measures:
  identity     cosine of the largest face to the reference's; a picture without a face counts as 0
  to photos    the same to --photos: fairer, since the swap and the editor have seen the reference
  scene kept   how much nearer the background is to the plain drawing of the same words than to those of the other
               scenes; 1 is the same, 0.5 is chance
  adherence    what --judge says of each picture and its words
  plain        the model's own drawing of --person: somebody whom the words describe, the mark to be better than

example:
  likeness compare anna.jpg --person "a woman with black hair" --job anna-1 --photos unseen/ --pictures pictures/
"""


def add_ways(parser: argparse.ArgumentParser) -> None:
    """Add what ``compare`` can be told."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("reference", type=Path, help="a photo of the person")
    parser.add_argument(
        "--ways", type=_ways, default=tuple(Way), metavar="WAYS",
        help=f"which ways, with commas between them ({','.join(Way)})",
    )  # fmt: skip
    parser.add_argument(
        "--photos", type=Path, nargs="+", default=[], metavar="PATH",
        help="further photos of the person, or folders of them, to measure likeness to; not those that were trained on",
    )  # fmt: skip
    parser.add_argument(
        "--person", default="a person", metavar="TEXT",
        help='words for the person, for example "a woman with black hair"; swaps look best onto somebody alike '
        "(%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--scene", action="append", dest="scenes", metavar="TEXT",
        help=f"where the person shall be; may be repeated ({', '.join(DEFAULT_SCENES)})",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", type=_seeds, default=DEFAULT_SEEDS, metavar="SEEDS",
        help=f"seeds for each scene, with commas between them ({','.join(map(str, DEFAULT_SEEDS))})",
    )  # fmt: skip
    parser.add_argument("--mode", default="", help="mode of generator and editor: full (the default), fast, …")
    lora = parser.add_argument_group("the LoRA")
    which = lora.add_mutually_exclusive_group()
    which.add_argument("--job", metavar="ID", help="the training job that made it; tells the words and the time too")
    which.add_argument(
        "--lora",
        type=lora_use,
        metavar="ID[:VERSION][=STRENGTH]",
        help="a registered LoRA, newest version and strength 1 when left out",
    )
    lora.add_argument(
        "--lora-person", default="", metavar="TEXT",
        help="words for the person with it; trigger word and class word of --job, else the trigger word and --person",
    )  # fmt: skip
    lora.add_argument("--tenant", default="default", help="whose job and LoRA they are (%(default)s)")
    parser.add_argument("--engine", default="", help="swap engine; the deployment's own when left out")
    parser.add_argument(
        "--denoise",
        type=float,
        metavar="SHARE",
        help="how much the editor replaces, over 0 to 1; its own default when left out",
    )
    parser.add_argument(
        "--judge", metavar="COMMAND",
        help='a program that reads a line of JSON a picture, {"file", "prompt"}, and writes a number from 0 to 1 each',
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("compare.png"), metavar="FILE",
        help="where to write the sheet of all pictures (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write every picture into this folder too")
    for name, variable, default in _SERVERS:
        parser.add_argument(
            f"--{name}-server", metavar="HOST:PORT", default=os.environ.get(variable, default),
            help=f"where the {name} is (%(default)s)",
        )  # fmt: skip
    add_common(parser)


async def compare_ways(options: argparse.Namespace) -> None:
    """Run ``compare``. Raises LikenessError and OSError."""
    try:
        from likeness.ways import run, sheet  # the one place where a client needs Pillow
    except ModuleNotFoundError as error:
        raise InvalidRequest("compare draws a sheet and needs Pillow: pip install 'likeness[compare]'") from error

    check_place(options.output)
    file_format = output.format_for(options.output).name
    judge = None if options.judge is None else Judge(options.judge)
    plan = _plan(options)
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)  # what can't be written to is told before the work
    call = CallOptions(CallMetadata.new(tenant_id=options.tenant), options.timeout)
    services = (options.generator_server, options.faceswap_server, options.editor_server)
    progress = CountLine()
    async with AsyncClient(*services, default_options=call) as client:
        plan = await _with_lora(plan, client, options, call)
        try:
            result = await run.compare_ways(
                client, plan, lambda at: progress(f"{at.way}, {at.done} of {at.total} pictures", at.done, at.total)
            )
            if judge is not None:
                progress.write(f"{judge.name} judges the pictures")
            result = await _judged(result, judge, plan, options.pictures)
        finally:
            progress.close()
    drawn = sheet.contact_sheet(plan.reference, result, f"{options.reference.name}: {plan.person}")
    drawn.save(options.output, format=file_format)
    show(options, result, f"{describe_ways(result)}\n{options.output}", [options.output])


def _plan(options: argparse.Namespace) -> WaysPlan:
    """Return what the command line says, but for the LoRA. Raises InvalidRequest and OSError."""
    photos = [file for path in options.photos for file in photo_files(path)]
    plan = WaysPlan(
        reference=options.reference.read_bytes(),
        photos=[photo.read_bytes() for photo in photos],
        ways=options.ways,
        person=options.person,
        scenes=options.scenes or DEFAULT_SCENES,
        seeds=options.seeds,
        mode=options.mode,
        lora=options.lora,
        lora_person=options.lora_person,
        denoise=options.denoise,
        engine=options.engine,
    )
    plan.check()
    return plan


async def _with_lora(plan: WaysPlan, client: AsyncClient, options: argparse.Namespace, call: CallOptions) -> WaysPlan:
    """Return the plan with the LoRA of the job, and the words that call it."""
    if Way.LORA not in plan.ways:
        return plan
    if options.job is not None:
        async with AsyncTrainerClient(options.trainer_server, default_options=call) as trainer:
            job = await trainer.get(options.job)
        if job.lora is None:
            raise InvalidRequest(f"job: {job.job_id} is {job.state} and has no LoRA", field="job")
        seconds = None
        if job.start_time is not None and job.end_time is not None:
            seconds = (job.end_time - job.start_time).total_seconds()
        words = f"{job.trigger_word} {job.class_word}".strip()
        lora = LoraUse(job.lora.lora_id, job.lora.version)
        return replace(plan, lora=lora, lora_person=plan.lora_person or words, lora_seconds=seconds)
    if plan.lora is not None and not plan.lora_person:
        # An unknown LoRA is told here, before anything is drawn.
        known = await client.get_lora(plan.lora.lora_id, plan.lora.version)
        # The generator would put the trigger word in front too, but the sheet shall say what was asked.
        words = f"{known.trigger_word}, {plan.person}" if known.trigger_word else plan.person
        return replace(plan, lora_person=words)
    return plan


async def _judged(result: WaysResult, judge: Judge | None, plan: WaysPlan, folder: Path | None) -> WaysResult:
    """Write the pictures where they are wanted, and ask the judge; a judge that fails costs no result."""
    with tempfile.TemporaryDirectory() as passing:
        if folder is not None or judge is not None:
            folder = folder or Path(passing)
            write_pictures(result, folder)
        if judge is None or folder is None:
            return result
        try:
            return await judged(result, judge, plan, folder)
        except JudgeError as error:
            return replace(result, warnings=(*result.warnings, str(error)))


def _ways(text: str) -> tuple[Way, ...]:
    """Return ways with commas between them. Raises ArgumentTypeError."""
    try:
        return tuple(Way(part.strip()) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be of {', '.join(Way)}, with commas between them") from None


def _seeds(text: str) -> tuple[int, ...]:
    """Return seeds with commas between them. Raises ArgumentTypeError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError("must be whole numbers from 0 on, with commas between them")
    return tuple(map(int, parts))
