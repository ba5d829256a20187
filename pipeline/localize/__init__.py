"""Classifier to maps, maps to answers."""
