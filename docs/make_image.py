"""Draw docs/images/chain.png, the image at the top of the README, from a finished run.

    python docs/make_image.py [--root .] [--out docs/images/chain.png]

The rows are not chosen by hand: landscape images of split val, ranked by IoU, at fixed shares of the ranking, no class
twice; in Track 1 only images with two classes or more. Each row shows one CAM, of the most probable class, which is
named beside it. Equal runs give equal bytes.
"""

import argparse
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from pipeline.core.files import read_json, write_bytes
from pipeline.core.images import decode_png, read_rgb
from pipeline.core.manifest import Record, read_manifest
from pipeline.core.settings import PARAMS, read_params, section
from pipeline.core.store import Store
from pipeline.core.tracks import get_track
from pipeline.report.formatting import Row, number, read_rows
from pipeline.report.overlays import OVERLAP_COLORS, class_colors, paint_heat
from pipeline.report.predictions import draw_localization, draw_segmentation, peak_threshold, scaled_map
from pipeline.report.results import Results

Pixels = NDArray[np.uint8]

RANKS = {"track3": (0.15, 0.45, 0.75), "track1": (0.0, 0.15)}  # shares of the ranking, 0 the best
TITLES = {
    "track3": ("Track 3 · localization", "one class an image; the prediction is a score for every pixel"),
    "track1": (
        "Track 1 · segmentation",
        "several classes an image, one CAM shown; the prediction is a class for every pixel",
    ),
}
COLUMNS = (
    ("image", "what goes in"),
    ("class activation map", "stage extract"),
    ("prediction", "stage refine, dense CRF"),
    ("truth", "for scoring only"),
    ("prediction against truth", ""),
)
ROW_SPLIT = "val"

