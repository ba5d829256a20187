"""Images of one color each, a file of weights, one thread for PyTorch, and the methods of the tests."""

from support.fixtures import colors, manifest, single_thread, start, toys

__all__ = ["colors", "manifest", "single_thread", "start", "toys"]
