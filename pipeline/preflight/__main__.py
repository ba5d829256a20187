"""`python -m pipeline.preflight`."""

import sys

from pipeline.preflight.run import main

sys.exit(main())
