"""Every kind of fault that `lid check` and `lid score` know: how it is made, and what has to be said of it.

The page docs/validator.md shows the messages, which `python docs/make_validator.py` takes from the validator itself.
"""

import gzip
import io
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from support.submission import GOOD, SIZES, K

from pipeline.core.files import write_json
from pipeline.core.images import encode_png
from pipeline.submission.check import check_submission
from pipeline.submission.score import score_submission

Make = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: for people
        make: writes the zip, and what else there has to be beside it
        said: a part of the message
        file: what the message has to name
        track: of the submission
        sized: whether the sizes of the images are known
    """

    name: str
    make: Make
    said: str
    file: str = "x.zip"
    track: str = "track1"
    sized: bool = True


def check(fault: Fault, folder: Path) -> list[str]:
    """What `lid check` says of a fault that is made in `folder`, which is empty."""
    path = folder / "x.zip"
    fault.make(path)
    if not fault.sized:
        return check_submission(path, fault.track, ids=SIZES, classes=K)
    for image_id, size in SIZES.items():
        (folder / "images").mkdir(exist_ok=True)
        Image.new("RGB", size).save(folder / "images" / f"{image_id}.jpg")
    return check_submission(path, fault.track, images=folder / "images", classes=K)


def score(fault: Fault, folder: Path) -> list[str]:
    """What `lid score` says of a fault against the truth that `GOOD` is."""
    (folder / "truth").mkdir()
    truth = GOOD.items() if fault.track == "track1" else pixels(lambda values: 255 * (values > 0))
    for name, data in truth:
        (folder / "truth" / f"{Path(name).stem}.png").write_bytes(data)
    fault.make(folder / "x.zip")
    found: list[str] = score_submission(folder / "x.zip", folder / "truth", fault.track, K)["warnings"]
    return found


# --- makers -----------------------------------------------------------------------------------------------------------


def save(members: Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> Make:
    """A zip of these members."""

    def make(path: Path) -> None:
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as archive:
            warnings.simplefilter("ignore", UserWarning)  # of names that occur twice
            for name, data in members:
                archive.writestr(zipfile.ZipInfo(name), data, compression)  # without the clock: the same bytes again

    return make


def good(**changed: bytes) -> list[tuple[str, bytes]]:
    """The members of a good submission, some of them with other bytes."""
    return [(f"{image_id}.png", data) for image_id, data in (GOOD | changed).items()]


def renamed(**names: str) -> list[tuple[str, bytes]]:
    """The members of a good submission under other names."""
    return [(names[image_id], data) for image_id, data in GOOD.items()]


def edit(change: Callable[[bytes], bytes], compression: int = zipfile.ZIP_STORED) -> Make:
    """A good submission whose bytes are changed."""

    def make(path: Path) -> None:
        save(good(), compression)(path)
        path.write_bytes(change(path.read_bytes()))

    return make


def write(data: bytes) -> Make:
    """A file of these bytes."""
    return lambda path: path.write_bytes(data) and None


def drawn(mode: str, size: tuple[int, int] = SIZES["a"], kind: str = "PNG") -> bytes:
    """An image of another mode, size or format."""
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, kind)
    return stream.getvalue()


def tar(mode: str) -> bytes:
    """The good submission as a tar archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in good():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return stream.getvalue()


def png(*chunks: tuple[bytes, bytes], size: tuple[int, int] = SIZES["a"], bits: int = 8) -> bytes:
    """A gray PNG of zeros with these chunks between header and pixels."""
    width, height = size
    pixels = zlib.compress(bytes((width * bits + 7) // 8 + 1) * height)
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)), *chunks, (b"IDAT", pixels),
             (b"IEND", b""))  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def huge_png() -> bytes:
    """A PNG whose header claims 3.6 gigapixels, and nothing behind it."""
    return png(size=(6, 4)).replace(struct.pack(">II", 6, 4), struct.pack(">II", 60_000, 60_000), 1)


