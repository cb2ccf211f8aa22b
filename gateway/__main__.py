"""``python -m gateway``: serve until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import sys

from core.runtime.settings import SettingsError
from core.runtime.telemetry import configure_logging, log
from gateway.server import keep_large_buffers, serve
from gateway.settings import GatewaySettings


def main() -> int:
    """Run the gateway; return its exit code."""
    try:
        settings = GatewaySettings.load()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    configure_logging(settings.log_level, settings.log_format)
    # Each request has a line of its own; what uvicorn says of starting and ending is said too.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    keep_large_buffers()
    try:
        asyncio.run(serve(settings))
    except Exception as error:
        log(logging.getLogger("likeness.gateway"), logging.CRITICAL, "the gateway failed", exc_info=error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
