"""Measure imgindex on this machine, in turn with other packages that do the same.

    python scripts/bench.py embed      the bare network: pictures a second, in several runtimes
    python scripts/bench.py index      JPEG files to rows on the disk, against scripts with torch
    python scripts/bench.py search     milliseconds a query, recall, what opening a library costs
    python scripts/bench.py rerun      a second index run against a bare walk of the same tree
    python scripts/bench.py stores     a library on a Milvus server beside one in a folder
    python scripts/bench.py cluster    what scripts/bench_grouping.py measures; arguments go there

Every set is made on the spot. scripts/bench_peers makes .venv-peers, an environment with all the
peers: run .venv-peers/bin/python scripts/bench.py there. A peer that is not installed is left out
and named. Every method has its turn in every round; a ratio is the median of the rounds' ratios.
Machines are noisy: compare figures of one run only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benches.measuring import Report

PEERS = ["peers", "2000", "10000"]
COMMON = {"what", "threads", "json", "markdown", "plot"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments, measure, and tell."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["cluster"]:
        grouping = Path(__file__).parent / "bench_grouping.py"
        sys.exit(subprocess.call([sys.executable, str(grouping), *(given[1:] or PEERS)]))  # noqa: S603
    asked = _parser().parse_args(given)
    if asked.plot and find_spec("matplotlib") is None:
        sys.exit("--plot needs matplotlib, which is not installed; see scripts/bench_peers")
    if asked.threads:
        _pin(asked.threads)
    options = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in vars(asked).items()
        if key not in COMMON and value is not None
    }
    with tempfile.TemporaryDirectory() as folder:
        report = _measure(asked.what, Path(folder), options)
    if asked.threads:
        report.settings["threads"] = asked.threads
    print(report.as_markdown())
    if asked.json:
        asked.json.write_text(report.as_json(), "utf-8")
    if asked.markdown:
        asked.markdown.write_text(report.as_markdown(), "utf-8")
    if asked.plot:
        report.plot(asked.plot)


def _measure(what: str, work: Path, options: dict[str, object]) -> Report:
    # Only now: what these load looks at the processors that it may use.
    from importlib import import_module

    report: Report = import_module(f"benches.{what}").run(work, **options)
    return report


def _pin(threads: int) -> None:
    """Keep this process, and those it starts, on some of the processors."""
    if not hasattr(os, "sched_setaffinity"):
        sys.exit("--threads is not possible on this system")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
    import onnxruntime as ort

    class Options(ort.SessionOptions):  # type: ignore[misc]  # it has no types
        """Options of a session that stays here: by itself it binds a thread to each processor."""

        def __init__(self) -> None:
            super().__init__()
            self.intra_op_num_threads = threads

    ort.SessionOptions = Options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    benches = parser.add_subparsers(dest="what", required=True)
    model, side, rounds = "--model", "--side", "--rounds"

    embed = benches.add_parser("embed", help="the bare network")
    embed.add_argument("--pictures", type=int, help="embedded in a turn (24)")
    embed.add_argument("--batch", type=int, help="pictures a call (8)")
    embed.add_argument("--compile", dest="compiled", action="store_true", help="torch.compile, too")

    index = benches.add_parser("index", help="files to rows")
    index.add_argument("--files", type=int, help="a folder (48)")
    index.add_argument("--sizes", nargs="+", help="of pictures, WIDTHxHEIGHT (512x384 4000x3000)")
    for one in (embed, index):
        one.add_argument(model, type=Path, action="append", help="another model file, repeatable")
        one.add_argument(side, type=int, help="what the network sees, in pixels (224)")

    search = benches.add_parser("search", help="nearest neighbours")
    search.add_argument("--counts", type=int, nargs="+", help="sizes (1000 10000 100000)")
    search.add_argument("--single", type=int, help="queries a turn, asked one by one (64)")
    search.add_argument("--batch", type=int, help="queries a turn, asked at once (256)")
    search.add_argument("--real", type=Path, help=".npz file with rows to use for made ones")

    rerun = benches.add_parser("rerun", help="an unchanged tree")
    rerun.add_argument("--files", type=int, help="in the tree (20000)")

    stores = benches.add_parser("stores", help="a folder and a Milvus server")
    stores.add_argument("--server", required=True, help="milvus://HOST:PORT")
    stores.add_argument("--count", type=int, help="pictures (20000)")
    stores.add_argument("--batch", type=int, help="queries at once (256)")

    for one in (embed, index, search, rerun, stores):
        one.add_argument(rounds, type=int, help="turns of each method (5; index 3, rerun 15)")
        one.add_argument("--pause", type=float, help="seconds of rest ahead of a turn")
        one.add_argument("--threads", type=int, help="use so many processors only")
        one.add_argument("--json", type=Path, help="write every figure there")
        one.add_argument("--markdown", type=Path, help="write the tables there, as they are shown")
        one.add_argument("--plot", type=Path, help="draw them there; needs matplotlib")
    benches.add_parser(
        "cluster", help="see scripts/bench_grouping.py; without arguments: " + " ".join(PEERS)
    )
    return parser


if __name__ == "__main__":
    main()
