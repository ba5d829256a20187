"""Params files as a whole: check, compare, migrate, extend."""
