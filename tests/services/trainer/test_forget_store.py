"""Deletions that several trainers carry out: each is finished once, and only the one that was meant."""

from __future__ import annotations

import pytest

from services.trainer.database import Database
from services.trainer.forget_store import ForgetStore, Forgetting
from tests.services.trainer.conftest import Clock


@pytest.fixture
def store(database: Database, clock: Clock) -> ForgetStore:
    """No deletion in a database of each kind."""
    return ForgetStore(database, clock=clock)


def found(store: ForgetStore) -> Forgetting:
    """Return the deletion."""
    forgetting = store.get("default", "anna")
    assert forgetting is not None
    return forgetting


def test_a_trainer_that_comes_second_changes_nothing_of_what_the_first_has_told(store: ForgetStore) -> None:
    store.begin("default", "anna")
    (seen,) = store.pending()
    store.finish(seen, (1, 2))
    store.finish(seen, ())
    store.note_error(seen, "the generator is away")
    assert (found(store).lora_versions, found(store).error) == ((1, 2), "")


def test_a_trainer_that_is_late_does_not_finish_a_deletion_that_was_begun_since(
    store: ForgetStore, clock: Clock
) -> None:
    store.begin("default", "anna")
    (seen,) = store.pending()
    store.finish(seen, (1,))
    clock.now += 1
    store.begin("default", "anna")
    store.finish(seen, ())
    assert not found(store).done
    store.finish(found(store), (7,))
    assert (found(store).done, found(store).lora_versions) == (True, (7,))
