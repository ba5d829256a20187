"""The challenge in miniature, rendered to the same bytes on x86-64 with the pinned libraries."""
