"""Run examples/quickstart.ipynb and keep what it shows: text, and figures of few colors.

python docs/run_notebook.py
"""

import base64
import io
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

NOTEBOOK = Path(__file__).resolve().parent.parent / "examples" / "quickstart.ipynb"
COLORS = 128  # of a figure
SECONDS = 600  # that a cell may take


def run(notebook: Path) -> NotebookNode:
    """The notebook with the output of every cell, run in its own folder."""
    found = nbformat.read(notebook, as_version=4)
    client = NotebookClient(found, timeout=SECONDS, resources={"metadata": {"path": str(notebook.parent)}})
    done: NotebookNode = client.execute()
    return done


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Without times, warnings and descriptions of figures: equal results give equal bytes."""
    for cell in notebook.cells:
        cell.metadata.clear()
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                output.get("data", {}).pop("text/plain", None)
                if "image/png" in output.get("data", {}):
                    output.data["image/png"] = fewer_colors(output.data["image/png"])
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec}
    return notebook


def fewer_colors(png: str) -> str:
    """A PNG with a palette, in base64 as it came."""
    stream = io.BytesIO()
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    image.quantize(COLORS, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()


if __name__ == "__main__":
    nbformat.write(tidy(run(NOTEBOOK)), NOTEBOOK)
    print(NOTEBOOK)
