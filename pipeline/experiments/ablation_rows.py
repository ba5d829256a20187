"""The rows of the ablation: parts added one after another, all combinations, the outputs of Track 1.

Four parts are switched on or off: TAP in the training, NWC in the maps, PaS in their scale, and the CRF. A run with the
CRF also has the prediction without it (`before` in the store of the stage `refine`, `before_crf` in metrics.json), so
only three of the four switches need runs of their own.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress, product
from typing import Any, Literal

from pipeline.core.tracks import Track

PLAN = "plan.json"
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
    """One row of the table.

    Attributes:
        title: for people to read
        variant: the run whose numbers stand here
        crf: whether the numbers are those after the CRF
        published: the authors' score, one of `PUBLISHED`
    """

    title: str
    variant: Variant
    crf: bool
    published: float | None = None

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
    """What an ablation consists of: the contents of `plan.json`.

    Attributes:
        track: whose sections are varied
        recipe: its params file
        seeds: of `train.seed`
        groups: rows by table
        changes: of keys of the recipe, below the track
    """

    track: str
    recipe: str
    seeds: tuple[int, ...]
    groups: dict[str, tuple[Row, ...]]
    changes: dict[str, Any] = field(default_factory=dict)


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


def variant_params(params: Mapping[str, Any], track: str, variant: Variant, seed: int) -> dict[str, Any]:
    """A complete params file of one run: the recipe with the switches set; only split val is extracted.

    >>> given = {"tracks": {"t": {"train": {}, "extract": {}, "refine": {"crf": {}}, "package": {}}}}
    >>> variant_params(given, "t", Variant("tap", "keep", "max", "score_map"), 1)["tracks"]["t"]["train"]
    {'pooling': 'tap', 'seed': 1}
    """
    values: dict[str, Any] = copy.deepcopy(dict(params))
    sections = values["tracks"][track]
    sections["train"].update(pooling=variant.pooling, seed=seed)
    sections["extract"].update(negative_weights=variant.negative_weights, scale=variant.scale, splits=["val"])
    sections["refine"]["output"] = variant.output
    sections["refine"]["crf"]["enabled"] = True
    sections["package"]["split"] = "val"  # what is packaged must have been extracted
    return values
