"""Measure grouping on this machine: time, peak memory, and agreement; one process a line.

    python scripts/bench_grouping.py faithful            against the exact tree, 2k 10k 25k rows
    python scripts/bench_grouping.py far 10000 25000     what replaces an index's links; --real FILE
    python scripts/bench_grouping.py growth 10000 100000 from a built index, both spaces
    python scripts/bench_grouping.py peers 10000 25000   against other packages, whichever are here
    python scripts/bench_grouping.py labelled FILE.npz   real rows and their classes, both spaces

Made rows have 512 numbers, groups of about 60 and a fifth of noise. FILE.npz holds ``rows`` [n, d]
and ``classes`` [n]. Machines are noisy: compare figures of one run only. Compiling (numba) is done
on a small set first and not counted. Add --json for one JSON object a line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn.cluster
from benches.far import agreement, sets
from benches.made import library_of, made_rows
from benches.measuring import peak
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from imgindex import grouping, open_store
from imgindex.grouping import forest
from imgindex.grouping.mutual_reachability import core_distances, distances
from imgindex.grouping.neighbours import measure
from imgindex.grouping.spanning_tree import spanning_tree
from imgindex.records import no_progress
from imgindex.store import local

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from imgindex.grouping import Clusters
    from imgindex.records import Rows, Space
    from imgindex.store import Store

SIZE, SAMPLES, WARM = 10, 5, 600
PEERS = {
    "imgindex descriptor": "imgindex",
    "imgindex neighbourhood": "imgindex",
    "hdbscan": "hdbscan",
    "scikit-learn": "sklearn",
    "fast_hdbscan": "fast_hdbscan",
    "EVoC": "evoc",
    "umap-learn + hdbscan": "umap",
}


def main() -> None:
    """Read the arguments and run what they ask for, each measurement in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["faithful", "far", "growth", "peers", "labelled", "one"])
    parser.add_argument("of", nargs="*")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=2, help="sets of a kind, for far")
    parser.add_argument("--real", type=Path, help="an .npz file with code and scale, for far")
    asked = parser.parse_args()
    if asked.what == "far":
        for count in map(int, asked.of or ["10000", "25000"]):
            far(count, asked.seeds, asked.real)
        return
    if asked.what == "one":  # what the other commands start
        print(json.dumps(one(*asked.of)))
        return
    with tempfile.TemporaryDirectory() as folder:
        for method, data, library in lines(asked.what, asked.of, Path(folder)):
            run = [sys.executable, __file__, "one", method, str(data), str(library)]
            done = subprocess.run(run, check=False, capture_output=True, text=True)  # noqa: S603
            if done.returncode:
                why = done.stderr.strip().splitlines()[-1:] or [f"killed ({done.returncode})"]
                print(f"method {method}  rows {data.stem}  failed: {why[0]}", flush=True)
            elif asked.json:
                print(done.stdout.strip(), flush=True)
            else:
                told = json.loads(done.stdout)
                print("  ".join(f"{key} {value}" for key, value in told.items()), flush=True)


def far(count: int, seeds: int, real: Path | None) -> None:
    """Print how groups by chosen pairs agree with those by all pairs, one JSON object a line."""
    for seed in range(seeds):
        for name, rows in sets(count, seed, real):
            for found in agreement(rows):
                told = {"set": name, "rows": len(rows), "seed": seed} | found
                print(json.dumps(told), flush=True)


def lines(what: str, of: list[str], work: Path) -> list[tuple[str, Path, Path]]:
    """The measurements: method, file of rows, library of the same rows."""
    both = ["imgindex descriptor", "imgindex neighbourhood"]
    methods = {
        "faithful": ["faithful"],
        "growth": both,
        "peers": [name for name, module in PEERS.items() if find_spec(module)],
        "labelled": ["imgindex exact", *both],
    }[what]
    made = []
    for name in of or ["2000", "10000", "25000"]:
        data = Path(name)
        if what != "labelled":
            data = work / f"{name}.npz"
            rows, truth = made_rows(int(name), np.random.default_rng(int(name)))
            np.savez(data, rows=rows, classes=truth)
        library = work / f"library-{data.stem}"
        library_of(library, read(data)[0])
        made += [(method, data, library) for method in methods]
    return made


def read(data: Path) -> tuple[Rows, NDArray[np.int64]]:
    """Rows of length 1 and their classes, out of a file."""
    with np.load(data) as file:
        rows, classes = file["rows"].astype(np.float32), file["classes"]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows, classes


