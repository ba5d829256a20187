"""Where images come from: one module a layout, each lists its files as a manifest."""
