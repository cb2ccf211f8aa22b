"""Settings from constructor, environment and file."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
from pydantic import Field, SecretStr, ValidationError, model_validator

from core.runtime.settings import ProcessSettings, ServiceSettings, SettingsError


class GeneratorSettings(ServiceSettings):
    """A service's own settings."""

    service = "generator"
    port: int = Field(50051, ge=0, le=65535)
    loras: int = 4


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("LIKENESS_")]:
        monkeypatch.delenv(name)


def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = tmp_path / "likeness.toml"
    path.write_text(text)
    monkeypatch.setenv("LIKENESS_CONFIG", str(path))


def test_defaults_bind_to_loopback_and_use_the_miniature() -> None:
    settings = GeneratorSettings.load()
    assert (settings.host, settings.port, settings.profile, settings.device) == ("127.0.0.1", 50051, "miniature", "cpu")
    assert settings.threads >= 1
    assert settings.weights_dir.name == "weights"


def test_the_stronger_source_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, monkeypatch, "[common]\nthreads = 1\nport = 1\n[generator]\nport = 2\n[faceswap]\nport = 9\n")
    assert (GeneratorSettings.load().port, GeneratorSettings.load().threads) == (2, 1)
    monkeypatch.setenv("LIKENESS_PORT", "3")
    assert GeneratorSettings.load().port == 3
    monkeypatch.setenv("LIKENESS_GENERATOR_PORT", "4")
    assert GeneratorSettings.load().port == 4
    assert GeneratorSettings.load(port=5).port == 5


def test_a_setting_of_one_service_does_not_reach_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_FACESWAP_THREADS", "7")
    monkeypatch.setenv("LIKENESS_GENERATOR_THREADS", "3")
    assert GeneratorSettings.load().threads == 3


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        GeneratorSettings.load().port = 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[generator]\nprot = 1", "unknown key 'prot'; did you mean 'port'"),
        ("[genrator]\nport = 1", "unknown key 'genrator'; did you mean 'generator'"),
        ("[common]\nloras = 1", r"\[common\]: unknown key 'loras'"),
        ("port = 1", "unknown key 'port'"),
        ("generator = 1", "generator must be a table"),
        ("[generator", "likeness.toml"),
        ("[generator]\nport = 'x'", "generator settings: port"),
        ("[generator]\nqueue_capacity = 0", "generator settings: queue_capacity"),
    ],
)
def test_a_mistake_in_the_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    write(tmp_path, monkeypatch, text)
    with pytest.raises(SettingsError, match=message):
        GeneratorSettings.load()


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_CONFIG", "/nowhere/likeness.toml")
    with pytest.raises(SettingsError, match=r"/nowhere/likeness\.toml"):
        GeneratorSettings.load()


def test_a_mistake_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_GENERATOR_LOG_LEVEL", "LOUD")
    with pytest.raises(SettingsError, match="log_level"):
        GeneratorSettings.load()


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(SettingsError, match="prot"):
        GeneratorSettings.load(prot=1)


def test_the_port_variable_that_kubernetes_sets_for_a_service_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_GENERATOR_PORT", "tcp://10.0.0.1:50051")
    assert GeneratorSettings.load().port == 50051


def test_a_variable_of_the_process_that_names_no_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_GENERATOR_THREDS", "2")
    with pytest.raises(SettingsError, match="LIKENESS_GENERATOR_THREDS: unknown key 'threds'; did you mean 'threads'"):
        GeneratorSettings.load()


@pytest.mark.parametrize(
    "name", ["ADDRESS", "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_GRPC", "PORT_50051_TCP", "PORT_50051_TCP_ADDR"]
)
def test_variables_that_others_set_under_the_same_prefix_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"LIKENESS_GENERATOR_{name}", "10.0.0.1")
    assert GeneratorSettings.load().port == 50051


def test_a_process_without_a_device_shares_the_file_but_takes_no_setting_of_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class GatewaySettings(ProcessSettings):
        """A process that is no service."""

        service = "gateway"

    write(tmp_path, monkeypatch, "[common]\ndevice = 'cuda'\nlog_level = 'ERROR'\n")
    monkeypatch.setenv("LIKENESS_QUEUE_CAPACITY", "3")
    assert GatewaySettings.load().log_level == "ERROR"
    write(tmp_path, monkeypatch, "[gateway]\ndevice = 'cuda'\n")
    with pytest.raises(SettingsError, match=r"\[gateway\]: unknown key 'device'"):
        GatewaySettings.load()


class WithSecrets(ServiceSettings):
    """Settings of which some must be read by nobody."""

    service: ClassVar[str] = "generator"
    key: str = Field("", repr=False, max_length=4)
    token: SecretStr = Field(SecretStr(""), max_length=4)
    size: int = 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.size > 9:
            raise ValueError("size is too large")
        return self


@pytest.mark.parametrize(
    "values", [{"key": "a secret"}, {"token": "a secret"}, {"key": "asec", "token": "asec", "size": 10}]
)
def test_no_error_shows_a_secret(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as told:
        WithSecrets.load(**values)
    shown = "".join(traceback.format_exception(told.value))
    assert not any(word in shown for word in ("a secret", "asec"))
    assert any(name in str(told.value) for name in values)
