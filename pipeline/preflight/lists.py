"""The text files that list image ids: how they are written, and whether they contradict each other."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.core.errors import DataError, sample
from pipeline.core.tracks import Track
from pipeline.preflight.context import Context, Listing
from pipeline.preflight.findings import Row
from pipeline.preflight.listing import missing_roots
from pipeline.preprocess.challenge_lists import track1_ids, track3_val
from pipeline.preprocess.folders import IMAGE_SUFFIXES, MASK_SUFFIXES, find_file, only_images, stem, walk
from pipeline.preprocess.layouts import ilsvrc_cls, ilsvrc_det
from pipeline.preprocess.layouts.ilsvrc_cls import TEST_LISTS
from pipeline.preprocess.layouts.ilsvrc_det import RAW
from pipeline.preprocess.settings import IlsvrcClsSource, IlsvrcDetSource, PreprocessSettings

Ids = tuple[str, ...]


def check_lists(context: Context, track: Track) -> Iterator[Row]:
    """Odd lines, which are read all the same, and images in two splits, which are not allowed."""
    source = context.get(track.name, PreprocessSettings).source
    if not isinstance(source, IlsvrcClsSource | IlsvrcDetSource):
        return
    files = list_files(source)
    for path in files.values():
        yield from _odd_lines(path)
    ids = {split: lenient_ids(files[split]) if split in files else shipped(source, split) for split in ("val", "test")}
    both = sorted(set(ids["val"]) & set(ids["test"]))
    if both:
        where = files.get("test", files.get("val", Path(source.challenge_root))).as_posix()
        text = f"expected no image in val and in test, got {len(both)}: {sample(both)}"
        yield Row(
            "FAIL",
            "lists",
            where,
            text,
            "take them out of one list; the server scores test images that nobody has chosen settings on",
        )
    yield from _against_files(source, ids, context.listings[track.name])
    counts = ", ".join(f"{split} {len(ids[split]):,} ({files.get(split, 'shipped')})" for split in ids)
    yield Row("OK", "lists", "", f"ids: {counts}")
    if isinstance(source, IlsvrcDetSource) and source.lists == "shipped":
        yield from _other_than_shipped(source)


def list_files(source: IlsvrcClsSource | IlsvrcDetSource) -> dict[str, Path]:
    """The lists that a source reads, by split; shipped ones, and those that are not there, left out."""
    if isinstance(source, IlsvrcDetSource):
        return downloaded_lists(source) if source.lists == "download" else {}
    candidates = {"test": list(TEST_LISTS) if source.test_list == "auto" else [source.test_list]}
    if source.val_list != "shipped":
        candidates["val"] = [source.val_list]
    return _existing(Path(source.challenge_root), candidates)


def downloaded_lists(source: IlsvrcDetSource) -> dict[str, Path]:
    """The lists of Track 1's download, by split."""
    places = {split: (f"LID_track1/{split}/", "LID_track1/", f"{split}/", "") for split in ("val", "test")}
    candidates = {split: [f"{folder}{split}.txt" for folder in folders] for split, folders in places.items()}
    return _existing(Path(source.challenge_root), candidates)


def _existing(root: Path, candidates: dict[str, list[str]]) -> dict[str, Path]:
    found = {}
    for split, names in candidates.items():
        try:
            found[split] = find_file(root, names, f"the list of the {split} ids")
        except DataError:  # the rows `listing` say so
            continue
    return found


def shipped(source: IlsvrcClsSource | IlsvrcDetSource, split: str) -> Ids:
    """The ids of the project's own lists; none of Track 3's test, which it has not."""
    if isinstance(source, IlsvrcDetSource):
        return track1_ids("val" if split == "val" else "test")
    return tuple(image_id for image_id, _ in track3_val()) if split == "val" and source.val_list == "shipped" else ()