def animated() -> bytes:
    """A PNG of two frames."""
    stream = io.BytesIO()
    frames = [Image.fromarray(np.full((4, 6), value, np.uint8)) for value in (1, 2)]
    frames[0].save(stream, "PNG", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def pixels(values: Callable[[NDArray[np.uint8]], NDArray[np.integer]]) -> list[tuple[str, bytes]]:
    """The good predictions with other values, image by image."""
    decoded = {image_id: np.array(Image.open(io.BytesIO(data))) for image_id, data in GOOD.items()}
    return good(**{image_id: encode_png(values(array).astype(np.uint8)) for image_id, array in decoded.items()})


def with_flag(data: bytes, flag: int) -> bytes:
    """Set a flag of the first member, in both of its headers."""
    changed = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        changed[data.index(signature) + offset] |= flag
    return bytes(changed)


def overlapped(data: bytes) -> bytes:
    """Let the second member begin where the first one does."""
    second = data.rindex(b"PK\x01\x02")
    return data[: second + 42] + struct.pack("<I", 0) + data[second + 46 :]


def split(data: bytes) -> bytes:
    """Say that this is the second file of an archive, as `zip -s` writes into its last one."""
    end = data.rindex(b"PK\x05\x06")
    return data[: end + 4] + struct.pack("<HH", 1, 1) + data[end + 8 :]


def zip64(data: bytes) -> bytes:
    """Put the records for archives above 4 GiB before the end, as `zip -fz` does."""
    end = data.rindex(b"PK\x05\x06")
    members, length, start = struct.unpack_from("<HLL", data, end + 10)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, members, members, length, start)
    return data[:end] + record + struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1) + data[end:]


