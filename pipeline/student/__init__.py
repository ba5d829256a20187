"""The second stage: a segmentation network trained on the run's own refined predictions of split train."""
