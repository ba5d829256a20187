"""`python -m pipeline.preflight`; a library that cannot be imported is one message, not a traceback."""

import sys

try:
    from pipeline.preflight.run import main
except Exception as error:  # a broken library can raise anything
    hint = "pip install --constraint constraints.txt --editable ., which needs a C++ compiler for pydensecrf2"
    sys.exit(f"error: expected to import all libraries, got {type(error).__name__}: {error}; {hint}")

sys.exit(main())
