"""Check a run before hours are spent: all that is wrong at once, and how long and how large it will be."""
