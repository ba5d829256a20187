"""Settings of the stage `preprocess`: the source of images, and how much of each file is checked.

`root` is a folder, or a link to one. Sources with official splits but without a hidden test set must define the images
that a submission predicts: `half_of_val` and `half_of_test` give every second image of the official list, in its order,
to split test, without its labels and masks.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from pipeline.core.parallel import ParallelSettings
from pipeline.core.settings import settings_class

Count = Annotated[int, Field(ge=0)]


@settings_class
@dataclass(frozen=True, slots=True)
class FolderSource:
    """A folder with `index.csv`, `classes.txt`, images and masks."""

    name: Literal["folder"]
    root: str
    masks: Literal["auto", "foreground", "labels"]  # auto: foreground if every mask holds 0 and 255 only


@settings_class
@dataclass(frozen=True, slots=True)
class ImageFolderSource:
    """A folder of images for each class, as torchvision's `ImageFolder` reads it; perhaps below train, val and test."""

    name: Literal["image_folder"]
    root: str
    mask_root: str | None  # <class>/<name>.png of val images; null: no masks
    masks: Literal["auto", "foreground", "labels"]  # auto: foreground if every mask holds 0 and 255 only
    val_share: Annotated[float, Field(gt=0, lt=1)]  # of the images of a class, where no folder says which are val
    test_share: Annotated[float, Field(ge=0, lt=1)]  # likewise, where neither val nor test have a folder
    seed: Count  # of the split

    def __post_init__(self) -> None:
        if self.val_share + self.test_share >= 1:
            raise ValueError(
                f"val_share, test_share: expected a sum below 1, got {self.val_share} and {self.test_share}; the rest "
                "trains"
            )


@settings_class
@dataclass(frozen=True, slots=True)
class DemoSource:
    """A synthetic demo data set, rendered locally into `root`."""

    name: Literal["demo"]
    root: str
    train: Annotated[int, Field(ge=1)]  # images
    val: Annotated[int, Field(ge=1)]
    test: Annotated[int, Field(ge=1)]
    classes: Annotated[int, Field(ge=2, le=20)]
    long_side: Annotated[int, Field(ge=64, le=2048)]  # pixels
    seed: Count


@settings_class
@dataclass(frozen=True, slots=True)
class IlsvrcClsSource:
    """Track 3: ILSVRC CLS-LOC (`root`) and the challenge's own files (`challenge_root`, "the download")."""

    name: Literal["ilsvrc_cls"]
    root: str  # the folder ILSVRC or its parent
    challenge_root: str  # the download: masks and lists
    classes: Literal["all", "present"]  # present: of the 1,000 only those with a training folder; for small trees
    val_list: str  # shipped: the challenge's 23,151 ids; or a file below challenge_root, `<id> [<number>]` a line
    val_numbers: Literal["class_index", "devkit_id", "devkit_id_minus_1"]  # what the numbers in a list of yours mean
    test_list: str  # auto: test.txt where downloads have it; or a file below challenge_root
    masks: str  # auto: the folder below challenge_root that holds <id>.png; none; or its name
    boxes: Literal["annotations", "none"]  # of val images, from ILSVRC/Annotations/CLS-LOC/val
    swapped_masks: Literal[
        "transpose", "rotate_left", "rotate_right", "skip", "error"
    ]  # the two known ones; skip: no mask


@settings_class
@dataclass(frozen=True, slots=True)
class IlsvrcDetSource:
    """Track 1: ILSVRC DET (`root`) and the challenge's own files (`challenge_root`, "the download")."""

    name: Literal["ilsvrc_det"]
    root: str  # the folder ILSVRC or its parent
    challenge_root: str  # the download: LID_track1/, LID_track1_annotations/
    labels: Literal["annotations", "image_sets"]  # from the XML files, or from ImageSets/DET/train_<k>.txt
    partial_labels: Literal["positive", "ignore"]  # what 0 in the ImageSets lists means (between 1 and -1)
    lists: Literal["shipped", "download"]  # val and test ids: the challenge's, or val.txt and test.txt of the download
    empty_classes: Literal["error", "allow"]  # a class of the 200 without a training image


@settings_class
@dataclass(frozen=True, slots=True)
class OxfordPetSource:
    """Oxford-IIIT Pet: 37 breeds, trimaps."""

    name: Literal["oxford_pet"]
    root: str  # the folder oxford-iiit-pet or its parent
    val: Literal["half_of_test", "fifth_of_train"]  # where split val is taken from; the set has only trainval and test
    download: bool  # 800 MB, if it is not there


