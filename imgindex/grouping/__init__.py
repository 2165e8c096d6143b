"""HDBSCAN on embeddings: pure arrays in, pure arrays out, one file a step of the paper.

    distances -> core_distances -> spanning_tree -> condensed_tree -> Clusters

Beside it: ``identity`` knows a group again in the next run, ``joining`` finds one for new points.

Campello, Moulavi, Zimek and Sander, "Hierarchical Density Estimates for Data Clustering,
Visualization, and Outlier Detection", ACM TKDD 10(1), 2015, doi:10.1145/2733381.
"""

from .hdbscan import Before, Clusters, cluster
from .identity import changes, inherit
from .joining import REACH, Standing, join, shares
from .neighbours import Neighbours

__all__ = [
    "REACH",
    "Before",
    "Clusters",
    "Neighbours",
    "Standing",
    "changes",
    "cluster",
    "inherit",
    "join",
    "shares",
]
