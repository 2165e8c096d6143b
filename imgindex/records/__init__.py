"""The records that travel between the rooms, frozen, and their one way into JSON.

Array conventions, everywhere in the package:

* ``Pixels``  uint8 ``[h, w, 3]``, RGB, 0..255; a batch is ``[n, s, s, 3]``.
* ``Rows``    float32 ``[n, d]``, one embedding a row, each of Euclidean length 1.
* ``Labels``  int32 ``[n]``, the group of each picture, -1 for noise.

Scores are cosines in [-1, 1]. Times are seconds. Paths are absolute ``str``; a name that is not
UTF-8 survives as surrogate escapes (``os.fsencode`` gives the bytes back).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import (
    NOISE,
    Fit,
    Precision,
    Progress,
    Skipped,
    Space,
    Way,
    no_progress,
    to_json,
)
from .groups import (
    MIN_CLUSTER_SIZE,
    Change,
    ChangeKind,
    ClusterReport,
    Decision,
    DecisionKind,
    ExportReport,
    Group,
    Grouping,
    GroupingSettings,
    Member,
    SizedGroup,
    lineages,
)
from .models import (
    ModelCard,
    ModelPin,
)
from .pictures import (
    AddReport,
    Choice,
    Found,
    Hit,
    IndexedFile,
    Match,
    Paired,
    Picture,
    QueryFailure,
    SearchResult,
    Status,
    StoreStats,
)

if TYPE_CHECKING:
    from .base import Labels as Labels
    from .base import Pixels as Pixels
    from .base import Rows as Rows

__all__ = [
    "MIN_CLUSTER_SIZE",
    "NOISE",
    "AddReport",
    "Change",
    "ChangeKind",
    "Choice",
    "ClusterReport",
    "Decision",
    "DecisionKind",
    "ExportReport",
    "Fit",
    "Found",
    "Group",
    "Grouping",
    "GroupingSettings",
    "Hit",
    "IndexedFile",
    "Match",
    "Member",
    "ModelCard",
    "ModelPin",
    "Paired",
    "Picture",
    "Precision",
    "Progress",
    "QueryFailure",
    "SearchResult",
    "SizedGroup",
    "Skipped",
    "Space",
    "Status",
    "StoreStats",
    "Way",
    "lineages",
    "no_progress",
    "to_json",
]
