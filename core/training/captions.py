"""Captions: the client's, with the trigger word in them, or the template's."""

from __future__ import annotations

import re

from core.training.settings import Framing
from core.training.spec import TrainingSpec

_FRAMING_WORDS = {
    Framing.HEAD: "close-up portrait",
    Framing.HALF_BODY: "half body photo",
    Framing.WHOLE: "photo",
}


def caption_of(spec: TrainingSpec, caption: str, framing: Framing) -> str:
    """Return what a crop is trained with.

    The trigger word is in it before it is encoded: embeddings are cached, so nothing can be put in later. The class
    word beside it says what kind of thing the unknown word is.
    """
    own = caption.strip()
    if not own:
        return spec.settings.caption_template.format(subject=spec.subject, framing=_FRAMING_WORDS[framing])
    named = re.search(f"(?<!\\w){re.escape(spec.trigger_word.casefold())}(?!\\w)", own.casefold())
    return own if named else f"{spec.subject}, {own}"
