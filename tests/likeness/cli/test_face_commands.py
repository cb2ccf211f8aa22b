"""The commands faceswap, faces, identity and face-model."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from likeness.cli import main
from likeness.faceswap.v1 import face_model_service_pb2 as models
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from tests.likeness.conftest import Deployment
from tests.support.services import picture

Capture = pytest.CaptureFixture[str]


async def run(*arguments: str) -> int:
    """Run the command as a terminal would: in a thread without an event loop."""
    return await asyncio.to_thread(main, arguments)


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Three pictures."""
    names = []
    for shade in (1, 2, 3):
        path = tmp_path / f"{shade}.png"
        path.write_bytes(picture((shade, 9, 9)))
        names.append(str(path))
    return names


async def test_faceswap_takes_every_rule(
    deployment: Deployment, tmp_path: Path, photos: list[str], capsys: Capture
) -> None:
    target, first, second = photos
    command = ("faceswap", target, first, second, "--face-model", "anna", "--reference-face", "0,1", "--pairing", "2,0",
               "--target-face", "0,2", "--target-face", "3", "--target-order", "left-to-right", "--target-gender",
               "female", "--reference-gender", "male", "--like", first, "--like-threshold", "0.6", "--weight", "0.5",
               "--reference-order", "best-score", "--restore-visibility", "0.7", "--pixel-boost", "256",
               "-o", str(tmp_path / "out.png"), "--server", deployment.faceswap_address)  # fmt: skip
    assert await run(*command) == 0
    (request,) = deployment.faceswap.swaps
    assert [entry.WhichOneof("source") for entry in request.references] == ["image", "image", "face_model_id"]
    assert [entry.face_index for entry in request.references[:2]] == [0, 1]
    assert (list(request.target_face_indexes), list(request.pairing)) == ([0, 2, 3], [2, 0])
    assert (request.target_gender, request.reference_gender) == (faceswap.GENDER_FEMALE, faceswap.GENDER_MALE)
    assert request.match_image.data == picture((2, 9, 9))
    assert request.swap_weight == pytest.approx(0.5)
    assert request.reference_order == faceswap.FACE_ORDER_BEST_SCORE
    assert "face 1 left as it is: looks male (0.90), not female" in capsys.readouterr().out


async def test_one_picture_or_one_model_is_the_reference(
    deployment: Deployment, tmp_path: Path, photos: list[str]
) -> None:
    end = ("-o", str(tmp_path / "out.png"), "--server", deployment.faceswap_address)
    assert await run("faceswap", photos[0], photos[1], "--reference-face", "1,0", "--all-faces", *end) == 0
    assert await run("faceswap", photos[0], "--face-model", "anna", *end) == 0
    one, model = deployment.faceswap.swaps
    assert one.reference_image.data == picture((2, 9, 9))
    assert (list(one.reference_face_indexes), one.all_target_faces) == ([1, 0], True)
    assert (model.face_model_id, model.HasField("reference_image")) == ("anna", False)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("t.png",), 2, "name a picture with the face to put in, or --face-model"),
        (("t.png", "r.png", "--target-face", "a"), 2, "must be indexes from 0 on"),
        (("t.png", "r.png", "--target-gender", "unknown"), 2, "invalid choice"),
        (("t.png", "r.png", "r.png", "--reference-face", "0"), 3, "give one for each picture"),
        (("t.png", "none.png"), 3, "none.png"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_a_swap_that_makes_no_sense_is_told_before_any_call(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture,
    arguments: tuple[str, ...], status: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name in ("t.png", "r.png"):
        Path(name).write_bytes(picture())
    try:
        found = await run("faceswap", *arguments, "--server", deployment.faceswap_address)
    except SystemExit as ended:
        found = int(ended.code or 0)
    assert found == status
    assert message in capsys.readouterr().err
    assert not deployment.faceswap.swaps


async def test_faces_are_drawn_into_a_file(
    deployment: Deployment, tmp_path: Path, photos: list[str], capsys: Capture
) -> None:
    out = tmp_path / "drawn.jpg"
    command = ("faces", photos[0], "--draw", str(out), "--server", deployment.faceswap_address)
    assert await run(*command) == 0
    assert out.read_bytes().startswith(b"\xff\xd8")
    assert str(out) in capsys.readouterr().out
    assert await run(*command, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["files"] == [str(out)]
    assert "data" not in document["drawing"]
    assert await run("faces", photos[0], "--draw", str(tmp_path / "no" / "a.png")) == 3
    assert len(deployment.faceswap.detections) == 2


async def test_faces_to_compare_are_named_by_index(deployment: Deployment, photos: list[str]) -> None:
    command = ("identity", *photos[:2], "--first-face", "2", "--second-face", "1", "--order", "left-to-right")
    assert await run(*command, "--server", deployment.faceswap_address) == 0
    (request,) = deployment.faceswap.comparisons
    assert (request.first_face_index, request.second_face_index) == (2, 1)
    assert request.order == faceswap.FACE_ORDER_LEFT_TO_RIGHT


async def test_a_face_model_is_built_shown_listed_and_deleted(
    deployment: Deployment, photos: list[str], capsys: Capture
) -> None:
    end = ("--server", deployment.faceswap_address)
    assert await run("face-model", "build", "anna", *photos, "--average", "median", "--replace", *end) == 0
    text = capsys.readouterr().out
    assert text.startswith("anna: mean of 1 photo, agreement 1.00, 1 view, for mesh, built 2026-09-21")
    assert f"{photos[0]}: used" in text
    assert f"{photos[1]}: rejected, outlier: cosine 0.05 to the other photos" in text
    (request,) = deployment.faceswap.models.builds
    assert (len(request.images), request.average, request.replace) == (3, models.FACE_MODEL_AVERAGE_MEDIAN, True)
    assert await run("face-model", "list", "--json", *end) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["face_models"][0]["create_time"] == "2026-09-21T14:13:20+00:00"
    assert await run("face-model", "show", "anna", *end) == 0
    assert "view of photo 0: yaw +4°" in capsys.readouterr().out
    assert await run("face-model", "delete", "anna", "--json", *end) == 0
    assert json.loads(capsys.readouterr().out) == {"deleted": "anna"}
    assert await run("face-model", "list", *end) == 0
    assert capsys.readouterr().out == "no face model\n"
    assert await run("face-model", "show", "anna", *end) == 3
    assert "there is no face model 'anna' [FACE_MODEL_NOT_FOUND]" in capsys.readouterr().err


@pytest.mark.parametrize("command", [("faceswap",), ("faces",), ("identity",), ("face-model", "build")])
async def test_every_command_has_a_help(command: tuple[str, ...], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        await run(*command, "--help")
    assert ended.value.code == 0
    assert "usage: likeness" in capsys.readouterr().out
