"""params.yaml as frozen dataclasses, one module a stage."""
