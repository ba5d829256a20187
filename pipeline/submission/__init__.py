"""Zips made anywhere: checked and scored without a run of the chain."""
