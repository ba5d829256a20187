# An image with Python 3.12 and all packages; docs/installation.md says how to use it. A test compares the commands.
FROM python:3.12-slim-bookworm
# https://download.pytorch.org/whl/cpu: PyTorch without CUDA, 4 GB less
ARG TORCH_INDEX=https://pypi.org/simple
WORKDIR /lid
RUN apt-get update && apt-get install --yes --no-install-recommends git libgl1 libglib2.0-0
COPY constraints.txt .
RUN python -m pip install --no-cache-dir --constraint constraints.txt --index-url $TORCH_INDEX torch torchvision
COPY . .
RUN python -m pip install --no-cache-dir --constraint constraints.txt --editable .
RUN git config --system --add safe.directory /lid && dvc config --local core.no_scm true
CMD ["lid", "run"]