@settings_class
@dataclass(frozen=True, slots=True)
class PascalVocSource:
    """Pascal VOC 2012: 20 classes, label maps."""

    name: Literal["pascal_voc"]
    root: str  # the folder VOC2012, or the parent of VOCdevkit/VOC2012
    train: Literal[
        "segmentation", "trainval", "train_aug"
    ]  # trainval: every image with a label that is not in split val or test; train_aug: the 10,582 that papers train on
    test: Literal["half_of_val", "official"]  # official: ImageSets/Segmentation/test.txt of the test download
    download: bool  # 2 GB, if it is not there


@settings_class
@dataclass(frozen=True, slots=True)
class CubSource:
    """CUB-200-2011: 200 birds, one box an image, perhaps segmentations."""

    name: Literal["cub"]
    root: str  # the folder CUB_200_2011 or its parent
    val: Literal["half_of_test", "fifth_of_train"]  # where split val is taken from; the set has only train and test
    truth: Literal["boxes", "segmentations"]  # segmentations: the separate download, segmentations/


@settings_class
@dataclass(frozen=True, slots=True)
class TinyImagenetSource:
    """Tiny ImageNet: 200 classes, one box an image, 64 x 64 pixels."""

    name: Literal["tiny_imagenet"]
    root: str  # the folder tiny-imagenet-200 or its parent


@settings_class
@dataclass(frozen=True, slots=True)
class CocoSource:
    """COCO 2017: 80 classes, boxes or label maps drawn from the polygons."""

    name: Literal["coco"]
    root: str  # the folder that contains annotations/, train2017/ and val2017/
    test: Literal["half_of_val", "official"]  # official: test2017/ with image_info_test2017.json
    truth: Literal["boxes", "masks"]
    mask_cache: str  # folder for the masks that are drawn with truth: masks


@settings_class
@dataclass(frozen=True, slots=True)
class WsolSource:
    """The splits of wsolevaluation, on which papers report: ILSVRC, CUB or OpenImages."""

    name: Literal["wsol"]
    root: str  # the folder that the paths in the lists start from
    metadata_root: str  # metadata/<data set>, with train/, val/ and test/
    scored: Literal["test", "val"]  # the official split that becomes split val; the other one becomes split test
    truth: Literal["boxes", "masks", "none"]  # what localization.txt holds; masks: OpenImages; none: it is not read
    mask_root: str  # with truth: masks, the folder that their paths start from
    mask_cache: str  # with truth: masks, folder for the trimaps that are drawn


Source = Annotated[
    FolderSource
    | ImageFolderSource
    | DemoSource
    | IlsvrcClsSource
    | IlsvrcDetSource
    | OxfordPetSource
    | PascalVocSource
    | CubSource
    | TinyImagenetSource
    | CocoSource
    | WsolSource,
    Field(discriminator="name"),
]

OWN = (FolderSource, ImageFolderSource)  # images of one's own: no official list says what has to be there


@settings_class
@dataclass(frozen=True, slots=True)
class PreprocessSettings:
    """`tracks.<track>.preprocess`."""

    source: Source
    watch: str  # a file or folder; DVC lists the images again when it has changed, or a link on the way leads elsewhere
    check: Literal["list", "header", "decode"]  # read nothing, sizes, or every pixel
    on_bad_image: Literal[
        "error", "skip"
    ]  # skip: left out, counted and listed in preprocess.json; val and test always stop
    jobs: Annotated[int, Field(ge=-1)]  # processes; -1: all cores
    parallel: ParallelSettings

    def __post_init__(self) -> None:
        if self.check == "list" and self.finds_mask_kind:
            raise ValueError(
                "check is 'list', source.masks is 'auto': expected 'foreground' or 'labels', a list shows no mask "
                "values"
            )
        if self.jobs == 0:
            raise ValueError("jobs: expected a number of processes, or -1 for all cores, got 0")

    @property
    def finds_mask_kind(self) -> bool:
        """Whether the kind of the masks is to be determined from their values."""
        return isinstance(self.source, OWN) and self.source.masks == "auto"

    @property
    def allows_empty_classes(self) -> bool:
        """Whether a class may have no training image."""
        return isinstance(self.source, IlsvrcDetSource) and self.source.empty_classes == "allow"

    @property
    def cuts_boxes(self) -> bool:
        """Whether a box that passes the border is cut there (official sets) or an error (your own)."""
        return not isinstance(self.source, OWN)

    @property
    def labels_val_by_masks(self) -> bool:
        """Whether val images without labels get the classes that their masks hold."""
        return isinstance(self.source, IlsvrcDetSource)
