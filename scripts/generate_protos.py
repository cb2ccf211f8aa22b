"""Write the Python contract under ``likeness/`` from ``protos/``, or check that it is up to date.

``buf/validate/validate.proto`` ships with no package as a file, but the installed protovalidate holds its descriptor:
that is handed to protoc, so that the annotations in our protos always fit the validator that reads them.
"""

from __future__ import annotations

import argparse
import filecmp
import re
import shutil
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from protovalidate._gen.buf.validate import validate_pb

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
OUTPUT = ROOT / "likeness"
WELL_KNOWN = ("descriptor", "duration", "timestamp", "field_mask")
# Generated packages of our own protos, and the one that their options need.
GENERATED = ("common", "generator", "faceswap", "editor", "trainer", "vendor")
# protoc looks for its plugins on the PATH, where the virtual environment's are only once it is activated.
PLUGINS = [
    f"--plugin={name}={Path(sys.executable).parent / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
]


def write_validate_descriptor(path: Path) -> None:
    """Write a FileDescriptorSet with ``buf/validate/validate.proto`` and what it imports."""
    files = descriptor_pb2.FileDescriptorSet()
    for name in WELL_KNOWN:
        module = __import__(f"google.protobuf.{name}_pb2", fromlist=["DESCRIPTOR"])
        module.DESCRIPTOR.CopyToProto(files.file.add())
    files.file.add().ParseFromString(validate_pb._DESC.proto.to_binary())
    path.write_bytes(files.SerializeToString())


def sources() -> list[str]:
    """List our protos by the names under which they import each other."""
    return sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))


def write_image(path: Path) -> None:
    """Write all protos, with their comments and imports, as one FileDescriptorSet.

    It is what buf lints: buf can't compile the sources here, since it would fetch buf/validate from its registry.
    """
    with tempfile.TemporaryDirectory() as temporary:
        descriptors = Path(temporary) / "validate.binpb"
        write_validate_descriptor(descriptors)
        path.parent.mkdir(parents=True, exist_ok=True)
        run_protoc([f"-I{PROTOS}", f"--descriptor_set_in={descriptors}", "--include_imports", "--include_source_info",
                    f"--descriptor_set_out={path}", *sources()])  # fmt: skip


def generate(output: Path) -> None:
    """Generate the whole contract into ``output`` (the folder that becomes ``likeness/``)."""
    with tempfile.TemporaryDirectory() as temporary:
        build = Path(temporary)
        descriptors = build / "validate.binpb"
        write_validate_descriptor(descriptors)
        out = build / "out"
        out.mkdir()
        plugins = [*PLUGINS, f"--python_out={out}", f"--mypy_out=quiet:{out}"]
        run_protoc([f"-I{PROTOS}", f"--descriptor_set_in={descriptors}", *plugins,
                    f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", *sources()])  # fmt: skip
        run_protoc([f"--descriptor_set_in={descriptors}", *plugins, "buf/validate/validate.proto"])
        vendor = out / "likeness" / "vendor"
        vendor.mkdir()
        shutil.move(out / "buf", vendor / "buf")
        for path in (out / "likeness").rglob("*.py*"):
            text = path.read_text()
            text = re.sub(r"^from buf\.validate import", "from likeness.vendor.buf.validate import", text, flags=re.M)
            path.write_text(text)
        for name in GENERATED:
            shutil.rmtree(output / name, ignore_errors=True)
            shutil.copytree(out / "likeness" / name, output / name)
            for folder in [output / name, *(p for p in (output / name).rglob("*") if p.is_dir())]:
                (folder / "__init__.py").touch()


def run_protoc(arguments: list[str]) -> None:
    """Run protoc with Google's own well-known protos on its path; raise when it fails."""
    include = Path(protoc.__file__).parent / "_proto"
    if protoc.main(["protoc", f"-I{include}", *arguments]) != 0:
        raise SystemExit("protoc failed")


def differing(left: Path, right: Path) -> list[str]:
    """List the files that only one of two folders holds, or that differ between them."""
    names = {p.relative_to(folder) for folder in (left, right) for p in folder.rglob("*.py*") if p.suffix != ".pyc"}
    return sorted(
        str(name)
        for name in names
        if not ((left / name).exists() and (right / name).exists())
        or not filecmp.cmp(left / name, right / name, shallow=False)
    )


def main() -> int:
    """Generate; with ``--check`` compare with what is there; with ``--image`` write only that file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the contract is out of date")
    parser.add_argument("--image", type=Path, metavar="FILE", help="only write the descriptors, for buf lint")
    arguments = parser.parse_args()
    if arguments.image:
        write_image(arguments.image)
        return 0
    if not arguments.check:
        generate(OUTPUT)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary)
        generate(fresh)
        stale = [f"{name}/{file}" for name in GENERATED for file in differing(fresh / name, OUTPUT / name)]
    if stale:
        print("out of date; run `make protos`:", *stale, sep="\n  ", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
