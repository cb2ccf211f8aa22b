from __future__ import annotations

from bench.identity import standard_references
from tests.support.faces import portrait


def test_the_standard_references_begin_with_the_examples_portrait() -> None:
    name, image = standard_references()[0]
    assert name == "reference"
    assert (image == portrait()).all()
