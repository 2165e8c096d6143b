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
    Engine,
    Fit,
    Precision,
    Progress,
    Skipped,
    Space,
    Way,
    no_progress,
    to_json,
)
from .duplicates import (
    SKETCH_SIDE,
    Burst,
    Copy,
    CopyKind,
    Duplicates,
    DuplicateSet,
    Shot,
    Twin,
)
from .groups import (
    MIN_CLUSTER_SIZE,
    Change,
    ChangeKind,
    Chart,
    ChartedGroup,
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
from .queries import (
    AWAY,
    STANDARD_INPUT,
    Box,
    Order,
    Orientation,
    PictureId,
    Term,
    Where,
    weighed,
    worded,
)
from .seen import (
    Channel,
    Explanation,
    Features,
    Frame,
    LayerInfo,
    Layers,
    Place,
)

if TYPE_CHECKING:
    from .base import Labels as Labels
    from .base import Pixels as Pixels
    from .base import Rows as Rows
    from .seen import Maps as Maps
    from .seen import Rectangle as Rectangle

__all__ = [
    "AWAY",
    "MIN_CLUSTER_SIZE",
    "NOISE",
    "SKETCH_SIDE",
    "STANDARD_INPUT",
    "AddReport",
    "Box",
    "Burst",
    "Change",
    "ChangeKind",
    "Channel",
    "Chart",
    "ChartedGroup",
    "Choice",
    "ClusterReport",
    "Copy",
    "CopyKind",
    "Decision",
    "DecisionKind",
    "DuplicateSet",
    "Duplicates",
    "Engine",
    "Explanation",
    "ExportReport",
    "Features",
    "Fit",
    "Found",
    "Frame",
    "Group",
    "Grouping",
    "GroupingSettings",
    "Hit",
    "IndexedFile",
    "LayerInfo",
    "Layers",
    "Match",
    "Member",
    "ModelCard",
    "ModelPin",
    "Order",
    "Orientation",
    "Paired",
    "Picture",
    "PictureId",
    "Place",
    "Precision",
    "Progress",
    "QueryFailure",
    "SearchResult",
    "Shot",
    "SizedGroup",
    "Skipped",
    "Space",
    "Status",
    "StoreStats",
    "Term",
    "Twin",
    "Way",
    "Where",
    "lineages",
    "no_progress",
    "to_json",
    "weighed",
    "worded",
]
