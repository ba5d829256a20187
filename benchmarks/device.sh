#!/usr/bin/env bash
# The rows of a GPU on a machine without a network: benchmarks/device.sh OUT [WORK,WORK]
# Needs this checkout and a `python` with the project's packages. Every work ends after 50 s at most, the demo takes about
# a minute: less than 8 minutes in all. OUT then holds results/<machine>.json, to be copied to benchmarks/results/.
set -euo pipefail
out=$(realpath -m "$1")
cd "$(dirname "$0")/.."
mkdir -p "$out"
cp docs/performance.md "$out/"
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
python -m benchmarks --device cuda --only "${2:-}" --seconds 50 --demo --results "$out" --page "$out/performance.md"
