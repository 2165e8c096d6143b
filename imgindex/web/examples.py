"""What answers look like, for the description of the service."""

from __future__ import annotations

from typing import Any

_SEA, _ISLAND = "dc4f6fad84c18861f3f791e7d2c42fc4", "65f3abed5080432401d21be08f71c14b"
_AT = "2026-05-01T12:00:00.000+00:00"
_GROUP = {
    "id": 7,
    "size": 45,
    "medoid": _SEA,
    "exemplars": [_SEA, _ISLAND],
    "name": "Lisbon",
    "cover": None,
    "parent": None,
}
_SETTINGS = {
    "min_cluster_size": 8,
    "min_samples": 5,
    "space": "neighbourhood",
    "model": "vgg16-pool5-gem",
}
_ITEM = {
    "id": _SEA,
    "width": 4000,
    "height": 3000,
    "format": "JPEG",
    "taken": "2025-07-14T18:02:11",
    "paths": ["/photos/2025/sea.jpg"],
    "group": 7,
    "part": 7,
    "strength": 0.94,
    "outlier": 0.02,
    "exemplar": True,
    "joined": False,
}
_DECISION = {
    "number": 3,
    "kind": "form",
    "group": 12,
    "name": None,
    "pictures": [_SEA, _ISLAND],
}
_JOB = {
    "id": "5f1c0a9be2d47a36",
    "kind": "index",
    "state": "running",
    "stage": "embed",
    "done": 120,
    "total": 1035,
    "created": _AT,
    "started": _AT,
    "ended": None,
    "settings": {
        "paths": ["/photos"],
        "prune": False,
        "include": [],
        "exclude": [],
        "hidden": False,
    },
    "result": None,
    "problem": None,
}
_PLACE = {
    "a": [366, 165, 439, 219],
    "b": [366, 165, 439, 219],
    "similarity": 0.9893,
    "share": 0.0006,
}
_FRAME = {"width": 640, "height": 480, "square": [80.0, 0.0, 560.0, 480.0]}

EXAMPLES: dict[str, Any] = {
    "healthy": {"status": "ok"},
    "ready": {"status": "ready"},
    "status": {
        "library": "/home/ada/.local/share/imgindex/library",
        "pictures": 1035,
        "files": 1036,
        "missing": 0,
        "unreadable": 1,
        "vectors": 1035,
        "dimension": 512,
        "model": "vgg16-pool5-gem",
        "index": "ready",
        "bytes": 9123456,
        "groups": 28,
        "grouped": _AT,
        "stale": None,
        "change": "12-7",
        "service": {
            "version": "0.1.0",
            "originals": False,
            "addresses": False,
            "adding": True,
            "indexing": True,
            "aside": False,
            "max_upload_bytes": 64000000,
            "max_k": 1000,
        },
    },
    "search": {
        "query": _SEA,
        "model": "vgg16-pool5-gem",
        "way": "hnsw",
        "matches": [
            {"rank": 1, "path": "/photos/2025/sea.jpg", "id": _SEA, "score": 1.0},
            {"rank": 2, "path": "/photos/2025/island.jpg", "id": _ISLAND, "score": 0.83},
        ],
    },
    "upload": {"id": _SEA, "width": 4000, "height": 3000, "format": "JPEG", "known": False},
    "picture": _ITEM,
    "pictures": {"total": 1035, "offset": 0, "pictures": [_ITEM]},
    "added": {
        "pictures": [
            {"name": "sea.jpg", "id": _SEA, "reason": None, "known": False},
            {"name": "notes.txt", "id": None, "reason": "not a picture", "known": False},
        ]
    },
    "groups": {
        "groups": [_GROUP],
        "parts": [],
        "pictures": 1035,
        "noise": 61,
        "created": _AT,
        "settings": _SETTINGS,
        "stale": None,
    },
    "group": {
        "id": 7,
        "name": "Lisbon",
        "parent": None,
        "parts": [],
        "size": 45,
        "tightness": 0.71,
        "medoid": _SEA,
        "cover": _SEA,
        "exemplars": [_SEA, _ISLAND],
        "duplicates": [],
        "members": [
            {
                "id": _SEA,
                "paths": ["/photos/2025/sea.jpg"],
                "strength": 0.94,
                "outlier": 0.02,
                "exemplar": True,
                "joined": False,
                "near": [[7, 0.93], [3, 0.07]],
            }
        ],
    },
    "decision": _DECISION,
    "named": {"number": 4, "kind": "name", "group": 7, "name": "Lisbon", "pictures": []},
    "decisions": [_DECISION],
    "history": [
        {
            "created": _AT,
            "kind": "split",
            "before": [{"id": 3, "size": 90}],
            "after": [{"id": 3, "size": 48}, {"id": 7, "size": 42}],
        }
    ],
    "duplicates": {
        "total": 1,
        "examined": True,
        "sets": [
            {
                "best": "/photos/2025/sea.jpg",
                "why": "most pixels",
                "files": [
                    {"path": "/photos/2025/sea.jpg", "id": _SEA, "kind": "exact", "score": 1.0},
                    {"path": "/photos/small.jpg", "id": _ISLAND, "kind": "near", "score": 0.97},
                ],
                "stays": [],
            }
        ],
        "skipped": [],
    },
    "aside": {
        "moves": [
            {
                "path": "/photos/small.jpg",
                "target": "/copies/small.jpg",
                "best": "/photos/2025/sea.jpg",
                "kind": "near",
                "bytes": 48213,
                "left": [],
            }
        ],
        "done": True,
        "skipped": [],
    },
    "job": _JOB,
    "jobs": [_JOB],
    "map": {
        "change": "12-7",
        "count": 1035,
        "width": 1.0,
        "height": 0.72,
        "groups": [
            {
                "id": 7,
                "name": "Lisbon",
                "size": 45,
                "cover": _SEA,
                "x": 0.31,
                "y": 0.4,
                "light": "#2f6f9f",
                "dark": "#7fb8e6",
            }
        ],
        "grouped": True,
        "points": "/v1/map/points?change=12-7",
    },
    "layers": {
        "model": "vgg16-pool5-gem",
        "layers": [
            {
                "name": "block3_conv2",
                "convolution": 6,
                "channels": 256,
                "height": 56,
                "width": 56,
            }
        ],
        "blocks": ["block3_conv3"],
        "last": "block5_pool",
    },
    "features": {
        "picture": "/photos/2025/sea.jpg",
        "model": "vgg16-pool5-gem",
        "layer": "block3_conv2",
        "channels": [{"channel": 17, "mean": 3.2, "max": 41.5}],
        "frame": _FRAME,
    },
    "explain": {
        "a": "/photos/2025/sea.jpg",
        "b": "/photos/2025/island.jpg",
        "score": 0.83,
        "model": "vgg16-pool5-avg",
        "layer": "block5_pool",
        "exact": True,
        "map_a": [[0.01, 0.02]],
        "map_b": [[0.02, 0.01]],
        "frame_a": _FRAME,
        "frame_b": _FRAME,
        "places": [_PLACE],
    },
}


def example(name: str, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """Where a route's description has the example of an answer: the name of one of `EXAMPLES`.

    The examples themselves are put in at last, as FastAPI would leave out what is null in them.
    """
    return {status: {"content": {"application/json": {"example": name}}}}
