"""The addresses of the service, a module for each thing that there is."""

from . import duplicates, groups, jobs, layers, map, meta, pictures, search  # noqa: A004 - a room

ROUTERS = (
    meta.bare,
    meta.router,
    search.router,
    pictures.router,
    groups.router,
    duplicates.router,
    map.router,
    layers.router,
    jobs.router,
)

__all__ = ["ROUTERS"]
