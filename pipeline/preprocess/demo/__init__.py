"""The challenge in miniature, rendered to the same bytes on every machine."""
