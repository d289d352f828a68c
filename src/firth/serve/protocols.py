"""Every route of every protocol, in one table."""

from __future__ import annotations

from firth.serve import cohere, native, openai, openapi, operations, page, qdrant, tei
from firth.serve.wire import Endpoint


def endpoints() -> list[Endpoint]:
    """All of them; where two could answer, the earlier does."""
    return [
        *page.ENDPOINTS,
        *operations.ENDPOINTS,
        *native.ENDPOINTS,
        *openapi.ENDPOINTS,
        *openai.ENDPOINTS,
        *cohere.ENDPOINTS,
        *tei.ENDPOINTS,
        *qdrant.ENDPOINTS,
    ]
