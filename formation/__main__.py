"""``python -m formation``: see `formation.cli`."""

import sys

from formation.cli import main

if __name__ == "__main__":
    sys.exit(main())
