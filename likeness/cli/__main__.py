"""``python -m likeness.cli``."""

import sys

from likeness.cli import main

if __name__ == "__main__":
    sys.exit(main())
