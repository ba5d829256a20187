"""The hub of weights: what is published there, what has been downloaded before, and whether it can be reached."""

import os
import re
import urllib.error
import urllib.request
from pathlib import Path

import timm
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.constants import ENDPOINT as ENDPOINT

from pipeline.core.files import sha256


def known_tags(name: str) -> list[str]:
    """The tags under which weights of a timm model are published.

    >>> "ra2_in1k" in known_tags("seresnet50")
    True
    """
    return [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]


def is_cached(name: str) -> bool:
    """Whether the weights of a timm model, `<name>` or `<name>.<tag>`, have been downloaded before."""
    return _cached_file(name) is not None


def other_bytes(name: str) -> str:
    """What is wrong with the downloaded weights of a timm model; empty if they are what the hub announced.

    The hub's library names each large file by the sha256 that the hub announced, and never compares the bytes.
    """
    link = _cached_file(name)
    path = link.resolve() if link else Path()
    if link is None or not re.fullmatch("[0-9a-f]{64}", path.name) or (found := sha256(path)) == path.name:
        return ""
    return (
        f"{path}: expected the bytes that the hub announced (sha256 {path.name:.12}…), got others ({found:.12}…); "
        "likely a damaged download: remove the file, and it is fetched again"
    )


def _cached_file(name: str) -> Path | None:
    known = timm.get_pretrained_cfg(name)
    if known is None or not known.hf_hub_id:
        return None
    files = ("model.safetensors", "pytorch_model.bin")  # a repository holds one of them
    found = (try_to_load_from_cache(known.hf_hub_id, file) for file in files)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def is_offline() -> bool:
    """Whether the environment forbids the hub's library to use the network."""
    return os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")


def can_reach(address: str) -> bool:
    """Whether a server responds within five seconds, with an error or without."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=5):
            return True
    except OSError as error:
        return isinstance(error, urllib.error.HTTPError)  # an error of the server is a response
