"""The classifier: backbones, pooling, weights, and its files."""
