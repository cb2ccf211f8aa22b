from __future__ import annotations

import pytest

from likeness.channel import ChannelOptions, target_of


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("127.0.0.1:50051", "dns:///127.0.0.1:50051"),
        ("generator:50051", "dns:///generator:50051"),
        ("dns:///generator:50051", "dns:///generator:50051"),
        ("unix:/run/generator.sock", "unix:/run/generator.sock"),
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
