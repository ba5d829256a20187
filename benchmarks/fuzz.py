"""Bytes that a fuzzer grows against the readers of foreign files: only the project's own errors may come out.

    python benchmarks/fuzz.py zip --seconds 60

Needs atheris, which has wheels for Linux: pip install atheris. The fuzzer starts from right files, follows which lines
run, and stops with the bytes at the first error that is not meant. `zip` reads whole submissions, `png` predictions,
`xml` annotations, `csv` tables of boxes.
"""

import argparse
import io
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pipeline", "zipfile"]):
    import numpy as np

    from pipeline.core.errors import DataError
    from pipeline.core.images import encode_png
    from pipeline.package.contents import Contents
    from pipeline.package.png import chunk_problem, decode, header_problem
    from pipeline.package.validate import UNREADABLE, find_problems
    from pipeline.preprocess.annotations import object_boxes, object_names
    from pipeline.submission.truth import read_boxes

SIZE = (6, 4)
PNG = encode_png(np.arange(24, dtype=np.uint8).reshape(4, 6))
BOX = b"<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>"
XML = b"<annotation><size><width>9</width></size><object><name>a</name>%s</object></annotation>" % BOX


def read_zip(data: bytes, folder: Path) -> None:
    path = folder / "x.zip"
    path.write_bytes(data)
    list(find_problems(path, {"a": SIZE, "b": None}, 255, Contents()))


def read_png(data: bytes, folder: Path) -> None:
    if header_problem(data, SIZE) is None:
        chunk_problem(data)
        with suppress(*UNREADABLE):  # which the validator catches; also of bytes whose checksums are wrong
            decode(data)


def read_xml(data: bytes, folder: Path) -> None:
    for read in (object_names, object_boxes):
        with suppress(ValueError):  # which its callers turn into a message with the file
            read(data)


def read_csv(data: bytes, folder: Path) -> None:
    path = folder / "boxes.csv"
    path.write_bytes(data)
    with suppress(DataError):
        read_boxes(path)


def small_zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.png", "b.png"):
            archive.writestr(name, PNG)
    return stream.getvalue()


TARGETS: dict[str, tuple[Callable[[bytes, Path], None], bytes]] = {
    "zip": (read_zip, small_zip()),
    "png": (read_png, PNG),
    "xml": (read_xml, XML),
    "csv": (read_csv, b"id,boxes\na,0 0 1 2; 3 0 4 0\n"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="default: 60")
    args = parser.parse_args()
    read, start = TARGETS[args.target]
    with tempfile.TemporaryDirectory() as name:
        folder, corpus = Path(name), Path(name) / "corpus"
        corpus.mkdir()
        (corpus / "start").write_bytes(start)
        read(start, folder)
        limits = [f"-max_total_time={args.seconds}", "-max_len=4096", "-rss_limit_mb=4096", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={name}/", str(corpus)], lambda data: read(data, folder))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
