"""A work that this machine cannot show."""


class Skipped(Exception):  # noqa: N818, it is no error
    """Raised by a work; its message is the reason, such as "this CPU has no bfloat16 instructions"."""
