"""Images of several shapes, and one thread for PyTorch."""

from support.fixtures import manifest, single_thread

__all__ = ["manifest", "single_thread"]
