"""Features of a few val images, stored for the diagnostics.

What is stored for an image: `features` (C, h, w) float16, as the network gives them at the first of `extract.sizes`,
not mirrored; `weights` (L, C) float32, the classifier's for each label of the image, in the order of the manifest.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pipeline.core.device import Hardware, choose_hardware
from pipeline.core.images import read_rgb, resize_image
from pipeline.core.manifest import Manifest, Record
from pipeline.core.progress import progress
from pipeline.core.store import Arrays, divide, finish, write_shard
from pipeline.core.tracks import Track
from pipeline.extract.network import cell_offset
from pipeline.extract.plan import view_shapes
from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import Classifier
from pipeline.models.fused import fused_backbone

IMAGES_PER_SHARD = 16  # images in one file, at least: of ResNet50 at 384 pixels, 40 MB


def keep_features(
    manifest: Manifest, classifier: Classifier, out: Path, settings: ExtractSettings, track: Track
) -> int:
    """Write the features of a sample of split val as a store; return how many images it holds.

    The store is empty where `diagnostic_images` is 0, or no val image has labels and truth to compare with.
    """
    hardware = choose_hardware(settings.device, settings.precision, learning=False)
    classifier.to(hardware.device).eval()
    sample = choose_sample(manifest.select("val"), settings.diagnostic_images, track)
    by_id = {record.id: record for record in sample}
    shards = []
    with fused_backbone(classifier), progress(total=len(sample), title="features") as bar:
        for number, ids in enumerate(divide(list(by_id), IMAGES_PER_SHARD)):
            items = {}
            for image_id in ids:
                items[image_id] = _arrays(by_id[image_id], classifier, settings, hardware)
                bar.update()
            shards.append(write_shard(out, number, items))
    design, offset = classifier.design, cell_offset(classifier, settings)
    finish(out, shards, {"pooling": design.pooling, "tap_threshold": design.tap_threshold, "offset": list(offset)})
    return len(sample)


def choose_sample(val: Manifest, most: int, track: Track) -> Sequence[Record]:
    """At most `most` images whose object is known, evenly spaced in the order of their labels: the same at every call.

    A mask of foreground, or a box, shows the object of an image with one label. If there are several labels, only a
    label map does, and only segmentation reads a mask as a label map.
    """
    several = track.task == "segmentation" and val.mask_kind == "labels"
    known = [
        r for r in val if (r.has_mask or r.has_boxes) and (len(r.labels) == 1 or (several and r.has_mask and r.labels))
    ]
    known.sort(key=lambda record: (record.labels, record.id))
    places = np.unique(np.linspace(0, len(known) - 1, min(most, len(known))).round().astype(int))
    return [known[place] for place in places]


@torch.inference_mode()
def _arrays(record: Record, classifier: Classifier, settings: ExtractSettings, hardware: Hardware) -> Arrays:
    image = read_rgb(record.file)
    whole, stride = (image.shape[0], image.shape[1]), classifier.design.output_stride
    shape = view_shapes(whole, settings, stride, hardware.wants_few_shapes)[0]
    images = torch.from_numpy(resize_image(image, shape)).permute(2, 0, 1)[None].to(hardware.device)
    with hardware.autocast():
        features = classifier.method.head_features(classifier, classifier.backbone_features(images))
    weights = classifier.head.weight[list(record.labels)]
    return {
        "features": features[0].float().cpu().numpy().clip(max=np.finfo(np.float16).max).astype(np.float16),
        "weights": weights.float().cpu().numpy(),
    }
