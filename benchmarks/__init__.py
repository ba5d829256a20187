"""What the project costs, beside a reference in the same run: `make bench`. Method and results: docs/performance.md."""
