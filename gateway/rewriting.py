"""Scenes rewritten by a language model that the operator names: an endpoint of OpenAI's chat completions form."""

from __future__ import annotations

import logging
import re
from urllib.parse import urlsplit

import orjson

from core.runtime.fetch import FetchPolicy, SafeFetcher
from core.runtime.telemetry import log
from gateway.deadline import Deadline
from gateway.settings import GatewaySettings
from likeness.errors import FetchFailed, FetchRefused, ImageTooLarge, InvalidRequest, ServiceUnavailable

FIELD = "rewrite_scene"
MAX_ANSWER_BYTES = 64 * 1024
MAX_SCENE_CHARACTERS = 2000
INSTRUCTIONS = (
    "You write scenes for an image editing model. Rewrite the user's scene in its own language as one or two concrete "
    "sentences: the place, what the person does there, light, time of day, framing. Never describe a face, hair, skin, "
    "age or clothes: they are kept from a photo. Answer with the scene alone."
)
_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)
_logger = logging.getLogger("likeness.gateway")
_DEFAULT_PORTS = {"https": 443, "http": 80}


class SceneRewriter:
    """Asks the endpoint of the settings. It leads nowhere else: a redirect is not followed."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Ask ``settings.rewrite_url``; needs a running event loop."""
        self._settings = settings
        parts = urlsplit(settings.rewrite_url)
        authority = f"{parts.hostname}:{parts.port or _DEFAULT_PORTS.get(parts.scheme, 443)}"
        # A fetcher of its own: that clients may not reach the operator's endpoint by a picture's URL.
        hosts = frozenset({authority})
        plain = hosts if parts.scheme == "http" else frozenset[str]()
        self._fetcher = SafeFetcher(FetchPolicy(private_hosts=hosts, http_hosts=plain))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._fetcher.aclose()

    def check(self) -> None:
        """Return where there is an endpoint. Raises InvalidRequest."""
        if not self._settings.rewrite_url:
            raise InvalidRequest("this deployment rewrites no scenes: leave rewrite_scene out", field=FIELD)

    async def rewrite(self, scene: str, deadline: Deadline) -> str:
        """Return the scene in more words, 1–2,000 characters, without what a model thought before or quotes around it.

        Raises:
            InvalidRequest: this deployment has no such endpoint.
            ServiceUnavailable: it did not answer with a scene.
            DeadlineExceeded: the deadline has passed.
        """
        self.check()
        settings = self._settings
        body = orjson.dumps(
            {
                "model": settings.rewrite_model,
                "messages": [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": scene}],
                "max_tokens": 400,
            }
        )
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        key = settings.rewrite_api_key.get_secret_value()
        if key:
            headers["Authorization"] = f"Bearer {key}"
        timeout = min(settings.rewrite_timeout_seconds, deadline.remaining_seconds())
        try:
            answer = await self._fetcher.exchange(
                settings.rewrite_url,
                body,
                headers=headers,
                field=FIELD,
                max_bytes=MAX_ANSWER_BYTES,
                timeout=timeout,
            )
            text = _plain(orjson.loads(answer)["choices"][0]["message"]["content"])
        except (FetchFailed, FetchRefused, ImageTooLarge) as error:
            deadline.remaining_seconds()
            raise no_scene(error.message) from error
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise no_scene("its answer is not of the chat completions form") from error
        if not 1 <= len(text) <= MAX_SCENE_CHARACTERS:
            raise no_scene(f"it wrote {len(text)} characters")
        return text


def no_scene(why: str) -> ServiceUnavailable:
    """Return the error for an endpoint that gave no scene that can be used; ``why`` goes to the operator's log."""
    log(_logger, logging.WARNING, "no scene from the endpoint that rewrites them", why=why)
    return ServiceUnavailable(
        "the endpoint that rewrites scenes gave none that can be used: leave rewrite_scene out, or try again",
        field=FIELD,
        retry_after_seconds=5.0,
    )


def _plain(text: str) -> str:
    answer = _THOUGHTS.sub("", text).strip()
    return answer[1:-1].strip() if answer[:1] + answer[-1:] in ('""', "“”") else answer
