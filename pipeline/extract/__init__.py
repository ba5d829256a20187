"""Classifier to class activation maps on a common scale."""
