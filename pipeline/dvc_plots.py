"""`lid plots`: the plots of `dvc.yaml` as a page that opens without a network, with the options of `dvc plots`.

    lid plots                    of the run in this folder
    lid plots diff HEAD          beside those of a commit
    lid plots diff exp-a exp-b   of two experiments

DVC's page loads Vega from the network. Here it loads `vega.js` beside it, which this command writes; `.dvc/page.html`,
the template of the page, falls back to the network where there is none.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.errors import command
from pipeline.core.files import write_text
from pipeline.core.tracks import TRACKS
from pipeline.dvc_runs import dvc

FOLDER = "dvc_plots"  # where DVC writes, if `--out` names no other place
SCRIPT = "vega.js"
VEGA_LITE = "5.20"  # the templates of DVC are of version 5


def vega_script() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, which sets `vegaEmbed` of the window."""
    import vl_convert  # 80 MB, which other commands need not load

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE))


@command
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="lid plots", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("view", nargs="?", choices=("show", "diff"), default="show")
    parser.add_argument("-o", "--out", type=Path, default=Path(FOLDER), help=f"folder of the page; default: {FOLDER}")
    args, others = parser.parse_known_args(arguments)
    status = dvc(["plots", args.view, "--out", str(args.out), *others])
    if (args.out / "index.html").is_file():
        write_text(args.out / SCRIPT, vega_script())
        if absent := [name for name in sorted(TRACKS) if not Path("data", name).is_dir()]:
            print(f"no run of {' and '.join(absent)} in this folder: its plots are those that DVC failed to load")
    return status


if __name__ == "__main__":
    sys.exit(main())
