"""Work on many machines: the door to Ray.

    session    a connection to a cluster; its errors become ours
    embedding  pictures to vectors, into a library that is shared
    forests    neighbours and spanning forests, for grouping

Nothing of Ray is loaded before a session begins.
"""

from .embedding import Batch, embed_all, require, shareable
from .forests import Machines
from .session import session, translated

__all__ = ["Batch", "Machines", "embed_all", "require", "session", "shareable", "translated"]