CELL = (192, 144)  # width and height of one image, pixels
GAP, MARGIN, SIDE, HEAD, TITLE = 8, 26, 138, 52, 40
PAPER, INK, FAINT, RULE = (255, 255, 255), (31, 35, 40), (101, 109, 118), (216, 222, 228)
STEPS = (8, 12, 16)  # gray levels between two kept values; 8 halves the bytes, and nobody sees it
MOST_BYTES = 400 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the image: what was asked, how well it went, and the five images."""

    names: list[tuple[str, tuple[int, int, int]]]  # class name and color
    cam: str  # name of the class whose CAM is shown
    before: float
    after: float
    tiles: list[Pixels]


def read_results(track: str) -> Results:
    """What a finished run left for one track, as the report page reads it; paths start in the working folder."""
    data, reports = Path("data") / track, Path("reports") / track
    return Results(
        track=get_track(track),
        manifest=read_manifest(data / "manifest"),
        maps=Store(data / "maps"),
        refined=Store(data / "refined"),
        metrics=read_json(reports / "metrics.json"),
        table=read_rows(reports / "table.csv"),
        per_image=read_rows(reports / "per_image.csv"),
        history=[],
        counts={},
        params=section(read_params(PARAMS), f"tracks.{track}", PARAMS),
    )


def choose(results: Results, shares: Sequence[float]) -> list[tuple[Record, Row]]:
    """Landscape images at the given shares of the ranking by IoU.

    The next one down where the class was shown already.
    """
    least = 2 if results.track.task == "segmentation" else 1
    records = {
        record.id: record
        for record in results.manifest.select(ROW_SPLIT)
        if 1.2 <= record.width / record.height <= 1.5 and len(record.labels) >= least
    }
    rows = [row for row in results.per_image if row["id"] in records and number(row["iou_after"]) is not None]
    ranked = sorted(rows, key=lambda row: (-float(row["iou_after"]), row["id"]))
    chosen: list[tuple[Record, Row]] = []
    shown: set[int] = set()
    for share in shares:
        below = ranked[round(share * (len(ranked) - 1)) :]
        row = next((row for row in below if not shown & {*records[row["id"]].labels}), below[0])
        shown |= {*records[row["id"]].labels}
        chosen.append((records[row["id"]], row))
    return chosen


def make_line(results: Results, record: Record, row: Row) -> Line:
    """The images of one row, painted as in the gallery of the report page."""
    image = read_rgb(record.file)
    stored = results.maps.read(record.id)
    prediction = decode_png(results.refined.read(record.id)["after"], record.id)
    draw = draw_localization if results.track.task == "localization" else draw_segmentation
    drawn = draw(results, record, image, prediction, peak_threshold(results)).tiles
    heat = paint_heat(image, scaled_map(stored["maps"], image.shape[:2]))
    many = results.track.task == "segmentation"
    colors = [tuple(map(int, class_colors()[k + 1])) if many else INK for k in record.labels]
    classes = [name.replace("_", " ") for name in results.manifest.classes]
    return Line(
        names=list(zip([classes[k] for k in record.labels], colors, strict=True)),
        cam=classes[int(stored["classes"][0])],
        before=float(row["iou_before"]),
        after=float(row["iou_after"]),
        tiles=[fill(pixels) for pixels in (image, heat, *(pixels for _, pixels in drawn))],
    )


def fill(pixels: Pixels) -> Pixels:
    """Scale an image until it covers one cell, and cut what stands over. Shape: (H, W, 3)"""
    return np.asarray(ImageOps.fit(Image.fromarray(pixels), CELL, Image.Resampling.LANCZOS))


# --- drawing ----------------------------------------------------------------------------------------------------------


def font(size: int) -> ImageFont.FreeTypeFont:
    """The font that Pillow brings along: the same on every machine."""
    loaded = ImageFont.load_default(size)
    assert isinstance(loaded, ImageFont.FreeTypeFont)
    return loaded


def draw_page(tracks: Sequence[tuple[str, list[Line]]]) -> Image.Image:
    """All rows of all tracks on one sheet of white, so that it reads on dark pages too."""
    width = 2 * MARGIN + SIDE + len(COLUMNS) * (CELL[0] + GAP) - GAP
    rows = sum(len(lines) for _, lines in tracks)
    height = 2 * MARGIN + HEAD + len(tracks) * TITLE + rows * (CELL[1] + GAP) + 8
    page = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(page)
    draw_head(pen)
    top = MARGIN + HEAD
    for track, lines in tracks:
        title, about = TITLES[track]
        pen.line([(MARGIN, top + 2), (width - MARGIN, top + 2)], RULE)
        pen.text((MARGIN, top + 12), title, INK, font(16))
        pen.text((MARGIN + pen.textlength(title, font(16)) + 14, top + 14), about, FAINT, font(14))
        top += TITLE
        for line in lines:
            draw_line(page, pen, line, top)
            top += CELL[1] + GAP
    return page


def draw_head(pen: ImageDraw.ImageDraw) -> None:
    """Names of the columns, and what the colors of the last one mean."""
    for position, (name, about) in enumerate(COLUMNS):
        left = MARGIN + SIDE + position * (CELL[0] + GAP)
        pen.text((left, MARGIN - 6), name, INK, font(17))
        pen.text((left, MARGIN + 18), about, FAINT, font(14))
    for meaning in ("hit", "missed", "false"):
        pen.rectangle([(left, MARGIN + 21), (left + 11, MARGIN + 32)], OVERLAP_COLORS[meaning], FAINT)
        pen.text((left + 17, MARGIN + 18), meaning, FAINT, font(14))
        left += 30 + round(pen.textlength(meaning, font(14)))


def draw_line(page: Image.Image, pen: ImageDraw.ImageDraw, line: Line, top: int) -> None:
    """One row: words at the side, then the images."""
    y = top + 4
    for name, color in line.names:
        if color != INK:
            pen.rectangle([(MARGIN, y + 3), (MARGIN + 9, y + 12)], color, FAINT)
        pen.text((MARGIN + (16 if color != INK else 0), y), name, INK, font(15))
        y += 21
    y += 9
    for words, value, ink in (("IoU", line.after, INK), ("without CRF", line.before, FAINT)):
        pen.text((MARGIN, y), f"{value:.2f}", ink, font(15))
        pen.text((MARGIN + 38, y + 1), words, FAINT, font(13))
        y += 20
    pen.text((MARGIN, y + 1), f"CAM: {line.cam}", FAINT, font(13))
    for position, pixels in enumerate(line.tiles):
        page.paste(Image.fromarray(pixels), (MARGIN + SIDE + position * (CELL[0] + GAP), top))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(), help="the folder of the finished run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images" / "chain.png")
    args = parser.parse_args(arguments)
    out = args.out.resolve()
    os.chdir(args.root)  # the manifest's paths start there
    tracks = []
    for track, shares in RANKS.items():
        results = read_results(track)
        tracks.append((track, [make_line(results, record, row) for record, row in choose(results, shares)]))
    page = draw_page(tracks)
    data = next((data for step in STEPS if len(data := encode(page, step)) <= MOST_BYTES), encode(page, STEPS[-1]))
    write_bytes(out, data)
    print(f"{out}: {page.width}x{page.height}, {len(data) // 1024} KB")


def encode(page: Image.Image, step: int) -> bytes:
    """The page as a PNG with every channel rounded to multiples of `step`."""
    stream = io.BytesIO()
    rounded = page.point([min(255, round(value / step) * step) for value in range(256)] * 3)
    rounded.save(stream, "PNG", optimize=True)
    return stream.getvalue()


if __name__ == "__main__":
    main()
