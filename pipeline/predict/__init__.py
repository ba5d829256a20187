"""Predict any image with a finished run; no stage imports this package.

predictor = Predictor("data/track3")
prediction = predictor.predict("photo.jpg")
predict_files(predictor, ["photos"], Path("predicted"))
"""

from pipeline.predict.files import Summary, predict_files
from pipeline.predict.instances import Instance
from pipeline.predict.predictor import ImagePrediction, Predictor

__all__ = ["ImagePrediction", "Instance", "Predictor", "Summary", "predict_files"]
