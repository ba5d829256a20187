"""Image-level labels to a classifier."""
