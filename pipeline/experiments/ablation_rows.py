"""The rows of the ablation: parts added one after another, all combinations, the outputs of Track 1.

Four parts are switched on or off: TAP in the training, NWC in the maps, PaS in their scale, and the CRF. A run with the
CRF also has the prediction without it (`before` in the store of the stage `refine`, `before_crf` in metrics.json), so
only three of the four switches need runs of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import compress, product
from typing import Any, Literal

from pipeline.core.tracks import Track

PLAN = "plan.json"
PREPROCESS = "params/preprocess.yaml"  # the recipe with its changes
PARTS = ("CRF", "PaS", "NWC", "TAP")  # in the order of the published table
# Peak IoU of Track 3, 23,151 val images. Bae, Noh, Seo and Kim, "Revisiting Class Activation Mapping for Learning from
# Imperfect Data", LID workshop, CVPR 2020, table 1
PUBLISHED = (0.5254, 0.5461, 0.5563, 0.5881, 0.6370)


@dataclass(frozen=True, slots=True)
class Variant:
    """One run of the chain: the values of `train.pooling`, `extract.negative_weights`, `extract.scale`,
    `refine.output`."""

    pooling: Literal["gap", "tap"]
    negative_weights: Literal["keep", "clamp"]
    scale: Literal["max", "percentile"]
    output: str

    @property
    def name(self) -> str:
        """What the predictions depend on.

        >>> Variant("tap", "clamp", "max", "score_map").name
        'tap-clamp-max-score_map'
        """
        return f"{self.pooling}-{self.negative_weights}-{self.scale}-{self.output}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table."""

    title: str  # for people to read
    variant: Variant  # the run whose numbers stand here
    crf: bool  # whether the numbers are those after the CRF
    published: float | None = None  # one of `PUBLISHED`

    def folder(self, kind: str, seed: int) -> str:
        """Where the `scores` or the `refined` predictions of this row's run lie, from the ablation's folder."""
        return f"{kind}/{self.variant.name}-seed{seed}"

    @property
    def parts(self) -> tuple[bool, bool, bool, bool]:
        """Which of `PARTS` are on."""
        variant = self.variant
        return self.crf, variant.scale == "percentile", variant.negative_weights == "clamp", variant.pooling == "tap"


@dataclass(frozen=True, slots=True)
class Plan:
    """What an ablation consists of: the contents of `plan.json`."""

    track: str  # whose sections are varied
    recipe: str  # its params file
    seeds: tuple[int, ...]  # of `train.seed`
    groups: dict[str, tuple[Row, ...]]  # rows by table
    changes: dict[str, Any] = field(default_factory=dict)  # of keys of the recipe, below the track


def row_groups(track: Track, output: str, with_grid: bool) -> dict[str, tuple[Row, ...]]:
    """The rows of every table that there is, by table."""
    groups = {
        "additive": additive_rows(output),
        "without_crf": without_crf(output),
        "outputs": output_rows(track, output),
        "grid": grid(output) if with_grid else (),
    }
    return {name: rows for name, rows in groups.items() if rows}


def _row(title: str, parts: Sequence[bool], output: str, published: float | None = None) -> Row:
    """The row with some of `PARTS` on."""
    crf, pas, nwc, tap = parts
    variant = Variant("tap" if tap else "gap", "clamp" if nwc else "keep", "percentile" if pas else "max", output)
    return Row(title, variant, crf, published)


def additive_rows(output: str) -> tuple[Row, ...]:
    """The five rows of the published table: plain CAM, then one part more in each row.

    >>> [row.title for row in additive_rows("score_map")]
    ['CAM', '+ CRF', '+ PaS', '+ NWC', '+ TAP']
    """
    titles = ["CAM", *(f"+ {part}" for part in PARTS)]
    return tuple(
        _row(title, [place < count for place in range(len(PARTS))], output, published)
        for count, (title, published) in enumerate(zip(titles, PUBLISHED, strict=True))
    )


def without_crf(output: str) -> tuple[Row, ...]:
    """The same rows of the same runs before the CRF, which show the effect of a part on the map.

    >>> [row.title for row in without_crf("score_map")]
    ['CAM', '+ PaS', '+ NWC', '+ TAP']
    """
    return tuple(replace(row, crf=False, published=None) for row in additive_rows(output) if row.title != "+ CRF")


def grid(output: str) -> tuple[Row, ...]:
    """All 16 combinations of the four parts; the last part changes fastest.

    >>> [row.title for row in grid("score_map")][:3], len(grid("score_map"))
    (['CAM', 'CAM + TAP', 'CAM + NWC'], 16)
    """
    every = product((False, True), repeat=len(PARTS))
    return tuple(_row(" + ".join(["CAM", *compress(PARTS, parts)]), parts, output) for parts in every)


def output_rows(track: Track, output: str) -> tuple[Row, ...]:
    """Track 1: the last row of the ablation with both outputs, from the same maps, before and after the CRF.

    None where the recipe finds one class an image: its classifier (`train.loss`, `extract.max_classes`) may not support
    more.
    """
    if track.task != "segmentation" or output != "label_map":
        return ()
    best = additive_rows(output)[-1].variant
    titles = {"label_map_one_class": "one class an image", "label_map": "several classes an image"}
    return tuple(
        Row(f"{title}{'' if crf else ', no CRF'}", replace(best, output=name), crf)
        for crf in (False, True)
        for name, title in titles.items()
    )


def variant_changes(variant: Variant, seed: int) -> dict[str, Any]:
    """The keys of a recipe that make one run of it; only split val is extracted.

    >>> variant_changes(Variant("tap", "keep", "max", "score_map"), seed=1)["train.pooling"]
    'tap'
    """
    return {
        "train.pooling": variant.pooling,
        "train.seed": seed,
        "extract.negative_weights": variant.negative_weights,
        "extract.scale": variant.scale,
        "extract.splits": ["val"],
        "refine.output": variant.output,
        "refine.crf.enabled": True,
        "student.enabled": False,
        "package.split": "val",  # what is packaged must have been extracted
    }
