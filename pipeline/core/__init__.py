"""What all stages share: errors, files, images, the manifest, stores, tracks, the truth, settings, hardware."""
