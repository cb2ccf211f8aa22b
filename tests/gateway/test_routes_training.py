"""Training over REST: a real gateway over a real trainer, whose runs have no model."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from gateway.training import CharacterDeletionDocument, TrainingJobListDocument
from likeness.training import PublishedLora, TrainingForecast, TrainingJob
from tests.gateway.conftest import serving_gateway
from tests.services.trainer.conftest import PHOTOS, RunningTrainer, photo, serving_trainer
from tests.support.training_run import report_of

IMAGES = ["data:image/png;base64," + base64.b64encode(data).decode() for data in PHOTOS]
BODY: dict[str, Any] = {"character_id": "anna", "trigger_word": "ohwx", "images": IMAGES, "steps": 12}


@dataclass
class TrainingHouse:
    """A gateway and the trainer behind it."""

    http: httpx.AsyncClient
    trainer: RunningTrainer


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TrainingHouse]:
    """A gateway with a trainer, which checks no photos."""

    def inspect(pictures: Any, spec: Any) -> Any:
        return report_of([picture.name for picture in pictures])

    async with (
        serving_trainer(tmp_path, monkeypatch, inspect=inspect, hourly_price=3.0, currency="EUR") as trainer,
        serving_gateway(trainer_address=trainer.address) as (http, _),
    ):
        yield TrainingHouse(http, trainer)


def events_of(text: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return id, name and document of each event of a stream."""
    events = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        events.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
    return events


async def test_a_job_is_created_told_and_removed(house: TrainingHouse) -> None:
    made = await house.http.post("/lora-training", json={**BODY, "job_id": "first", "class_word": "woman"})
    assert made.status_code == 202, made.text
    assert made.headers["location"] == "/lora-training/first"
    job = TypeAdapter(TrainingJob).validate_python(made.json())
    assert (job.state, job.image_count, job.class_word) == ("queued", 5, "woman")
    await house.trainer.ended("first")
    told = (await house.http.get("/lora-training/first")).json()
    assert (told["state"], told["lora"]["lora_id"], told["step"]) == ("succeeded", "anna", 12)
    assert base64.b64decode(told["dataset"][0]["thumbnail"]).startswith(b"\xff\xd8")
    assert told["create_time"].endswith("Z")
    listed = (await house.http.get("/lora-training", params={"character_id": "anna"})).json()
    TrainingJobListDocument.model_validate(listed)
    assert [item["job_id"] for item in listed["jobs"]] == ["first"]
    removed = await house.http.delete("/lora-training/first", params={"delete_lora": "true"})
    assert (removed.status_code, removed.content) == (204, b"")
    missing = await house.http.get("/lora-training/first")
    assert (missing.status_code, missing.json()["reason"]) == (404, "TRAINING_JOB_NOT_FOUND")
    assert not house.trainer.generator.loras.loras


async def test_a_further_checkpoint_is_published(house: TrainingHouse) -> None:
    (house.trainer.runs.path / "score_all").touch()
    await house.http.post("/lora-training", json={**BODY, "job_id": "first"})
    await house.trainer.ended("first")
    made = await house.http.post("/lora-training/first/publish", json={"step": 5})
    assert made.status_code == 200, made.text
    lora = TypeAdapter(PublishedLora).validate_python(made.json())
    assert (lora.lora_id, lora.version, lora.step) == ("anna", 2, 5)
    assert (await house.http.get("/lora-training/first")).json()["further_loras"] == [made.json()]
    for route, body, status, field in (
        ("first", {"step": 7}, 400, "step"),
        ("first", {"step": 0}, 400, "step"),
        ("first", {}, 400, "step"),
        ("other", {"step": 5}, 404, "job_id"),
    ):
        refused = await house.http.post(f"/lora-training/{route}/publish", json=body)
        assert (refused.status_code, refused.json()["field"]) == (status, field), refused.text


