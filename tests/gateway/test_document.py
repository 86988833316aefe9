"""What the gateway says of itself in OpenAPI is true: schemathesis asks everything that the document allows, and more."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentserve.gateway.passthrough import PASSED
from agentserve.gateway.protocols import PROTOCOLS
from tests.gateway.served import schemathesis, served
from tests.gateway.world import CHAT, world


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("document")


def test_every_answer_is_one_that_the_document_promises(folder: Path) -> None:
    with served(folder) as gateway:
        found = schemathesis(
            gateway, folder, "--max-examples", "2", "--seed", "1", "--phases", "coverage,fuzzing,stateful"
        )
        assert found.code == 0, found.said
        assert found.cases > 500, found.said
        assert gateway.process.poll() is None
        assert not gateway.tracebacks, gateway.log.read_text()


async def test_the_document_has_every_route_and_no_error_that_is_not_answered() -> None:
    async with world() as w:
        document = (await w.client.get("/openapi.json")).json()
        assert {*PROTOCOLS, *PASSED} <= set(document["paths"])
        statuses = {
            status
            for path in document["paths"].values()
            for operation in path.values()
            for status in operation["responses"]
        }
        assert "422" not in statuses
        assert "security" not in document


async def test_a_route_of_inference_says_that_it_takes_posts_only() -> None:
    async with world() as w:
        answer = await w.client.get(CHAT)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_a_path_with_several_methods_allows_all_of_them() -> None:
    async with world() as w:
        answer = await w.client.put("/agentserve/v1/programs/run")
        assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET")
