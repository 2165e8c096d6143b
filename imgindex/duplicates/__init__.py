"""Copies of pictures: candidates from sketches and embeddings, each verified in pixels."""

from .alignment import SIDE as ALIGNED_SIDE
from .alignment import Likeness, likeness
from .candidates import Candidate, between, candidates
from .sets import sets
from .waves import Turn

__all__ = [
    "ALIGNED_SIDE",
    "Candidate",
    "Likeness",
    "Turn",
    "between",
    "candidates",
    "likeness",
    "sets",
]
