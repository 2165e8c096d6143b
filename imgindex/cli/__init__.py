"""The command line: arguments in, text or JSON out.

Standard output carries the result, standard error everything else; progress shows on a terminal
only. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done with skipped files, 130 interrupted.
"""

from .app import main

__all__ = ["main"]
