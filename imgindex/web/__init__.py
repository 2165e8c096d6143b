"""Search and grouping over HTTP, and the page that shows them in a browser.

    a request ──▶ guard ──▶ routes ──▶ service ──▶ Library
                  who may   what was   batches,
                  ask       asked      threads, jobs

FastAPI and uvicorn are loaded with this package: import it only to serve.
"""

from .app import application
from .running import serve
from .settings import ServiceSettings

__all__ = ["ServiceSettings", "application", "serve"]
