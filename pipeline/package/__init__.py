"""Predictions to a submission."""
