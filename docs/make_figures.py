"""Draw the figures of docs/how/ from a finished run of the demo, of one image of Track 3.

    python docs/make_figures.py [--root .] [--student ROOT] [--out docs/images]

The image is not chosen by hand: the landscape image of split val whose IoU is the median. `--student` is another
run of the demo, with `tracks.track3.student.enabled: true`: it adds the figure of the student, of the median image of
that run.
"""

import argparse
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.files import read_json, write_bytes
from pipeline.core.images import decode_png, read_rgb, resize, resize_image
from pipeline.core.manifest import Manifest, Record, read_manifest
from pipeline.core.settings import PARAMS, load_section
from pipeline.core.store import Store
from pipeline.core.truth import read_foreground
from pipeline.extract.cam import clamp_negative_weights, class_activation_maps, mean_over_views
from pipeline.extract.plan import view_shapes
from pipeline.extract.scale import apply_standard, find_standard
from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import Classifier, load_classifier
from pipeline.models.pooling import global_average_pool, thresholded_average_pool
from pipeline.refine.crf import DenseCRF, kernels_of
from pipeline.refine.settings import RefineSettings
from pipeline.report.formatting import Row, read_rows

TRACK = "track3"
DATA, REPORTS = Path("data") / TRACK, Path("reports") / TRACK
COLORS = 256  # of a figure: fewer bytes than all
OUTLINE = "#56B4E9"
ITERATIONS = (1, 3, 10)

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Example:
    """One image of a finished run, with all that the figures need.

    Attributes:
        image: RGB. Shape: (H, W, 3)
        truth: the object. Shape: (H, W)
        features: at the first of `extract.sizes`, and mirrored and larger ones; one of each view. Shape: (1, C, h, w)
        label: class index
    """

    record: Record
    image: Pixels
    truth: NDArray[np.bool_]
    classifier: Classifier
    views: list[tuple[torch.Tensor, bool]]
    extract: ExtractSettings
    refine: RefineSettings
    stored: dict[str, Any]  # arrays of the store `maps`

    @property
    def label(self) -> int:
        return int(self.stored["classes"][0])

    @property
    def features(self) -> torch.Tensor:
        return self.views[0][0]

    @property
    def weights(self) -> torch.Tensor:
        return self.classifier.head.weight.detach()

    @property
    def shape(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]

    def raw_map(self, weights: torch.Tensor) -> Floats:
        """The map of the class, the mean over all views, at the size of the image. Shape: (H, W)"""
        return resize(self.cells(weights, self.views), self.shape)

    def cells(self, weights: torch.Tensor, views: Sequence[tuple[torch.Tensor, bool]]) -> Floats:
        """The mean map of some views, one value a cell. Shape: (h, w)"""
        y, x = self.classifier.design.offset
        maps, offsets = [], []
        for features, mirrored in views:
            cam = class_activation_maps(features, weights, torch.tensor([[self.label]]))
            maps.append(cam.flip(3) if mirrored else cam)
            offsets.append((y, -x if mirrored else x))
        mean: Floats = mean_over_views(maps, offsets)[0, 0].numpy()
        return mean

    def probability(self) -> Floats:
        """Of the foreground, before the CRF. Shape: (H, W)"""
        scaled = resize(self.stored["maps"][0].astype(np.float32), self.shape)
        probability: Floats = np.clip(scaled, 0.0, 1.0) ** self.refine.exponent
        return probability


