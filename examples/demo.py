"""Formation in ten seconds, as `make demo` and `python -m formation demo` run it; see formation/cli/demo.py."""

import sys

from formation.cli import main

sys.exit(main(["demo", *sys.argv[1:]]))
