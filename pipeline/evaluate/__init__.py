"""Predictions of split val to scores."""
