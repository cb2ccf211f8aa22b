"""Edits while the object store is away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from likeness.common.v1.image_pb2 import ImageInput, ImageOutput
from likeness.editor.v1.editor_service_pb2 import EditRequest
from likeness.errors import ServiceUnavailable
from services.editor.settings import EditorSettings
from tests.support.editor import RunningEditor, picture
from tests.support.object_store import URL, Bucket, running_bucket


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with running_bucket(monkeypatch) as running:
        yield running


@pytest.fixture
def settings(settings: EditorSettings, bucket: Bucket) -> EditorSettings:
    return settings.model_copy(update={"artifacts_url": URL})


async def test_a_store_that_is_away_is_unavailable_for_pictures_that_come_and_go(
    editor: RunningEditor, bucket: Bucket
) -> None:
    bucket.status = 500
    kept = ImageInput(artifact_uri=f"artifact://images/{'0' * 64}.png")
    for changes in ({"images": [kept]}, {"images": [picture()], "output": ImageOutput(store=True)}):
        request = EditRequest(instruction="make it night", steps=2, true_cfg_scale=1.0, **changes)
        error = await editor.refusal(request)
        assert isinstance(error, ServiceUnavailable)
        assert error.retry_after_seconds
