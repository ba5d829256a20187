"""Downloads of public sets by torchvision, which has their addresses and checksums."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.core.errors import DataError


def download(root: Path, name: str, call: Callable[[], Any]) -> None:
    """Run a download into `root`.

    Raises:
        DataError: if it fails
    """
    root.mkdir(parents=True, exist_ok=True)
    try:
        call()
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{root}: expected to download {name} (preprocess.source.download: true), got {error!r}; likely no "
            "network, unpack the official archives there by hand and set download: false"
        ) from error
