"""Labels to classifier."""
