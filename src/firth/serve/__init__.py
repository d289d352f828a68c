"""serve: a model and collections over HTTP, spoken to by the clients that people already use.

    settings   what one server is allowed        keys       who may do what
    wire       a call, a reply, a refusal        metrics    what /metrics tells
    batcher    many callers, one model           app        routes, limits, logs
    library    the collections of a folder       run        uvicorn, started and stopped

One file a protocol: openai.py (also Voyage, NIM, Jina), cohere.py, tei.py, qdrant/, native.py; page.py with web/.
"""

from firth.serve.app import Server
from firth.serve.run import Running, serve, started
from firth.serve.settings import Limits, Settings

__all__ = ["Limits", "Running", "Server", "Settings", "serve", "started"]
