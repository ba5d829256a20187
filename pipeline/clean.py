"""What stopped and earlier runs have kept: `lid clean`, shown with its size, and removed with `--remove`.

    lid clean                    data/*/scratch, one line a folder
    lid clean --remove           the same, removed
    lid clean predicted/ …       of other folders, such as one of `lid predict`

Only folders that stages make are looked at, directly in the folder or one below it: `scratch/train` and the like. A
class of images may well be called scratch.

No result is lost. Without it, a stage that was stopped starts anew, and one whose settings are changed back computes
its maps or predictions again.
"""

import argparse
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import DataError, command
from pipeline.core.reuse import SCRATCH

DATA = Path("data")
# names of stages and of their stores: what keeps something
KEEPING = ("preprocess", "train", "extract", "maps", "features", "refined", "student", "predict")


@dataclass(frozen=True, slots=True)
class Kept:
    """What one stage has kept.

    Attributes:
        folder: where
        files: how many
        bytes: that removing it frees: a file with a second name, in a store, frees nothing
    """

    folder: Path
    files: int
    bytes: int


def find_kept(folders: Iterable[Path]) -> Iterator[Kept]:
    """What is kept below these folders, a row for each stage.

    Raises:
        DataError: if one is not there
    """
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: expected a folder to look into, such as data, found none")
        for scratch in sorted({*folder.glob(SCRATCH), *folder.glob(f"*/{SCRATCH}")}):
            for stage in sorted(path for path in scratch.glob("*") if path.is_dir() and path.name in KEEPING):
                abouts = [path.stat() for path in stage.rglob("*") if path.is_file()]
                yield Kept(stage, len(abouts), sum(one.st_size for one in abouts if one.st_nlink == 1))


@command
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=[DATA], help="where to look: data by default")
    parser.add_argument("--remove", action="store_true", help="remove what is found")
    args = parser.parse_args(arguments)
    found = list(find_kept(args.folders))
    for kept in found:
        if args.remove:
            shutil.rmtree(kept.folder)
        removed = "removed, freed" if args.remove else "frees"
        print(f"{kept.folder}: {kept.files} files, {removed} {kept.bytes / 1e6:.1f} MB")
    if not found:
        print(f"nothing kept in {', '.join(map(str, args.folders))}")
    elif not args.remove:
        print("`lid clean --remove` removes it; no result is lost, but a stage that was stopped starts anew then")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
