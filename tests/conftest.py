"""Settings of all tests."""

from hypothesis import settings

# the same examples in every run: a failure belongs to the change that made it
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")
