"""Results to the page that people look at."""
