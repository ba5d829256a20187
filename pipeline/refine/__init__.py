"""Maps to predictions: the dense CRF, score maps and label maps."""
