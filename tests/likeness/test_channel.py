from __future__ import annotations

import pytest

from likeness.channel import ChannelOptions, target_of
from likeness.client import AsyncClient
from tests.support.services import FakeGenerator, running_generator


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("127.0.0.1:50051", "dns:///127.0.0.1:50051"),
        ("generator:50051", "dns:///generator:50051"),
        ("dns:///generator:50051", "dns:///generator:50051"),
        ("unix:/run/generator.sock", "unix:/run/generator.sock"),
        ("ipv4:10.0.0.1:50051,10.0.0.2:50051", "ipv4:10.0.0.1:50051,10.0.0.2:50051"),
    ],
)
def test_a_host_and_port_is_resolved_by_dns(address: str, target: str) -> None:
    assert target_of(address) == target


def test_an_empty_address_is_refused() -> None:
    with pytest.raises(ValueError, match="host:port"):
        target_of("")


def test_the_service_config_balances_and_tries_only_unavailable_again() -> None:
    config = ChannelOptions().service_config()
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]
    assert config["methodConfig"][0]["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert "methodConfig" not in ChannelOptions(attempts=1).service_config()


async def test_calls_are_spread_over_all_addresses_that_are_named() -> None:
    first, second = FakeGenerator(), FakeGenerator()
    async with (
        running_generator(first) as one,
        running_generator(second) as two,
        AsyncClient(f"ipv4:{one},{two}", "127.0.0.1:1") as client,
    ):
        # Both are connected once each has answered; until then one may take several calls.
        while not (first.requests and second.requests):
            await client.generate("p", seed=1)
        before = len(first.requests), len(second.requests)
        for _ in range(4):
            await client.generate("p", seed=1)
    assert (len(first.requests) - before[0], len(second.requests) - before[1]) == (2, 2)