def lenient_ids(path: Path) -> Ids:
    """The ids in a list, whatever else is wrong with it."""
    words = [line.replace(",", " ").split() for line in _text(path).splitlines()]
    return tuple(
        stem(name) if _has_suffix(name) else name for line in words if line for name in [line[0].rpartition("/")[2]]
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig", errors="replace")


def _has_suffix(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def _against_files(source: IlsvrcClsSource | IlsvrcDetSource, ids: dict[str, Ids], listing: Listing) -> Iterator[Row]:
    """Where the source refused before it came to it: is there an image for every id, and a mask for those of val?"""
    if listing.manifest is not None or missing_roots(source):
        return
    images, masks = held_out(source)
    wanted = [("val", "a file", images), ("test", "a file", images)]
    wanted += [("val", "a mask (<id>.png)", masks)] if masks else []
    for split, what, found in wanted:
        absent = [image_id for image_id in ids[split] if image_id not in found]
        if absent and not any(f"{split}: expected {what}" in line for line in listing.lines):
            text = f"expected {what} of each of {len(ids[split]):,} images of {split}, missing={sample(absent)}"
            yield Row(
                "FAIL",
                "lists",
                Path(source.challenge_root).as_posix(),
                text,
                "likely an unfinished copy: unpack the archive again",
            )


def held_out(source: IlsvrcClsSource | IlsvrcDetSource) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images of val and test by id, as the source finds them, and masks by id, wherever the download has them."""
    if isinstance(source, IlsvrcClsSource):
        images = ilsvrc_cls.held_out_images(source)
    else:
        images = {**ilsvrc_det.held_out_images(source, "test"), **ilsvrc_det.held_out_images(source, "val")}
    return images, _masks_anywhere(source)


def _masks_anywhere(source: IlsvrcClsSource | IlsvrcDetSource) -> dict[str, Path]:
    challenge = Path(source.challenge_root)
    masks: dict[str, Path] = {}
    other = "LID_track1" if isinstance(source, IlsvrcClsSource) else "LID_track3"
    for folder, names in walk(challenge).items():
        plain = (
            isinstance(source, IlsvrcClsSource) or Path(folder).name == RAW
        )  # others of Track 1 are copies for viewing
        if plain and not folder.startswith(other):
            masks |= {stem(name): challenge / folder / name for name in only_images(names, MASK_SUFFIXES)}
    return masks


def _odd_lines(path: Path) -> Iterator[Row]:
    raw = path.read_bytes()
    lines = raw.decode("utf-8", errors="replace").splitlines()
    blank = [n for n, line in enumerate(lines, start=1) if not line.strip()]
    suffixed = [line.split()[0] for line in lines if line.strip() and _has_suffix(line.replace(",", " ").split()[0])]
    if b"\r\n" in raw:
        yield _odd(
            path,
            f"expected lines that end in \\n, got \\r\\n in {raw.count(bytes([13, 10]))}",
            "dos2unix makes them plain",
        )
    if raw.startswith(b"\xef\xbb\xbf"):
        yield _odd(path, "expected plain text, got a byte order mark in front", "save it without one")
    if blank:
        yield _odd(path, f"expected one id a line, got {len(blank)} blank lines: {sample(blank)}", "take them out")
    if suffixed:
        yield _odd(
            path,
            f"expected bare ids, got {len(suffixed)} with an extension: {sample(suffixed)}",
            "the extension is dropped",
        )


def _odd(path: Path, found: str, hint: str) -> Row:
    return Row("WARN", "lists", path.as_posix(), found, f"read all the same; {hint}")


def _other_than_shipped(source: IlsvrcDetSource) -> Iterator[Row]:
    for split, path in downloaded_lists(source).items():
        given, ours = set(lenient_ids(path)), set(shipped(source, split))
        if given != ours:
            difference = f"missing={sample(sorted(ours - given))}, extra={sample(sorted(given - ours))}"
            text = f"expected the challenge's {len(ours):,} ids, got {len(given):,}; {difference}"
            yield Row(
                "WARN",
                "lists",
                path.as_posix(),
                text,
                "preprocess.source.lists: shipped is used; download would take these",
            )
