"""The commands about models: list, info, pull, import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="See, fetch and bring in models.", no_args_is_help=True, rich_markup_mode=None
)
