"""One small network of every family of timm as a backbone: is it taken, at which output stride, is its map aligned?

    python benchmarks/backbones.py            # all families, about ten minutes on two cores
    python benchmarks/backbones.py convnext   # some of them

Prints a table in Markdown, whose summary is in docs/backbones.md. Weights are random and output stride 16 is asked for.
*Aligned*: a bright square in each corner of a gray image, one after the other, changes the features most in a cell of
that quarter; the image has another shape than the networks are made for, and sides that are no multiples of the stride.
What the table does not cover: how good the maps of trained weights are.
"""

import pkgutil
import re
import sys
from collections import Counter
from collections.abc import Iterator

import timm
import torch
from torch import nn

from pipeline.core.errors import TrainError
from pipeline.models.backbones import build_backbone, stride_of
from pipeline.models.feature_map import FeatureMap

REQUESTED = 16
SHAPE = (230, 310)  # (H, W)
# words in the names of small networks, the smallest first
SMALL = ("^test_", "femto", "atto", "xxs", "pico", "nano", "zero", "lite0|_050|_035|_002|s32", "_[tmsbf]0|_xs", "tiny")
MORE_SMALL = ("s12|18", "_[st](_|$)", "mini", "small", "26|121|base|_88m|_167m")


def families() -> dict[str, str]:
    """The name of a small network of each family, which is a module of timm."""
    modules = sorted(module.name for module in pkgutil.iter_modules(timm.models.__path__))
    names = {module: timm.list_models(module=module) for module in modules}
    return {module: min(found, key=_rank) for module, found in names.items() if found}


def _rank(name: str) -> tuple[int, int, str]:
    words = (*SMALL, *MORE_SMALL)
    return next((n for n, word in enumerate(words) if re.search(word, name)), len(words)), len(name), name


def describe(name: str) -> tuple[str, ...]:
    """The cells of a row after family and name."""
    torch.manual_seed(0)
    try:
        backbone = build_backbone(name, REQUESTED).eval()
    except TrainError as error:
        return ("refused: " + str(error).split(": ", 2)[2].rpartition(";")[0], "", "", "")
    try:
        channels = _run(backbone, torch.zeros(1, 3, *SHAPE)).shape[1]
    except RuntimeError as error:
        return (f"fails at {SHAPE}: {' '.join(str(error).split())}", str(stride_of(backbone)), "", "")
    aligned = all(_finds_corner(backbone, below, right) for below in (False, True) for right in (False, True))
    return _kind(backbone), str(stride_of(backbone)), str(channels), "yes" if aligned else "no"


def _kind(backbone: nn.Module) -> str:
    if not isinstance(backbone, FeatureMap):
        return "as it is"
    multiple, stride = backbone.layout.multiple, stride_of(backbone)
    if backbone.layout.fixed:
        return f"image resized to {multiple} x {multiple}"
    return "as a map" if multiple == stride else f"padded to multiples of {multiple}"


@torch.inference_mode()
def _run(backbone: nn.Module, images: torch.Tensor) -> torch.Tensor:
    features: torch.Tensor = backbone(images.contiguous(memory_format=torch.channels_last))
    return features


def _finds_corner(backbone: nn.Module, below: bool, right: bool) -> bool:
    """Whether features change most in the quarter of the image whose corner gets a bright square."""
    plain, side = torch.zeros(1, 3, *SHAPE), SHAPE[0] // 3
    marked = plain.clone()
    marked[..., -side if below else 0 :, -side if right else 0 :][..., :side, :side] = 2
    change = (_run(backbone, marked) - _run(backbone, plain)).abs().sum(dim=(0, 1))
    rows, columns = change.shape
    row, column = divmod(int(change.argmax()), columns)
    return (2 * row + 1 > rows) == below and (2 * column + 1 > columns) == right


def table(wanted: list[str]) -> Iterator[str]:
    """The lines of the table, and how many networks are taken in which way."""
    yield "| family | network | taken | output stride | channels | aligned |"
    yield "|---|---|---|---|---|---|"
    ways: Counter[str] = Counter()
    for family, name in families().items():
        if wanted and family not in wanted:
            continue
        cells = describe(name)
        ways[re.sub(r"\d+( x \d+)?", "n", cells[0].partition(":")[0])] += 1
        yield f"| {family} | `{name}` | {' | '.join(cells)} |"
    yield ""
    yield f"timm {timm.__version__}: " + ", ".join(f"{count} {way}" for way, count in ways.most_common())


if __name__ == "__main__":
    for line in table(sys.argv[1:]):
        print(line, flush=True)