def forced_zip64(path: Path) -> None:
    """Members that are written as if they could be larger than 4 GiB."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in good():
            with archive.open(name, "w", force_zip64=True) as stream:
                stream.write(data)


def linked(path: Path) -> None:
    """A symbolic link in place of a prediction."""
    link = zipfile.ZipInfo("a.png")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("b.png", GOOD["b"])


def recorded(track: str, sha256: str) -> Make:
    """A good submission beside a record of another one."""

    def make(path: Path) -> None:
        save(good())(path)
        about = {"track": track, "zip": "x.zip", "sha256": sha256, "bytes": 1, "images": 2, "split": "test",
                 "date": "2020-06-14T00:00:00+00:00", "commit": None, "changed": None, "versions": {},
                 "settings": {"sha256": "", "text": ""}, "val": None, "warnings": []}  # fmt: skip
        write_json(path.with_suffix(".json"), about)

    return make


def damage_pixels(data: bytes) -> bytes:
    """Change one bit of the first prediction, which only checksums tell."""
    place = data.index(b"IDAT") + 6
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def damaged_png() -> bytes:
    """The same inside a zip whose own checksum is right."""
    return damage_pixels(GOOD["a"])


A = "a: "  # messages about what a prediction holds begin with its id

FAULTS = (
    # the file
    Fault("no file", lambda path: None, "expected a zip, found no file"),
    Fault("an empty file", write(b""), "got an empty file; likely no room on the disk"),
    Fault("a .tar.gz", write(gzip.compress(tar("w"))), "got a gzip archive (.tar.gz, .gz); likely compressed with"),
    Fault("a .tar", write(tar("w")), "got a tar archive; likely compressed with another program"),
    Fault("a .7z", write(b"7z\xbc\xaf\x27\x1c" + bytes(60)), "got a 7z archive; likely 7-Zip's own format"),
    Fault("a .rar", write(b"Rar!\x1a\x07" + bytes(60)), "got a RAR archive; likely"),
    Fault("one PNG", write(GOOD["a"]), "got a PNG; likely one prediction in place of the zip"),
    Fault("a web page", write(b"<!DOCTYPE html><title>404</title>"), "got a web page; likely the page of a download"),
    Fault("a Git LFS pointer", write(b"version https://git-lfs.github.com/spec/v1\n"), "got a Git LFS pointer; likely"),
    Fault("other bytes", write(b"hello, world"), "got a file that starts with b'hello, w'; likely another file"),
    Fault("truncated at the end", edit(lambda data: data[:-30]), "got one without its end (", ),
    Fault("truncated at the start", edit(lambda data: data[40:]), "got one that lacks 40 bytes; likely a truncated"),
    Fault("bytes before it", edit(lambda data: b"#!/bin/sh\n" + data), "got 10 bytes before it; likely a self-extract"),
    Fault("bytes behind it", edit(lambda data: data + b"\n"), "expected nothing behind the end of the zip, got 1 byte"),
    Fault("split", edit(split), "got the last part of a split one; likely `zip -s`"),
    Fault("zip64 archive", edit(zip64), "got zip64 records, which 2 members do not need"),
    # its members
    Fault("zip64 members", forced_zip64, "got 2 with zip64 records, which they do not need: ['a.png', 'b.png']; likel"),
    Fault("a password", edit(lambda data: with_flag(data, 1)), "without a password, got 1 encrypted: ['a.png']; likel"),
    Fault("another compression", save(good(), zipfile.ZIP_LZMA), "got 2 compressed by LZMA: ['a.png', 'b.png']; likel"),
    Fault("a symbolic link", linked, "got 1 that are links, devices or pipes: ['a.png']; likely `zip -y`"),
    Fault("an absolute path", save(renamed(a="/tmp/a.png", b="b.png")), "got 1 that lead out of it: ['/tmp/a.png']"),
    Fault("a parent path", save(renamed(a="../a.png", b="b.png")), "got 1 that lead out of it: ['../a.png']; likely"),
    Fault("overlapping members", edit(overlapped), "got 1 whose data lie in another one: ['b.png']; likely"),
    Fault("a damaged member", edit(damage_pixels), "a member that cannot be read (Bad CRC-32", A),
    # names
    Fault("no members", save([]), "expected 2 ids, got 0; missing=['a', 'b'], extra=[]; likely no file matched"),
    Fault("a nested folder", save(renamed(a="out/a.png", b="out/b.png")), "expected a flat zip, got 2 members in fold"),
    Fault("a folder of Windows", save(renamed(a="out\\a.png", b="b.png")), "expected a flat zip, got 1 members in fol"),
    Fault("__MACOSX", save([*good(), ("__MACOSX/._a.png", b"x")]), "got 1 files of the operating system: ['__MACOSX/"),
    Fault("Thumbs.db", save([*good(), ("Thumbs.db", b"x")]), "got 1 files of the operating system: ['Thumbs.db']; lik"),
    Fault("wrong case of the extension", save(renamed(a="a.PNG", b="b.png")), "got 1 others: ['a.PNG']; likely the wr"),
    Fault("another extension", save(renamed(a="a.jpg", b="b.png")), "got 1 others: ['a.jpg']; likely saved in the fo"),
    Fault("another file", save([*good(), ("log.txt", b"x")]), "got 1 others: ['log.txt']; likely other files"),
    Fault("the image's extension kept", save(renamed(a="a.jpg.png", b="b.png")), "extra=['a.jpg']; likely the extensi"),
    Fault("wrong case of ids", save(renamed(a="A.png", b="B.png")), "extra=['A', 'B']; likely the wrong case of let"),
    Fault("a word after ids", save(renamed(a="a_pred.png", b="b_pred.png")), "'b_pred']; likely a word was added"),
    Fault("spaces around ids", save(renamed(a="a .png", b="b .png")), "extra=['a ', 'b ']; likely spaces around"),
    Fault("another split", save(renamed(a="c.png", b="d.png")), "extra=['c', 'd']; likely the predictions for another"),
    Fault("a prediction missing", save(good()[:1]), "missing=['b'], extra=[]; likely predicting was stopped"),
    Fault("a prediction too many", save([*good(), ("c.png", GOOD["a"])]), "extra=['c']; likely files of an earlier ru"),
    Fault("a name twice", save([*good(), good()[0]]), "got 1 members a second time: ['a.png']; likely zipped twice"),
    # the file of a prediction
    Fault("a JPEG named PNG", save(good(a=drawn("L", kind="JPEG"))), "got a JPEG; likely saved in another format", A),
    Fault("a BMP named PNG", save(good(a=drawn("L", kind="BMP"))), "got a BMP; likely saved in another format", A),
    Fault("a TIFF named PNG", save(good(a=drawn("L", kind="TIFF"))), "got a TIFF; likely saved in another fo", A),
    Fault("an array named PNG", save(good(a=b"\x93NUMPY\x01\x00")), "got a NumPy array; likely saved with numpy", A),
    Fault("an empty prediction", save(good(a=b"")), "got an empty file; likely no room on the disk", A),
    Fault("a truncated PNG", save(good(a=GOOD["a"][:-15])), "ends inside of chunk IDAT; likely a truncated", A),
    Fault("a PNG without its end", save(good(a=GOOD["a"][:-12])), "got one without its end (", A),
    Fault("a damaged PNG", save(good(a=damaged_png())), "another checksum of chunk IDAT; likely damaged", A),
    Fault("bytes behind the PNG", save(good(a=GOOD["a"] + b"\n")), "behind the end of the PNG, got 1 bytes; lik", A),
    Fault("an animated PNG", save(good(a=animated())), "got an animated PNG; likely saved with a list of frames", A),
    Fault("a transparent value", save(good(a=png((b"tRNS", b"\0\0")))), "a transparent value; likely saved by an", A),
    Fault("a zip bomb", save(good(a=GOOD["a"] + bytes(10**6))), "for 6x4 pixels, got 10000", A),
    Fault("a header of gigapixels", save(good(a=huge_png())), "1 to 100000000 pixels, got mode L, 60000x60000; likely",
          A, sized=False),
    # its mode and size
    Fault("a palette", save(good(a=drawn("P"))), "got mode P, 6x4; likely a palette copy for viewing", A),
    Fault("RGB", save(good(a=drawn("RGB"))), "got mode RGB, 6x4; likely a colored copy for viewing", A),
    Fault("RGBA", save(good(a=drawn("RGBA"))), "got mode RGBA, 6x4; likely a colored copy for viewing", A),
    Fault("gray with alpha", save(good(a=drawn("LA"))), "got mode LA, 6x4; likely saved with an alpha channel", A),
    Fault("16 bits", save(good(a=drawn("I;16"))), "got mode L with 16 bits, 6x4; likely saved from a 16-bit", A),
    Fault("4 bits", save(good(a=png(bits=4))), "got mode L with 4 bits, 6x4; likely an optimizer of PNG", A),
    Fault("1 bit", save(good(a=drawn("1"))), "got mode 1, 6x4; likely a bool array, save it as uint8", A),
    Fault("width and height swapped", save(good(a=drawn("L", (4, 6)))), "got mode L, 4x6; likely width and hei", A),
    Fault("the network's size", save(good(a=drawn("L", (8, 8)))), "got mode L, 8x8; likely not resized from the", A),
    # its values
    Fault("values above K", save(good(a=encode_png(np.full((4, 6), 9, np.uint8)))), "expected values 0..3, got [9] in",
          A),
    Fault("255 in Track 1", save(good(a=encode_png(np.full((4, 6), 255, np.uint8)))), "got [255] in 24 pixels; 255 ma",
          A),
    Fault("all zeros", save(pixels(lambda values: 0 * values)), "got only 0 in all 2; likely a threshold above", ),
    Fault("constant maps", save(pixels(lambda values: 0 * values + 7)), "got one value each in all 2; likely one score",
          track="track3"),
    Fault("scores 0 and 1", save(pixels(lambda values: values > 1)), "got only 0 and 1 in all 2; likely scores in [0,",
          track="track3"),
    # what made it
    Fault("changed after its record", recorded("track1", "0" * 64), "expected the bytes that x.json describes"),
    Fault("of the other track", recorded("track3", "0" * 64), "to track1, got one to track3, as x.json says; likely"),
)  # fmt: skip

AGAINST_TRUTH = (
    Fault("class ids one too low", save(pixels(lambda values: np.where(values > 0, values - 1, 0))),
          "every class id is one too low; likely class indices 0..K-1", "0.00 without"),
    Fault("class ids one too high", save(pixels(lambda values: np.where(values < K, values + 1, K))),
          "every class id is one too high; likely the background counted", "1 taken from"),
    Fault("inverted scores", save(pixels(lambda values: np.where(values > 0, 9, 240))),
          "9 inside the objects, 240 outside: lower where the objects are", "likely inverted", track="track3"),
)  # fmt: skip
