"""Two or more runs or submissions on one page, scored on the same images. No stage imports this package.

- `entrants`: a run, one of its steps or a zip, as counts of each image and its predictions
- `steps`: what a run stored without the CRF, with it, and by its student
- `numbers`: the same images of all, scores with intervals, differences on the same resamples
- `page`: what people look at: numbers, curves, the images that changed most
"""
