"""Answers and truth to numbers."""