def choose(manifest: Manifest, rows: Sequence[Row]) -> Record:
    """The landscape image of split val whose IoU is the median."""
    records = {one.id: one for one in manifest.select("val") if 1.2 <= one.width / one.height <= 1.5}
    ranked = sorted((float(row["iou_after"]), row["id"]) for row in rows if row["id"] in records and row["iou_after"])
    return records[ranked[len(ranked) // 2][1]]


@torch.inference_mode()
def read_example() -> Example:
    """The chosen image of the run in the working folder."""
    manifest = read_manifest(DATA / "manifest")
    record = choose(manifest, read_rows(REPORTS / "per_image.csv"))
    classifier = load_classifier(DATA / "model").eval()
    extract = load_section(ExtractSettings, f"tracks.{TRACK}.extract", PARAMS)
    image = read_rgb(record.file)
    views = []
    for shape in view_shapes((image.shape[0], image.shape[1]), extract, classifier.design.output_stride):
        pixels = torch.from_numpy(resize_image(image, shape)).permute(2, 0, 1)[None]
        views += [(classifier.features(pixels), False), (classifier.features(pixels.flip(3)), True)]
    return Example(
        record=record,
        image=image,
        truth=read_foreground(record, manifest.mask_kind)[0],
        classifier=classifier,
        views=views,
        extract=extract,
        refine=load_section(RefineSettings, f"tracks.{TRACK}.refine", PARAMS),
        stored=Store(DATA / "maps").read(record.id),
    )


# --- the figures -----------------------------------------------------------------------------------------------------


def draw_pooling(example: Example) -> Figure:
    """Two channels of about the same maximum, one active at few cells, one at many: what GAP and TAP make of them."""
    theta = example.classifier.design.tap_threshold
    small, large = channels_of_one_height(example.features, theta)
    gap = global_average_pool(example.features)[0]
    tap = thresholded_average_pool(example.features, theta)[0]
    figure, axes = new_row(3)
    show(axes[0], example.image, "image")
    for place, channel, words in ((axes[1], small, "few"), (axes[2], large, "many")):
        values = example.features[0, channel].numpy()
        numbers = f"maximum {values.max():.1f} · GAP {gap[channel]:.2f} · TAP {tap[channel]:.2f}"
        show_map(place, values, f"a channel with {words} strong cells\n{numbers}")
        place.contour(values > theta * values.max(), [0.5], colors=OUTLINE, linewidths=1.2)
    return figure


def channels_of_one_height(features: torch.Tensor, theta: float) -> tuple[int, int]:
    """The channel with the fewest kept cells, and that with the most, whose maxima are in the upper tenth.

    >>> few, many = [[9.0, 0.0, 0.0]], [[9.0, 8.0, 7.0]]
    >>> channels_of_one_height(torch.tensor([[few, many, [[1.0, 1.0, 1.0]]]]), 0.1)
    (0, 1)
    """
    highest = features[0].amax(dim=(1, 2))  # (C,)
    kept = (features[0] > theta * highest[:, None, None]).sum(dim=(1, 2))
    strong = (highest >= highest.quantile(0.9 if len(highest) > 10 else 0.5)).nonzero()[:, 0]
    return int(strong[kept[strong].argmin()]), int(strong[kept[strong].argmax()])


def draw_negative_weights(example: Example) -> Figure:
    """What positive and negative weights add at each position, and the maps of all and of the clamped weights."""
    positive = example.raw_map(clamp_negative_weights(example.weights))
    negative = example.raw_map(clamp_negative_weights(-example.weights))
    figure, axes = new_row(5)
    show(axes[0], example.image, "image")
    highest = float(max(positive.max(), negative.max()))
    show_map(axes[1], positive, "positive weights", highest)
    show_map(axes[2], negative, "negative weights", highest)
    for place, cam, words in (
        (axes[3], positive - negative, "their difference:\nall weights"),
        (axes[4], positive, "positive alone:\nclamped (NWC)"),
    ):
        show_map(place, apply_standard(cam, find_standard(cam, "max", 100)), words, 1.0)
        outline(place, example.truth)
    return figure


def draw_scale(example: Example) -> Figure:
    """One map scaled by its maximum and by its percentile, and its values in order."""
    cam = example.raw_map(clamp_negative_weights(example.weights))
    percentile = example.extract.percentile
    by = {
        "maximum (MaS)": apply_standard(cam, find_standard(cam, "max", 100)),
        f"percentile {percentile:g} (PaS)": apply_standard(cam, find_standard(cam, "percentile", percentile)),
    }
    figure, axes = new_row(3)
    for place, (words, scaled) in zip(axes, by.items(), strict=False):
        show_map(place, scaled, f"1 is the {words}\noutline: 0.5", 1.0)
        place.contour(scaled, [0.5], colors=OUTLINE, linewidths=1.5)
    place = axes[2]
    for (words, scaled), color in zip(by.items(), ("#000000", "#0072B2"), strict=True):
        values = np.sort(scaled.ravel())
        place.plot(np.linspace(0, 100, values.size), values.clip(max=1.3), color=color, label=words)
    place.axhline(1, color="#999999", linewidth=0.8)
    place.set(xlabel="share of the pixels, %", ylabel="scaled value", xlim=(0, 100), ylim=(0, 1.3))
    place.legend(frameon=False, fontsize=9)
    place.set_box_aspect(example.shape[0] / example.shape[1])
    return figure


def draw_maps(example: Example) -> Figure:
    """From one view of the image to the mean of all, at the size of the image."""
    weights = clamp_negative_weights(example.weights)
    one, mean = example.cells(weights, example.views[:1]), example.cells(weights, example.views)
    figure, axes = new_row(4)
    show(axes[0], example.image, "image")
    show_map(axes[1], one, f"one view:\n{one.shape[0]} x {one.shape[1]} cells")
    show_map(axes[2], mean, f"mean of {len(example.views)} views\n{mean.shape[0]} x {mean.shape[1]} cells")
    show_map(axes[3], np.clip(resize(mean, example.shape), 0, None), "at the size of the image\noutline: truth")
    outline(axes[3], example.truth)
    return figure


def draw_crf(example: Example) -> Figure:
    """The probability of the foreground before the CRF and after some iterations."""
    foreground = example.probability()
    crf = DenseCRF(example.image, kernels_of(example.refine.crf))
    stack = np.stack([1 - foreground, foreground])
    figure, axes = new_row(2 + len(ITERATIONS))
    show(axes[0], example.image, "image")
    show_map(axes[1], foreground, "probability before", 1.0)
    for place, count in zip(axes[2:], ITERATIONS, strict=True):
        show_map(place, crf.infer(stack, count)[1], f"after {count} iteration{'s' * (count > 1)}", 1.0)
    for place in axes[1:]:
        outline(place, example.truth)
    return figure


def draw_metrics(example: Example) -> Figure:
    """IoU by threshold with its peak, precision and recall, and the masks of one image at three thresholds."""
    rows = read_rows(REPORTS / "table.csv")
    metrics = read_json(REPORTS / "metrics.json")
    score = decode_png(Store(DATA / "refined").read(example.record.id)["before"], example.record.id)
    peak = metrics["before_crf"]["peak_threshold"]
    figure, axes = new_row(4)
    for key, words, color in (("before_crf", "without CRF", "#0072B2"), ("after_crf", "with CRF", "#D55E00")):
        curve = [float(row[key]) for row in rows]
        best = int(np.argmax(curve))
        axes[0].plot(curve, color=color, label=f"{words}: {curve[best]:.3f} at {best}")
        axes[0].plot([best], [curve[best]], "o", color=color, markersize=5)
    axes[0].set(xlabel="threshold t", ylabel="IoU of all val images", xlim=(0, 255), ylim=(0, 1))
    axes[0].legend(frameon=False, fontsize=9, title="peak IoU")
    axes[0].set_box_aspect(example.shape[0] / example.shape[1])
    for place, threshold in zip(axes[1:], (peak // 2, peak, (peak + 255) // 2), strict=True):
        found = score >= threshold
        iou = (found & example.truth).sum() / (found | example.truth).sum()
        show(place, compared(example.image, found, example.truth), f"t = {threshold}: IoU {iou:.2f} of this image")
    return figure


def compared(image: Pixels, found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Pixels:
    """The image in gray, with what is hit in blue, missed in yellow, and false in vermilion. Shape: (H, W, 3)"""
    painted = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    for where, color in (
        (found & truth, (0, 114, 178)),
        (~found & truth, (240, 228, 66)),
        (found & ~truth, (213, 94, 0)),
    ):
        painted[where] = 0.4 * painted[where] + 0.6 * np.array(color)
    return painted.round().astype(np.uint8)


def draw_student(example: Example) -> Figure:
    """The prediction of the maps, which the student has learned such ones from, and its own."""
    stores = {"first stage: maps and CRF": Store(DATA / "refined"), "student": Store(DATA / "student")}
    figure, axes = new_row(4)
    show(axes[0], example.image, "image")
    for place, (words, store) in zip(axes[1:], stores.items(), strict=False):
        score = decode_png(store.read(example.record.id)["after"], example.record.id)
        show_map(place, score, words, 255.0)
        outline(place, example.truth)
    show(axes[3], (example.truth[..., None] * np.full(3, 255)).astype(np.uint8), "truth, for scoring only")
    return figure


FIGURES: dict[str, Callable[[Example], Figure]] = {
    "pooling": draw_pooling,
    "negative_weights": draw_negative_weights,
    "scale": draw_scale,
    "maps": draw_maps,
    "crf": draw_crf,
    "metrics": draw_metrics,
}


# --- panels and files -------------------------------------------------------------------------------------------------


def new_row(panels: int) -> tuple[Figure, list[Axes]]:
    """An empty figure of 1,000 pixels with panels side by side."""
    figure = Figure(figsize=(10, 8 / panels + 0.7), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def show(place: Axes, image: Pixels, words: str) -> None:
    place.imshow(image)
    place.set_title(words, fontsize=10)
    place.set_axis_off()


def show_map(place: Axes, values: NDArray[Any], words: str, highest: float | None = None) -> None:
    place.imshow(values, cmap="inferno", vmin=0, vmax=highest, interpolation="nearest")
    place.set_title(words, fontsize=10)
    place.set_axis_off()


def outline(place: Axes, truth: NDArray[np.bool_]) -> None:
    place.contour(truth, [0.5], colors=OUTLINE, linewidths=1.2)


def to_png(figure: Figure) -> bytes:
    """The figure with few colors: equal numbers give equal bytes."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100, bbox_inches="tight", pad_inches=0.05, metadata={"Software": None})
    stream = io.BytesIO()
    Image.open(drawn).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(), help="the folder of the finished run")
    parser.add_argument("--student", type=Path, help="the folder of a finished run with a student")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    args = parser.parse_args(arguments)
    out = args.out.resolve()
    runs: list[tuple[Path, dict[str, Callable[[Example], Figure]]]] = [(args.root.resolve(), FIGURES)]
    if args.student:
        runs.append((args.student.resolve(), {"student": draw_student}))
    for root, figures in runs:
        os.chdir(root)  # the manifest's paths start there
        example = read_example()
        for name, draw in figures.items():
            data = to_png(draw(example))
            write_bytes(out / f"{name}.png", data)
            print(f"{out / name}.png: {len(data) // 1024} KB")


if __name__ == "__main__":
    main()
