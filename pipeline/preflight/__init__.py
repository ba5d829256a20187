"""Check a run before hours are spent: everything that is wrong in all places at once, and how long and large it will
be."""
