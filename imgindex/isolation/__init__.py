"""Decoding in processes of its own: a picture that crashes its decoder costs that picture alone.

Decoders are large, written in C, and fed by strangers. Here they run in other processes, with
limits on memory and time, which may write no files. What comes back is taken for bytes and checked,
never unpickled. Such a process is no sandbox: a decoder that was taken over may still do what the
user may. It is a fence against files that crash, hang, or take all the memory.
"""

from .isolated import POSSIBLE, SECONDS, Decoding, Isolated

__all__ = ["POSSIBLE", "SECONDS", "Decoding", "Isolated"]
