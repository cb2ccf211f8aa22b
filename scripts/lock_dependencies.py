"""Write the three lock files from pyproject.toml; needs uv on the PATH.

requirements.lock runs the services, requirements-cuda.lock holds the libraries without which PyTorch's CUDA build does
not start, and requirements-dev.lock holds what the tests and checks need on top. Pins that still fit are kept; name
packages to renew them, or pass --upgrade to renew all.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OVERRIDES = ROOT / "requirements-overrides.txt"
RUNTIME = ROOT / "requirements.lock"
CUDA = ROOT / "requirements-cuda.lock"
DEVELOPMENT = ROOT / "requirements-dev.lock"
OLDEST_PYTHON = "3.11"
SERVICES = ("generator", "faceswap", "editor", "trainer", "gateway")
HEADER = "# Written by `make lock` from pyproject.toml; install with pip's --no-deps.\n"


def resolve(extras: tuple[str, ...], pinned: Path, upgrade: list[str]) -> list[str]:
    """Return the pins of the extras for every platform and Python, one a line; those in ``pinned`` are preferred."""
    command = ["uv", "pip", "compile", "pyproject.toml", "--universal", "--python-version", OLDEST_PYTHON]
    command += ["--override", str(OVERRIDES), "--no-annotate", "--no-header", "--no-emit-index-url"]
    command += ["--quiet", "--output-file", str(pinned), *upgrade]
    command += [f"--extra={extra}" for extra in extras]
    subprocess.run(command, cwd=ROOT, check=True)
    lines = pinned.read_text().splitlines()
    return [line for line in lines if line and "sys_platform == 'never'" not in line]


def is_cuda(pin: str) -> bool:
    """Tell whether a pin is one of the CUDA libraries that PyTorch links."""
    return re.match(r"(nvidia-|cuda-)", pin) is not None


def main() -> int:
    """Resolve everything at once, so that the three files agree, and part the pins by who needs them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="*", help="packages to renew")
    parser.add_argument("--upgrade", action="store_true", help="renew all")
    options = parser.parse_args()
    upgrade = ["--upgrade"] if options.upgrade else [f"--upgrade-package={name}" for name in options.packages]
    with tempfile.TemporaryDirectory() as temporary:
        pinned = Path(temporary) / "pinned.txt"
        pinned.write_text("".join(path.read_text() for path in (RUNTIME, CUDA, DEVELOPMENT) if path.exists()))
        everything = resolve((*SERVICES, "dev"), pinned, upgrade)
        runtime = set(resolve(SERVICES, pinned, []))
    served = [pin for pin in everything if pin in runtime]
    write(RUNTIME, [pin for pin in served if not is_cuda(pin)])
    write(CUDA, [pin for pin in served if is_cuda(pin)])
    write(DEVELOPMENT, [pin for pin in everything if pin not in runtime])
    return 0


def write(path: Path, pins: list[str]) -> None:
    """Write a lock file."""
    path.write_text(HEADER + "".join(f"{pin}\n" for pin in pins))


if __name__ == "__main__":
    raise SystemExit(main())
