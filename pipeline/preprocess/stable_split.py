"""A split of images that have none: by a hash of the image id, so that it stays as it is when images are added."""

import hashlib
from collections.abc import Iterable, Sequence

from pipeline.core.manifest import Split


def position(image_id: str, seed: int) -> float:
    """A number in [0, 1) that an image always gets: the first 52 bits of SHA-256 of `<seed>/<id>`, over 2^52.

    >>> round(position("cat__1", seed=0), 4), position("cat__1", seed=0) == position("cat__1", seed=1)
    (0.5436, False)
    """
    digest = hashlib.sha256(f"{seed}/{image_id}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 12) / 2**52


def split_classes(
    ids: Iterable[Sequence[str]], seed: int, val_share: float, test_share: float = 0.0
) -> dict[str, Split]:
    """Divide the images of each class; shares hold on average.

    With u the position of an image: val if u < val_share, test if val_share <= u < val_share + test_share, else train.
    A class without a train image keeps the one with the largest u there; then a class without a val image gives it the
    train image with the smallest u, unless it is the only one. So new images change the split of others only in a class
    to which one of these two exceptions applied before, or applies then.

    Args:
        ids: image ids of each class
        seed: another one divides in another way
        val_share, test_share: of the images, their sum below 1

    Returns:
        the split by image id

    >>> split_classes([["cat__1", "cat__2", "cat__3"], ["dog__1"]], seed=0, val_share=0.2)
    {'cat__1': 'train', 'cat__2': 'train', 'cat__3': 'val', 'dog__1': 'train'}
    """
    found: dict[str, Split] = {}
    for members in ids:
        found |= _split_class(members, seed, val_share, test_share)
    return found


def _split_class(ids: Sequence[str], seed: int, val_share: float, test_share: float) -> dict[str, Split]:
    u = {image_id: position(image_id, seed) for image_id in ids}
    rising = sorted(ids, key=lambda image_id: (u[image_id], image_id))
    found = {image_id: _split_of(u[image_id], val_share, test_share) for image_id in ids}
    if rising and "train" not in found.values():
        found[rising[-1]] = "train"
    train = [image_id for image_id in rising if found[image_id] == "train"]
    if "val" not in found.values() and len(train) > 1:
        found[train[0]] = "val"
    return found


def _split_of(u: float, val_share: float, test_share: float) -> Split:
    if u < val_share:
        return "val"
    return "test" if u < val_share + test_share else "train"
