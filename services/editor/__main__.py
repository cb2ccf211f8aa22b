"""Runs the editor: ``python -m services.editor``."""

from __future__ import annotations

import sys

from core.runtime.server import run_service
from services.editor.service import make_spec
from services.editor.settings import EditorSettings

if __name__ == "__main__":
    sys.exit(run_service(make_spec, EditorSettings))