async def test_events_are_streamed_to_the_end_and_taken_up_again(house: TrainingHouse) -> None:
    await house.http.post("/lora-training", json={**BODY, "job_id": "first"})
    headers = {"Accept": "text/event-stream"}
    answer = await house.http.get("/lora-training/first", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    numbers = [number for number, name, _ in events if name != "ended"]
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    assert events[-1][1] == "ended"
    assert events[-1][2]["state"] == "succeeded"
    assert {"state_changed", "progress", "checkpoint", "scored"} <= {name for _, name, _ in events}
    later = await house.http.get("/lora-training/first", headers={**headers, "Last-Event-ID": numbers[-2]})
    assert [name for _, name, _ in events_of(later.text)] == ["state_changed", "ended"]
    bad = await house.http.get("/lora-training/first", headers={**headers, "Last-Event-ID": "x"})
    assert (bad.status_code, bad.json()["field"]) == (400, "last-event-id")


async def test_a_form_takes_files_and_an_archive_with_captions(house: TrainingHouse) -> None:
    house.trainer.runs.allow(0)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", photo(7))
        archive.writestr("a.txt", "in a café")
    fields = {
        "character_id": "anna",
        "trigger_word": "ohwx",
        "rank": "8",
        "overrides": '{"caption_template": "{subject}"}',
    }
    files = [("images", (f"{number}.png", data)) for number, data in enumerate(PHOTOS)]
    answer = await house.http.post(
        "/lora-training", data=fields, files=[*files, ("archive", ("photos.zip", buffer.getvalue()))]
    )
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert (job["image_count"], job["settings"]["rank"]) == (6, 8)
    assert job["settings"]["overrides"] == {"caption_template": "{subject}"}


async def test_photos_are_uploaded_one_by_one(house: TrainingHouse) -> None:
    house.trainer.runs.allow(0)
    uris = []
    for data in PHOTOS:
        answer = await house.http.post("/lora-training/images", files={"image": ("a.png", data)})
        assert answer.status_code == 201, answer.text
        uris.append(answer.json()["artifact_uri"])
    made = await house.http.post("/lora-training", json={**BODY, "images": uris})
    assert made.status_code == 202, made.text


async def test_a_dry_run_trains_nothing(house: TrainingHouse) -> None:
    answer = await house.http.post("/lora-training/dry-run", json=BODY)
    assert answer.status_code == 200, answer.text
    told = TypeAdapter(TrainingForecast).validate_python(answer.json())
    assert (told.trainable, told.total_steps, len(told.dataset), told.cost) == (True, 12, 5, None)
    assert (await house.http.get("/lora-training")).json()["jobs"] == []
    await house.http.post("/lora-training", json={**BODY, "job_id": "first"})
    await house.trainer.ended("first")
    second = (await house.http.post("/lora-training/dry-run", json=BODY)).json()
    assert second["duration_seconds"] > 0
    assert (second["cost"] > 0, second["currency"]) == (True, "EUR")


async def test_a_running_job_is_cancelled_and_not_removed_before(house: TrainingHouse) -> None:
    house.trainer.runs.allow(0)
    await house.http.post("/lora-training", json={**BODY, "job_id": "first"})
    refused = await house.http.delete("/lora-training/first")
    assert (refused.status_code, refused.json()["reason"]) == (409, "CONFLICT")
    assert (await house.http.post("/lora-training/first/cancel")).status_code == 200
    job = await house.trainer.ended("first")
    assert job.state == "cancelled"


async def test_a_character_is_forgotten_while_it_is_trained_and_again(house: TrainingHouse) -> None:
    house.trainer.runs.allow(0)
    await house.http.post("/lora-training", json={**BODY, "job_id": "first"})
    theirs = {"X-Tenant-Id": "other"}
    await house.http.post("/lora-training", json={**BODY, "job_id": "theirs"}, headers=theirs)
    gone = await house.http.delete("/lora-training/characters/anna")
    assert (gone.status_code, gone.json()) == (200, {"job_ids": ["first"], "lora_versions": []})
    CharacterDeletionDocument.model_validate(gone.json())
    assert (await house.http.get("/lora-training/first")).status_code == 404
    assert (await house.http.get("/lora-training/theirs", headers=theirs)).status_code == 200
    again = await house.http.delete("/lora-training/characters/anna")
    assert (again.status_code, again.json()) == (200, {"job_ids": [], "lora_versions": []})
    bad = await house.http.delete("/lora-training/characters/A%20b")
    assert (bad.status_code, bad.json()["field"]) == (400, "character_id")


async def test_a_key_that_was_used_for_another_body_is_a_conflict(house: TrainingHouse) -> None:
    house.trainer.runs.allow(0)
    headers = {"Idempotency-Key": "once"}
    first = await house.http.post("/lora-training", json=BODY, headers=headers)
    again = await house.http.post("/lora-training", json=BODY, headers=headers)
    assert first.json()["job_id"] == again.json()["job_id"]
    other = await house.http.post("/lora-training", json={**BODY, "trigger_word": "other"}, headers=headers)
    assert (other.status_code, other.json()["reason"]) == (409, "CONFLICT")


BAD_BODIES: list[tuple[dict[str, Any], int, str]] = [
    ({"images": IMAGES[:1]}, 400, "images"),
    ({"images": ["https://example.com/a.jpg"] * 4}, 400, "images[0]"),
    ({"images": [*IMAGES[:3], "no picture"]}, 400, "images[3]"),
    ({"images": [], "image_urls": ["http://127.0.0.1/a.png"] * 4}, 400, "image_urls[0]"),
    ({"archive": "AAAA"}, 400, "archive"),
    ({"archive": "!"}, 400, "archive"),
    ({"trigger_word": ""}, 400, "trigger_word"),
    ({"character_id": "../x"}, 400, "character_id"),
    ({"rank": 0}, 400, "rank"),
    ({"rank": 1000}, 400, "rank"),
    ({"steps": -1}, 400, "steps"),
    ({"steps": 2**40}, 400, "steps"),
    ({"resolution": 500}, 400, "resolution"),
    ({"overrides": {"nonsense": 1}}, 400, "overrides.nonsense"),
    ({"webhook_url": "https://10.0.0.1/", "webhook_secret": "whsec_" + "A" * 32}, 400, "webhook_url"),
    ({"webhook_url": "https://example.com/"}, 400, "webhook_secret"),
    ({"colour": "red"}, 400, "colour"),
]


async def test_a_bad_body_names_its_own_field(house: TrainingHouse) -> None:
    for fields, status, field in BAD_BODIES:
        answer = await house.http.post("/lora-training", json={**BODY, **fields})
        assert (answer.status_code, answer.json().get("field")) == (status, field), (fields, answer.text)
    for route in ("/lora-training?page_size=-1", "/lora-training?page_token=nonsense", "/lora-training/A%20b"):
        assert (await house.http.get(route)).status_code == 400, route
    assert (await house.http.get("/lora-training")).json()["jobs"] == []


async def test_without_a_trainer_the_service_is_unavailable() -> None:
    async with serving_gateway(trainer_address="127.0.0.1:1") as (http, _):
        answer = await http.get("/lora-training")
        assert (answer.status_code, answer.json()["reason"]) == (503, "SERVICE_UNAVAILABLE")


async def test_the_page_tells_the_routes_and_their_limits(house: TrainingHouse) -> None:
    document = (await house.http.get("/openapi.json")).json()
    assert {"/lora-training", "/lora-training/dry-run", "/lora-training/{job_id}"} <= document["paths"].keys()
    schema = document["components"]["schemas"]["TrainingBody"]
    assert schema["required"] == ["character_id", "trigger_word"]
    assert schema["properties"]["rank"]["maximum"] == 256
    form = document["components"]["schemas"]["TrainingBodyForm"]["properties"]
    assert (form["archive"]["format"], form["images"]["items"]["format"]) == ("binary", "binary")
