"""The command ``likeness lora``, and LoRAs as options of other commands."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence

from likeness.calls import CallOptions
from likeness.cli.options import add_server, add_tenant, tenant_options
from likeness.client import AsyncClient
from likeness.errors import InvalidRequest
from likeness.loras import Lora
from likeness.results import LoraUse

_USE = re.compile(r"(?P<id>[^:=]+)(?::(?P<version>\d{1,9}))?(?:=(?P<strength>[-+]?[0-9.]+))?")


def lora_use(text: str) -> LoraUse:
    """Return the LoRA that ``id[:version][=strength]`` names. Raises ArgumentTypeError."""
    match = _USE.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        strength = float(match["strength"] or 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not ID, ID:VERSION or ID:VERSION=STRENGTH") from None
    return LoraUse(match["id"], int(match["version"] or 0), strength)


def add_lora_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose LoRAs for a drawing."""
    parser.add_argument(
        "--lora", type=lora_use, action="append", default=[], metavar="ID[:VERSION][=STRENGTH]", dest="loras",
        help="add a registered LoRA, newest version and strength 1 when left out; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--trigger-word", default="", metavar="TEXT", help="put in front of the prompt when it is not there"
    )


def add_lora_commands(
    parser: argparse.ArgumentParser, server_variable: str, default_server: str
) -> Iterable[argparse.ArgumentParser]:
    """Add ``register``, ``list``, ``show`` and ``delete``, and return their parsers."""
    commands = parser.add_subparsers(dest="lora_command", required=True, metavar="ACTION")
    register = commands.add_parser("register", help="keep a safetensors file as the next version of a LoRA")
    register.add_argument("lora_id", metavar="ID", help="its name: a-z, 0-9, _ and -")
    register.add_argument("source", metavar="FILE", help="the file, or an artifact:// URI")
    register.add_argument("--trigger-word", default="", metavar="TEXT", help="the word that calls the character")
    commands.add_parser("list", help="list the newest version of each LoRA")
    show = commands.add_parser("show", help="describe a LoRA")
    show.add_argument("lora_id", metavar="ID", help="its name")
    show.add_argument("--version", type=int, default=0, help="the newest when left out")
    delete = commands.add_parser("delete", help="remove a version of a LoRA, or all")
    delete.add_argument("lora_id", metavar="ID", help="its name")
    which = delete.add_mutually_exclusive_group(required=True)
    which.add_argument("--version", type=int, help="the version to remove")
    which.add_argument("--all", action="store_true", help="remove every version")
    for command in commands.choices.values():
        add_server(command, server_variable, default_server, "generator")
        add_tenant(command)
    return commands.choices.values()


async def run_lora_command(options: argparse.Namespace) -> tuple[dict[str, object], str]:
    """Do what ``likeness lora`` is told, and return the result for a program and for a person.

    Raises LikenessError, and OSError when a file cannot be read.
    """
    call = tenant_options(options)
    async with AsyncClient(generator_address=options.server) as client:
        match options.lora_command:
            case "register":
                lora = await client.register_lora(
                    options.lora_id, options.source, trigger_word=options.trigger_word, options=call
                )
                return {"lora": lora}, describe_lora(lora)
            case "show":
                lora = await client.get_lora(options.lora_id, options.version, options=call)
                return {"lora": lora}, describe_lora(lora)
            case "delete":
                if not options.all and options.version < 1:
                    raise InvalidRequest("versions count from 1; --all removes every one", field="version")
                version = 0 if options.all else options.version
                versions = await client.delete_lora(options.lora_id, version, options=call)
                return {"versions": versions}, f"removed {options.lora_id} {', '.join(map(str, versions))}"
        loras = await _all_loras(client, call)
        return {"loras": loras}, "\n".join(map(describe_lora, loras)) or "no LoRA"


async def _all_loras(client: AsyncClient, call: CallOptions) -> Sequence[Lora]:
    loras: list[Lora] = []
    token = ""
    while True:
        page = await client.list_loras(page_token=token, options=call)
        loras += page.loras
        token = page.next_page_token
        if not token:
            return loras


def describe_lora(lora: Lora) -> str:
    """Return a LoRA as a line."""
    trigger = f", trigger word {lora.trigger_word!r}" if lora.trigger_word else ""
    shared = ", everybody's" if lora.shared else ""
    return (
        f"{lora.lora_id}:{lora.version}  rank {lora.rank}, {lora.modules} modules, {lora.format}, "
        f"{lora.size_bytes / 2**20:.1f} MiB, for {lora.base_model}{trigger}{shared}"
    )
