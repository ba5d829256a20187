"""The hub of weights: what is published there, what has been downloaded before, and whether it can be reached."""

import os
import urllib.error
import urllib.request

import timm
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.constants import ENDPOINT as ENDPOINT


def known_tags(name: str) -> list[str]:
    """The tags under which weights of a timm model are published.

    >>> "ra2_in1k" in known_tags("seresnet50")
    True
    """
    return [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]


def is_cached(name: str) -> bool:
    """Whether the weights of a timm model, `<name>` or `<name>.<tag>`, have been downloaded before."""
    known = timm.get_pretrained_cfg(name)
    if known is None or not known.hf_hub_id:
        return False
    files = ("model.safetensors", "pytorch_model.bin")  # a repository holds one of them
    return any(isinstance(try_to_load_from_cache(known.hf_hub_id, file), str) for file in files)


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
