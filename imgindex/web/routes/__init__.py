"""The addresses of the service, a module for each thing that there is."""

from . import duplicates, groups, jobs, layers, map, meta, pictures, search  # noqa: A004 - a room

# Looked through in this order: what is asked for most comes first.
ROUTERS = (
    search.router,
    pictures.router,
    meta.bare,
    meta.router,
    groups.router,
    duplicates.router,
    map.router,
    layers.router,
    jobs.router,
)

__all__ = ["ROUTERS"]
