"""`python -m pipeline.preflight`: the same as `lid preflight`."""

import sys

from pipeline.cli import main

sys.exit(main(["preflight", *sys.argv[1:]]))