def one(method: str, data: str, library: str) -> dict[str, Any]:
    """Measure one method on one set, in this process alone."""
    rows, classes = read(Path(data))
    with closing(open_store(library)) as store:
        if method == "faithful":
            return faithful(store)
        if method.startswith("imgindex"):
            # The rows come from the library, as they do for users.
            del rows
            ids, rows = store.vectors()
            classes = classes[[int(one, 16) for one in ids]]
            work = _ours(method.split()[1], store, rows, ids)
            _ours(method.split()[1], store, rows[:WARM], ids[:WARM])()
        else:
            work = _theirs(method, rows)
            _theirs(method, rows[:WARM])()
        began = time.perf_counter()
        labels = work()
        spent = time.perf_counter() - began
    return {
        "method": method,
        "rows": len(rows),
        "seconds": round(spent, 2),
        "peak_gb": round(peak() / 1e6, 2),
        "groups": int(labels.max()) + 1,
        "noise": round(float((labels < 0).mean()), 3),
        "ari": round(float(adjusted_rand_score(classes, labels)), 4),
        "ami": round(float(adjusted_mutual_info_score(classes, labels)), 4),
    }


def _ours(way: str, store: Store, rows: Rows, ids: tuple[str, ...]) -> Callable[[], Any]:
    space: Space = "neighbourhood" if way == "neighbourhood" else "descriptor"
    exact = True if way == "exact" else None  # as users get it: up to 10,000 rows
    return lambda: _clusters(store, rows, ids, space, exact=exact).labels


def _clusters(
    store: Store, rows: Rows, ids: tuple[str, ...], space: Space, *, exact: bool | None
) -> Clusters:
    return grouping.cluster(
        rows,
        min_cluster_size=SIZE,
        min_samples=SAMPLES,
        space=space,
        exact=exact,
        propose=lambda kept, k: store.neighbours([ids[at] for at in kept], k, no_progress),
    )


def _theirs(method: str, rows: Rows) -> Callable[[], Any]:
    """Another package's way, with its defaults but for the two settings that all share."""
    density = {"min_cluster_size": SIZE, "min_samples": SAMPLES}
    if method == "scikit-learn":
        # It counts the point itself.
        theirs = sklearn.cluster.HDBSCAN(min_cluster_size=SIZE, min_samples=SAMPLES + 1, copy=True)
        return lambda: theirs.fit_predict(rows)
    if method == "fast_hdbscan":
        import fast_hdbscan

        return lambda: fast_hdbscan.HDBSCAN(**density).fit_predict(rows)
    if method == "EVoC":
        import evoc

        return lambda: evoc.EVoC(base_min_cluster_size=SIZE).fit_predict(rows)
    import hdbscan

    if method == "hdbscan":
        generic = hdbscan.HDBSCAN(**density, algorithm="generic")
        return lambda: generic.fit_predict(rows.astype(float))
    import umap

    layout = umap.UMAP(n_components=5, min_dist=0, metric="cosine", random_state=0)
    return lambda: hdbscan.HDBSCAN(**density).fit_predict(layout.fit_transform(rows))


def faithful(store: Store) -> dict[str, Any]:
    """The way over the graph against the exact tree."""
    local._COMPARED = 0  # noqa: SLF001 - of however few rows
    ids, rows = store.vectors()
    _clusters(store, rows[:WARM], ids[:WARM], "descriptor", exact=False)
    began = time.perf_counter()
    found = _clusters(store, rows, ids, "descriptor", exact=False)
    between = time.perf_counter()
    exact = _clusters(store, rows, ids, "descriptor", exact=True)
    ended = time.perf_counter()
    proposed, links = store.neighbours(ids, 15, no_progress)
    tree = forest.spanning_tree(rows, measure(rows, proposed, 15), links, SAMPLES, no_progress)
    matrix = distances(rows, no_progress)
    whole = spanning_tree(matrix, core_distances(matrix, SAMPLES), no_progress)
    return {
        "rows": len(rows),
        "ari_to_exact": round(float(adjusted_rand_score(exact.labels, found.labels)), 4),
        "tree_weight_ratio": round(float(tree[:, 2].sum() / whole[:, 2].sum()), 6),
        "noise": round(float((found.labels < 0).mean()), 4),
        "noise_exact": round(float((exact.labels < 0).mean()), 4),
        "seconds": round(between - began, 2),
        "seconds_exact": round(ended - between, 2),
    }


if __name__ == "__main__":
    main()
