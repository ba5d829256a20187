"""Each track's task and allowed outputs; stages branch on `track.task`."""

from dataclasses import dataclass
from typing import Literal

from pipeline.core.errors import DataError, SettingsError

TrackName = Literal["track1", "track3"]
Output = Literal["score_map", "label_map", "label_map_one_class"]  # `refine.output`
MOST_CLASSES = 254  # of a label map: 0 is the background, 255 the ignore index


@dataclass(frozen=True, slots=True)
class Track:
    """One of the two tasks.

    Attributes:
        name: as in params.yaml and in file names
        title: for people to read
        task: `segmentation` predicts class ids 0..K, `localization` scores 0..255
        outputs: which values `refine.output` may take
    """

    name: TrackName
    title: str
    task: Literal["segmentation", "localization"]
    outputs: tuple[Output, ...]

    def largest_value(self, classes: int) -> int:
        """The largest value that a prediction may hold: K in segmentation, 255 in localization."""
        return classes if self.task == "segmentation" else 255

    def check_class_count(self, classes: int) -> None:
        """Refuse more classes than a prediction of one byte can hold, before anything is trained.

        Raises:
            DataError: in segmentation, if there are more than 254 classes
        """
        if self.task == "segmentation" and classes > MOST_CLASSES:
            raise DataError(
                f"{self.name}: expected at most {MOST_CLASSES} classes, got {classes}; 0 is the background, 255 ignored"
            )


TRACKS: dict[str, Track] = {
    "track1": Track(
        "track1",
        "Track 1: weakly supervised semantic segmentation",
        "segmentation",
        ("label_map_one_class", "label_map"),
    ),
    "track3": Track("track3", "Track 3: weakly supervised object localization", "localization", ("score_map",)),
}


def get_track(name: str) -> Track:
    """Return the track called `name`.

    Raises:
        SettingsError: if there is none
    """
    if name not in TRACKS:
        raise SettingsError(f"expected a track among {sorted(TRACKS)}, got {name!r}")
    return TRACKS[name]
