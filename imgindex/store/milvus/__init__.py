"""A library on a Milvus server: pictures and files are entities, everything else is notes.

    place     what ``milvus://host:port/NAME`` says
    server    the one place that speaks to pymilvus; its errors become ours
    notes     small things by key, and who may write
    entities  pictures and files as the server keeps them, and conditions on them
    reading   what is asked of pictures
    groupings groupings, history, decisions
    store     the Protocol of ``imgindex.store`` over all of these

Milvus has no transactions. Whatever takes several requests is announced in a note before, which is
dropped behind it; the next writer sets right what one that died left half done.
"""

from .place import Place
from .store import MilvusStore

__all__ = ["MilvusStore", "Place"]
