"""The server against its own description: schemathesis asks every route of /openapi.json for what it should not be.

Keys are held against every route in tests/serve/test_server.py: the check of schemathesis shows a wrong key beside the
right one of another header, and takes the answer for a hole.

FIRTH_EXAMPLES sets how many requests are made in all (about 700 unless told otherwise), FIRTH_SEED which.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from firth.serve import Limits, Server, Settings, started
from firth.serve.batcher import Served
from firth.serve.keys import add_key
from firth.serve.library import Library
from hostile.mutated import Hashed

schemathesis = pytest.importorskip("schemathesis")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")
hypothesis = pytest.importorskip("hypothesis")

EXAMPLES = int(os.environ.get("FIRTH_EXAMPLES", "700"))
SEED = int(os.environ.get("FIRTH_SEED", "0"))


def test_no_route_breaks_its_own_description(tmp_path: Path) -> None:
    modes = [*schemathesis.GenerationMode]
    wanted = [
        schemathesis.checks.not_a_server_error,
        checks.status_code_conformance,
        checks.unsupported_method,
    ]
    headers = {"api-key": add_key(tmp_path / "keys.json", "all", "admin")}
    limits = Limits(body=1 << 20, points=500, batch=100, characters=10_000)
    library = Library(tmp_path / "root", Served(Hashed(), "m"), grows=True)
    server = Server(library, Settings(port=0, keys=tmp_path / "keys.json", limits=limits))
    with started(server) as running:
        schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json", headers=headers)
        operations = [result.ok() for result in schema.get_all_operations()]
        assert len(operations) == len(server.endpoints) - 1  # it leaves the description itself out
        each = max(1, EXAMPLES // len(operations))
        for operation in operations:

            @hypothesis.seed(SEED)
            @hypothesis.settings(
                max_examples=each, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
            )
            @hypothesis.given(
                case=hypothesis.strategies.one_of(*(operation.as_strategy(generation_mode=m) for m in modes))
            )
            def keeps_to_it(case: schemathesis.Case) -> None:
                case.call_and_validate(headers=headers, checks=wanted)

            keeps_to_it()
    assert server.held == server.busy == 0
