"""A process for tests of supervision: says where it listens, then ends as its settings say."""

from __future__ import annotations

import os
import signal
import sys
import threading


def main() -> int:
    """Behave as LIKENESS_GENERATOR_BEHAVIOUR says."""
    behaviour = os.environ.get("LIKENESS_GENERATOR_BEHAVIOUR", "serve")
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    if behaviour == "fail":
        print("the weights are missing", file=sys.stderr)
        return 3
    print("generator listens on 127.0.0.1:1", flush=True)
    told.wait()
    if behaviour == "stubborn":
        print("ending takes for ever", flush=True)
        threading.Event().wait()
    print("ended in order", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
