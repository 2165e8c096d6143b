"""HDBSCAN on embeddings: pure arrays in, pure arrays out, one file a step of the paper.

    rows ─┬─ few ──────▶ mutual_reachability ▶ spanning_tree ─┐
          └─ neighbours ─┬─▶ forest ──────────────────────────┼─▶ Tree ─ condensed_tree ─▶ Clusters
                         └─▶ neighbourhood ▶ coordinates ─────┘

Campello, Moulavi, Zimek and Sander, "Hierarchical Density Estimates for Data Clustering,
Visualization, and Outlier Detection", ACM TKDD 10(1), 2015, doi:10.1145/2733381.
"""

from .hdbscan import Clusters, Tree, cluster, cut, grow, size_for

__all__ = ["Clusters", "Tree", "cluster", "cut", "grow", "size_for"]
