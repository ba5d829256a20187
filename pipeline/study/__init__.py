"""Questions to a run: the ablation, why it works, which settings are best, and the page of numbers. No stage depends on it."""
