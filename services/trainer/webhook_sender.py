"""Sends what the outbox holds: signed, to public addresses alone, again and again with growing pauses."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

from core.runtime.fetch import SafeFetcher
from core.runtime.telemetry import log
from likeness.errors import FetchFailed, FetchRefused
from services.trainer.delivery_store import Delivery, DeliveryStore
from services.trainer.webhook_message import signed_headers

RETRY_SECONDS = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 36_000.0)
"""Pauses after each failed attempt; after the last one the message is given up: 30 hours after the first."""
_JITTER = 0.2
_GONE = 410
_FIELD = "webhook_url"

_logger = logging.getLogger("likeness.trainer")


class WebhookSender:
    """Delivers messages. One or more processes may do so at once."""

    def __init__(
        self,
        store: DeliveryStore,
        fetcher: SafeFetcher,
        *,
        secret: str,
        timeout_seconds: float = 15.0,
        concurrency: int = 8,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Send from ``store`` by ``fetcher``, signed with ``secret`` where a job has none of its own."""
        self._store = store
        self._fetcher = fetcher
        self._secret = secret
        self._timeout_seconds = timeout_seconds
        self._concurrency = concurrency
        self._clock = clock

    async def send_due(self) -> int:
        """Send the messages whose time has come; return how many were tried."""
        # Longer than an attempt may take: what a dead process held is then sent by another.
        hold = self._timeout_seconds * 2
        due = await asyncio.to_thread(self._store.take_due, self._concurrency, hold)
        await asyncio.gather(*map(self._send, due))
        return len(due)

    async def _send(self, delivery: Delivery) -> None:
        outcome, gone = await self._outcome(delivery)
        if gone:
            await asyncio.to_thread(self._store.disable, delivery, outcome)
        elif not outcome:
            await asyncio.to_thread(self._store.settle, delivery, "delivered", None)
        else:
            retry_at = self._retry_at(delivery.attempt)
            await asyncio.to_thread(self._store.settle, delivery, outcome, retry_at)
        if outcome:
            log(
                _logger, logging.WARNING, "a webhook was not delivered",
                message_id=delivery.message_id, attempt=delivery.attempt, outcome=outcome,
            )  # fmt: skip

    async def _outcome(self, delivery: Delivery) -> tuple[str, bool]:
        """Return what went wrong, empty when nothing did, and whether the server wants no more."""
        body = delivery.body.encode()
        headers = {
            "Content-Type": "application/json",
            **signed_headers(delivery.message_id, body, secret=delivery.secret or self._secret, now=self._clock()),
        }
        try:
            status = await self._fetcher.post(
                delivery.url, body, headers=headers, field=_FIELD, timeout=self._timeout_seconds
            )
        except (FetchRefused, FetchFailed) as error:
            return error.message, False
        return ("", False) if 200 <= status < 300 else (f"status {status}", status == _GONE)

    def _retry_at(self, attempt: int) -> float | None:
        if attempt > len(RETRY_SECONDS):
            return None
        return self._clock() + RETRY_SECONDS[attempt - 1] * random.uniform(1, 1 + _JITTER)
