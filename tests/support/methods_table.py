"""The training methods with options that fit tiny networks, and with those that switch them off."""

from typing import Any

METHODS: dict[str, dict[str, Any]] = {
    "acol": {"width": 4},
    "adl": {},
    "ae": {"threshold": 0.6},
    "bas": {},
    "cutmix": {},
    "has": {},
}
OFF: dict[str, dict[str, Any]] = {
    "acol": {"weight": 0.0},
    "adl": {"probability": 0.0},
    "ae": {"rounds": 1},
    "bas": {"strength": 0.0},
    "cutmix": {"probability": 0.0},
    "has": {"probability": 0.0},
}
CONVOLUTIONAL, TRANSFORMER = "test_resnet", "test_vit"
