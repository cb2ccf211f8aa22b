from __future__ import annotations

import base64
import http.client
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scripts import deployment
from scripts.supervisor import ROOT, Supervisor

REFERENCE = ROOT / "examples" / "reference.jpg"


def post(address: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(address, timeout=120)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        document: dict[str, Any] = json.load(answer)
        return answer.status, document
    finally:
        connection.close()


@pytest.mark.skipif(not deployment.has_editor(), reason="needs the editor's trained miniature")
def test_a_deployment_puts_the_person_of_a_photo_into_a_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_ARTIFACTS_URL", str(tmp_path / "artifacts"))
    body = {
        "character_image": base64.b64encode(REFERENCE.read_bytes()).decode("ascii"),
        "scene": "on a beach",
        "mode": "fast",
        "seed": 7,
        "lock_face": True,
    }
    with Supervisor(lambda name, line: None) as supervisor:
        address = deployment.start_all(supervisor, gateway_port=0, generator_port=0, faceswap_port=0, editor_port=0)
        supervisor.wait_ready(address, 300, lambda states: None)
        assert list(supervisor.addresses()) == ["generator", "faceswap", "editor", "gateway"]
        status, document = post(address, "/qwen-character-scene", body)
    assert status == 200, document
    (image,) = document["images"]
    with Image.open(io.BytesIO(base64.b64decode(image["data"]))) as picture:
        assert picture.size == (320, 320), "the photo's shape, within the profile's max_pixels"
    assert document["instruction"].startswith("The person of Picture 1 on a beach")
    assert image["identity"]["after"] > 0.6
