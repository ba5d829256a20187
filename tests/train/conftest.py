"""Images of one color each, a file of weights, and one thread for PyTorch."""

from support.fixtures import colors, single_thread, start

__all__ = ["colors", "single_thread", "start"]
