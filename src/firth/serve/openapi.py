"""/openapi.json: every route with its body, written from the same table that answers."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from firth.serve import native
from firth.serve.wire import Call, Endpoint, Reply, reply

_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")


async def openapi(call: Call) -> Reply:
    """OpenAPI 3.1 of this server."""
    return reply(described(call.server.endpoints))


def described(endpoints: list[Endpoint]) -> dict[str, Any]:
    """The document for these routes."""
    from firth import __version__

    bodies = [endpoint.body for endpoint in endpoints if endpoint.body is not None]
    schemas, components = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    of_body = dict(zip(map(id, bodies), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = _PARAMETER.sub(r"{\1}", endpoint.path)
        operation: dict[str, Any] = {
            "summary": endpoint.summary,
            "description": f"Needs scope {endpoint.scope}." if endpoint.scope != "open" else "Needs no key.",
            "operationId": re.sub(r"\W+", "_", f"{endpoint.method.lower()}{endpoint.path}").strip("_"),
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
                for name in _PARAMETER.findall(endpoint.path)
            ],
            "responses": {
                "200": {"description": "done"},
                "202": {"description": "begun"},
                "4XX": {"description": "refused; the body says why"},
            },
            "security": [] if endpoint.scope == "open" else [{"bearer": []}, {"apikey": []}],
        }
        if endpoint.body is not None:
            content = {"application/json": {"schema": of_body[id(endpoint.body)]}}
            operation["requestBody"] = {"required": True, "content": content}
        paths.setdefault(path, {})[endpoint.method.lower()] = operation
    schemes = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "apikey": {"type": "apiKey", "in": "header", "name": "api-key"},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "firth", "version": __version__},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": schemes},
    }


ENDPOINTS = [Endpoint("GET", "/openapi.json", "read", openapi, native.failure, None, "This document")]
