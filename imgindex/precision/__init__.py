"""The same network in fewer bits, and which of its embeddings may lie in one library.

Eight bits are a model of their own: other weights, another fingerprint, so that a library built
with it refuses the float one and the other way round. How it is computed does not matter: in whole
numbers where the processor adds them without overflow, in float elsewhere, which differs by no more
than eight bits do from float (README has the figures). Nor does it for a float model, which
graphics cards compute in sixteen bits.
"""

from .eight_bits import EIGHT, Look, eight_bits, signed
from .halves import in_halves
from .tiles import for_tiles, overflow_probe

__all__ = ["EIGHT", "Look", "eight_bits", "for_tiles", "in_halves", "overflow_probe", "signed"]
