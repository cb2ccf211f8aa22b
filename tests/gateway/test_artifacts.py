from __future__ import annotations

from pathlib import Path

import pytest

from core.runtime.artifacts import ArtifactStore
from gateway.artifacts import artifact_path, holds
from tests.gateway.conftest import serving_gateway
from tests.gateway.test_bad_input import assert_problem
from tests.support.object_store import URL, running_bucket
from tests.support.services import picture

NAME = "a" * 64


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")])
async def test_a_stored_picture_is_handed_out_with_its_type(tmp_path: Path, kind: str, suffix: str) -> None:
    data = picture(kind=kind)
    path = artifact_path(ArtifactStore(str(tmp_path)).put("images", data, f".{suffix}"))
    assert path is not None
    async with serving_gateway(artifacts_url=str(tmp_path)) as (http, _):
        answer = await http.get(path)
        assert (answer.status_code, answer.content) == (200, data)
        assert answer.headers["content-type"] == f"image/{kind.lower()}"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "immutable" in answer.headers["cache-control"]
        again = await http.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == answer.headers["etag"]


@pytest.mark.parametrize(
    "path",
    [
        f"images/{NAME}.png",  # nothing is stored there
        f"images/{NAME}.gif",
        f"images/{NAME}",
        f"images/{NAME.upper()}.png",
        f"images/{NAME}.png.png",
        f"images/{NAME}.png%0A",
        f"images/{NAME}.png%00",
        f"loras/{NAME}.png",
        f"images%2F..%2Floras/{NAME}.png",
        f"images/..%2F..%2F{NAME}.png",
        "images/..%2Fsecret.png",
        "images/%2Fetc%2Fpasswd",
        f"images/{NAME}.png/more",
    ],
)
async def test_what_is_no_stored_picture_is_not_found(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.png").write_bytes(picture())
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / f"{NAME}.png").write_bytes(picture())
    async with serving_gateway(artifacts_url=str(tmp_path)) as (http, _):
        for headers in ({}, {"If-None-Match": "*"}):
            answer = await http.get(f"/v1/artifacts/{path}", headers=headers)
            assert answer.status_code == 404
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["reason"] in {"ARTIFACT_NOT_FOUND", "NOT_FOUND"}


async def test_a_stored_picture_that_was_changed_is_not_handed_out(tmp_path: Path) -> None:
    uri = ArtifactStore(str(tmp_path)).put("images", picture(), ".png")
    (tmp_path / uri.removeprefix("artifact://")).write_bytes(picture((1, 2, 3)))
    path = artifact_path(uri)
    assert path is not None
    async with serving_gateway(artifacts_url=str(tmp_path)) as (http, _):
        assert_problem(await http.get(path), 500, "ARTIFACT_CORRUPT", None)


def test_only_pictures_have_a_path() -> None:
    assert artifact_path(f"artifact://images/{NAME}.webp") == f"/v1/artifacts/images/{NAME}.webp"
    for uri in (f"artifact://loras/{NAME}.png", f"images/{NAME}.png", f"artifact://images/{NAME}.safetensors"):
        assert artifact_path(uri) is None


@pytest.mark.parametrize(
    ("header", "held"), [(None, False), ('"b"', False), ('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True)]
)
def test_if_none_match_names_what_the_client_has(header: str | None, held: bool) -> None:
    assert holds(header, '"a"') is held


async def test_a_store_that_is_away_is_503_with_a_time_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_bucket(monkeypatch) as bucket:
        path = artifact_path(ArtifactStore(URL).put("images", picture(), ".png"))
        assert path is not None
        async with serving_gateway(artifacts_url=URL) as (http, _):
            assert (await http.get(path)).content == picture()
            bucket.status = 500
            for headers in ({}, {"If-None-Match": "*"}):
                answer = await http.get(path, headers=headers)
                document = assert_problem(answer, 503, "SERVICE_UNAVAILABLE", None)
                assert answer.headers["retry-after"] == str(round(document["retry_after_seconds"]))
                assert bucket.endpoint not in answer.text
            bucket.status = 403
            answer = await http.get(path)
            assert_problem(answer, 500, "INTERNAL", None)
            assert "403" not in answer.text
