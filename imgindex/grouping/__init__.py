"""HDBSCAN on embeddings: pure arrays in, pure arrays out, one file a step of the paper.

    rows ─┬─ few ──────▶ mutual_reachability ▶ spanning_tree ─┐
          └─ neighbours ─┬─▶ forest ──────────────────────────┼─▶ Tree ─ condensed_tree ─▶ Clusters
                         └─▶ neighbourhood ▶ coordinates ─────┘

Beside it: ``ranges`` has further pairs for the forest where the index tells none, ``identity``
knows a group again in the next run, ``joining`` finds one for new points, ``atlas`` draws them all
on a map.

Campello, Moulavi, Zimek and Sander, "Hierarchical Density Estimates for Data Clustering,
Visualization, and Outlier Detection", ACM TKDD 10(1), 2015, doi:10.1145/2733381.
"""

from .atlas import lay_out, rooms
from .hdbscan import Before, Clusters, Tree, cluster, cut, grow, size_for
from .identity import Nest, changes, inherit
from .joining import REACH, Standing, join, shares
from .neighbours import Neighbours

__all__ = [
    "REACH",
    "Before",
    "Clusters",
    "Neighbours",
    "Nest",
    "Standing",
    "Tree",
    "changes",
    "cluster",
    "cut",
    "grow",
    "inherit",
    "join",
    "lay_out",
    "rooms",
    "shares",
    "size_for",
]
