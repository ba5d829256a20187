"""Ablation, search, and the page of numbers: programs that run the chain many times."""
