"""HDBSCAN on embeddings: pure arrays in, pure arrays out, one file a step of the paper.

    distances -> core_distances -> spanning_tree -> condensed_tree -> Clusters

Campello, Moulavi, Zimek and Sander, "Hierarchical Density Estimates for Data Clustering,
Visualization, and Outlier Detection", ACM TKDD 10(1), 2015, doi:10.1145/2733381.
"""

from .hdbscan import Clusters, cluster

__all__ = ["Clusters", "cluster"]
