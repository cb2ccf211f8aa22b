"""What docs/12-trainer.md promises of jobs, events and webhooks is what the contract and the messages have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from likeness._training_convert import event_from_message
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from likeness.training import TrainingEventType, document
from services.trainer.webhook_message import webhook_body

PAGE = (Path(__file__).parents[3] / "docs" / "12-trainer.md").read_text(encoding="utf-8")


def first_column(head: str) -> set[str]:
    """Return the names in the first column of the table whose head begins with ``head``."""
    found = re.search(rf"^\| {re.escape(head)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert found, f"no table begins with {head!r}"
    return {name for line in found[1].splitlines() for name in re.findall(r"`([^`]+)`", line.split("|")[1])}


def shape(value: Any) -> Any:
    """Return the keys of a document, whatever its values."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else None


def test_every_field_of_a_job_is_a_row_and_no_other() -> None:
    settings = {f"settings.{name}" for name in pb2.TrainingSettings.DESCRIPTOR.fields_by_name}
    fields = set(pb2.CreateTrainingJobRequest.DESCRIPTOR.fields_by_name) - {"settings"}
    assert first_column("field of `CreateTrainingJob`") == fields | settings


def test_every_kind_of_event_is_a_row_and_no_other() -> None:
    assert first_column("event") == {kind.value for kind in TrainingEventType}


def test_the_webhook_of_the_page_has_the_fields_of_those_that_are_sent() -> None:
    event = pb2.TrainingEvent(
        type=pb2.TrainingEvent.TYPE_SCORED, state=pb2.TrainingJob.STATE_EVALUATING, loss=0.4, seconds_per_step=1.0,
        samples=[pb2.TrainingSample(step=1, artifact_uri=f"artifact://a/{'0' * 64}.jpg")],
        checkpoint=pb2.RankedCheckpoint(step=1),
    )  # fmt: skip
    event.remaining.FromSeconds(3)
    sent = json.loads(webhook_body("anna-1", "anna", document(event_from_message(event, "anna-1"))))
    found = re.search(r'```json\n(\{"type": "training_job\.scored".*?)\n```', PAGE, re.DOTALL)
    assert found
    assert shape(json.loads(found[1])) == shape(sent)
