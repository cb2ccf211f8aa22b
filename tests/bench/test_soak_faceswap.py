from __future__ import annotations

import random

from bench.soak_faces import BAD, HEADS, REFERENCE, FaceTraffic
from bench.soak_faceswap import parse_options, soak
from bench.soak_outcome import OK


async def test_twenty_random_requests_end_as_they_should() -> None:
    figures = await soak(parse_options(["--requests", "20", "--seed", "3", "--threads", "1"]))
    assert figures["wrong"] == []
    assert figures["warnings_in_log"] == []
    assert figures["swaps"] > 15
    assert {"warm-up", "plain", "probe"} <= set(figures["outcomes"])
    assert figures["outcomes"]["plain"].keys() == {OK}
    assert min(checkpoint["objects"] for checkpoint in figures["checkpoints"]) > 1000


def test_traffic_sends_every_kind_of_request_and_every_kind_of_bad_input() -> None:
    traffic = FaceTraffic(choice=random.Random(1))
    cases = [traffic.draw() for _ in range(1500)]
    kinds = {case.kind for case in cases}
    assert kinds == {"plain", "group", "model", "build", "delete", "detect", "compare", "leaving", "late", "bad"}
    reasons = {reason for case in cases if case.kind == "bad" for reason in case.expected}
    assert reasons == {reason for *_, reason in BAD}
    named = {name for case in cases for name in case.arguments["pictures"]}
    assert {*HEADS, REFERENCE} <= named
    assert named <= set(traffic.pictures)
