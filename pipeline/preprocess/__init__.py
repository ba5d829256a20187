"""Folders of images to the manifest."""
