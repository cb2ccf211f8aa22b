from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from likeness.client import EDITOR_HEALTH, AsyncClient
from likeness.errors import InvalidRequest, ServiceUnavailable
from likeness.results import Step
from tests.support.fake_editor import FakeEditor, running_editor
from tests.support.services import picture, unused_address


@pytest.fixture
def editor() -> FakeEditor:
    return FakeEditor()


@pytest.fixture
async def client(editor: FakeEditor) -> AsyncIterator[AsyncClient]:
    async with running_editor(editor) as address, AsyncClient(editor_address=address) as client:
        yield client


async def test_an_edit_gives_pictures_and_how_they_were_made(client: AsyncClient, editor: FakeEditor) -> None:
    events: list[object] = []
    result = await client.edit(picture(), "make it night", denoise=0.4, count=2, on_progress=events.append)
    assert [item.seed for item in result.pictures] == [42, 43]
    assert (result.finished.denoise, result.finished.instruction) == (0.4, "make it night")
    assert any(isinstance(event, Step) for event in events)
    assert editor.requests[0].denoise == 0.4


async def test_pictures_may_be_paths_bytes_and_artifacts(
    client: AsyncClient, editor: FakeEditor, tmp_path: Path
) -> None:
    file = tmp_path / "me.png"
    file.write_bytes(picture())
    await client.edit([file, picture(), "artifact://images/a.png"], scene="at sea", mask=file)
    request = editor.requests[0]
    assert [image.WhichOneof("source") for image in request.images] == ["data", "data", "artifact_uri"]
    assert (request.scene, request.instruction) == ("at sea", "")
    assert request.mask.data == picture()


async def test_an_error_is_the_servers_own(client: AsyncClient, editor: FakeEditor) -> None:
    editor.error = InvalidRequest("too small", field="images[0]")
    with pytest.raises(InvalidRequest) as caught:
        await client.edit(picture(), "make it night")
    assert caught.value.field == "images[0]"


async def test_a_deployment_without_an_editor_is_unavailable() -> None:
    async with AsyncClient(editor_address=unused_address()) as client:
        with pytest.raises(ServiceUnavailable):
            await client.edit(picture(), "make it night")


async def test_health_and_capabilities_tell_of_an_editor_that_was_named(client: AsyncClient) -> None:
    assert (await client.health())[EDITOR_HEALTH] == "SERVING"
    assert (await client.editor_capabilities()).max_images == 4
    async with AsyncClient() as without:
        assert EDITOR_HEALTH not in await without.health()
