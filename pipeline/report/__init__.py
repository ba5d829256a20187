"""Results to the page of the run."""
