"""Run everything in the foreground: the services, the editor where it has weights, the trainer, and the gateway.

Ctrl-C stops them all; a training job goes on from its last checkpoint at the next start.

python -m scripts.up [--port 8080]
"""

from __future__ import annotations

import argparse
import sys

from scripts.deployment import start_all
from scripts.supervisor import SupervisionError, Supervisor, ending_on_signals

COLOURS = {
    "generator": "\033[36m",
    "faceswap": "\033[35m",
    "editor": "\033[34m",
    "trainer": "\033[32m",
    "gateway": "\033[33m",
}
READY_SECONDS = 300.0


def write_line(name: str, line: str) -> None:
    """Write a process's line with its name before it."""
    prefix = f"{name:>9} |"
    if sys.stdout.isatty():
        prefix = f"{COLOURS.get(name, '')}{prefix}\033[0m"
    print(f"{prefix} {line}", flush=True)


def main() -> int:
    """Run until Ctrl-C; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080, help="port of the gateway (%(default)s)")
    parser.add_argument("--generator-port", type=int, default=50051, help="port of the generator (%(default)s)")
    parser.add_argument("--faceswap-port", type=int, default=50052, help="port of the faceswap service (%(default)s)")
    parser.add_argument("--editor-port", type=int, default=50053, help="port of the editor (%(default)s)")
    parser.add_argument("--trainer-port", type=int, default=50054, help="port of the trainer (%(default)s)")
    parser.add_argument("--no-editor", action="store_true", help="leave the editor out")
    parser.add_argument("--no-trainer", action="store_true", help="leave the trainer out")
    options = parser.parse_args()
    try:
        with ending_on_signals(), Supervisor(write_line) as supervisor:
            address = start_all(
                supervisor,
                gateway_port=options.port,
                generator_port=options.generator_port,
                faceswap_port=options.faceswap_port,
                editor_port=None if options.no_editor else options.editor_port,
                trainer_port=None if options.no_trainer else options.trainer_port,
            )
            supervisor.wait_ready(address, READY_SECONDS, lambda states: None)
            if not options.no_trainer:
                supervisor.wait_serving("trainer", READY_SECONDS)
            for name, place in supervisor.addresses().items():
                write_line("up", f"{name} serves on {place}")
            write_line("up", f"ready: http://{address}/docs (Ctrl-C stops everything)")
            supervisor.watch()
    except KeyboardInterrupt:
        write_line("up", "stopped")
        return 0
    except SupervisionError as error:
        print(f"up: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
