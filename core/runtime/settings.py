"""The settings of a process: one frozen object, from the environment and one TOML file."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from core.runtime.threads import cpu_count

CONFIG_VARIABLE = "LIKENESS_CONFIG"
"""Environment variable that names the TOML file."""
SERVICES = ("generator", "faceswap", "editor", "trainer", "gateway")
"""The processes that may have a table in the TOML file."""
COMMON_TABLE = "common"
"""The table whose values hold for every process that does not set its own."""

_PREFIX = "LIKENESS_"
_ROOT = Path(__file__).resolve().parents[2]
# LIKENESS_GENERATOR_ADDRESS is where clients look for the generator; the others are what Kubernetes sets for a Service
# of the same name.
_ELSEWHERE = re.compile(r"ADDRESS|SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?")


class SettingsError(ValueError):
    """The settings cannot be used; the message names the setting and where it comes from."""


class ProcessSettings(BaseSettings):
    """What every process can be told. A process subclasses it, names itself and adds its own fields.

    A value is taken from the first that has it: constructor, ``LIKENESS_<SERVICE>_<FIELD>``, ``LIKENESS_<FIELD>``,
    the service's table in the TOML file named by ``LIKENESS_CONFIG``, that file's ``[common]``, the default.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=True)

    service: ClassVar[str] = ""
    """Name of the process; one of `SERVICES`."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=0, ge=0, le=65535)
    """Port to listen on; 0 picks a free one and prints it."""
    max_message_bytes: int = Field(default=64 * 2**20, ge=2**20, le=2**31 - 1)
    """Largest message in either direction, in bytes."""
    drain_seconds: float = Field(default=30.0, ge=0, le=86_400)
    """How long admitted work may take to end after SIGTERM."""
    artifacts_url: str = "./var/artifacts"
    """Where artifacts are kept: a folder, or a URL (s3://, gs://, az://)."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lowest level that is logged."""
    log_format: Literal["json", "text"] = "json"
    """``json`` for machines, ``text`` for a terminal."""

    @classmethod
    def load(cls, **values: Any) -> Self:
        """Read the settings; `values` come before all other sources.

        Raises:
            SettingsError: A value is wrong, a key of the file is unknown, or the file cannot be read.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            lines = [_said(error, cls.model_fields) for error in error.errors()]
        # Not from the error: its own words show what was given, secrets too.
        raise SettingsError(f"{cls.service or cls.__name__} settings: " + "; ".join(lines))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Say where values come from, the strongest first."""
        sources: list[PydanticBaseSettingsSource] = [init_settings]
        if cls.service:
            _refuse_unknown_variables(cls)
            sources.append(_Environment(settings_cls, env_prefix=f"{_PREFIX}{cls.service.upper()}_"))
        sources.append(_Environment(settings_cls, env_prefix=_PREFIX))
        if path := os.environ.get(CONFIG_VARIABLE):
            sources.append(_File(settings_cls, _file_values(cls, Path(path))))
        return tuple(sources)


class ServiceSettings(ProcessSettings):
    """What every gRPC service can be told."""

    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Port of the Prometheus endpoint; 0 turns it off."""
    profile: str = Field(default="miniature", pattern=r"^[a-z0-9_-]{1,32}$")
    """Which weights are used: see the design's profiles."""
    device: str = "cpu"
    """Device of the work, for example ``cpu`` or ``cuda:0``."""
    threads: int = Field(default_factory=cpu_count, ge=1, le=1024)
    """Threads of one computation on the CPU; the cores that the process may use when left out."""
    queue_capacity: int = Field(default=16, ge=1, le=10_000)
    """Pieces of work that may wait before new ones are refused."""
    max_connection_age_seconds: float = Field(default=300.0, ge=1, le=86_400)
    """Age at which a client is asked to connect anew, so that new pods get traffic; gRPC spreads it by 10 %."""
    max_connection_age_grace_seconds: float = Field(default=900.0, ge=1, le=86_400)
    """How long the calls of such a connection may go on: longer than the longest call."""
    weights_dir: Path = _ROOT / "weights"
    """Folder of the weights."""


class _Environment(EnvSettingsSource):
    """Environment variables under a prefix."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        value, key, is_complex = super().get_field_value(field, field_name)
        # For a Service of the same name, Kubernetes sets LIKENESS_GENERATOR_PORT to "tcp://10.0.0.1:50051".
        if field_name == "port" and isinstance(value, str) and value.startswith("tcp://"):
            value = None
        return value, key, is_complex


class _File(PydanticBaseSettingsSource):
    """Values that were read from the TOML file."""

    def __init__(self, settings_cls: type[BaseSettings], values: dict[str, Any]) -> None:
        super().__init__(settings_cls)
        self._values = values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self._values


def _file_values(cls: type[ProcessSettings], path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{CONFIG_VARIABLE}={path}: {error}") from error
    _refuse_unknown(document, {COMMON_TABLE, *SERVICES, *([cls.service] if cls.service else [])}, f"{path}")
    for name, table in document.items():
        if not isinstance(table, dict):
            raise SettingsError(f"{path}: {name} must be a table, for example [{name}]")
    common: dict[str, Any] = document.get(COMMON_TABLE, {})
    own: dict[str, Any] = document.get(cls.service, {}) if cls.service else {}
    _refuse_unknown(common, set(ServiceSettings.model_fields), f"{path}: [{COMMON_TABLE}]")
    _refuse_unknown(own, set(cls.model_fields), f"{path}: [{cls.service}]")
    # What only services can be told may stand there too: the gateway shares the file with them.
    return {key: value for key, value in common.items() if key in cls.model_fields} | own


def _refuse_unknown_variables(cls: type[ProcessSettings]) -> None:
    """Raise SettingsError for a variable of this process alone that names no setting."""
    prefix = f"{_PREFIX}{cls.service.upper()}_"
    for variable in sorted(map(str.upper, os.environ)):
        name = variable.removeprefix(prefix)
        if name == variable or _ELSEWHERE.fullmatch(name):
            continue
        _refuse_unknown({name.lower(): None}, set(cls.model_fields), variable)


def _refuse_unknown(table: dict[str, Any], known: set[str], where: str) -> None:
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(sorted(known))}"
            raise SettingsError(f"{where}: unknown key {key!r}{hint}")


def _said(error: ErrorDetails, known: Mapping[str, FieldInfo]) -> str:
    """Return what is wrong and what was given, unless that is a secret or, of a rule over all settings, all of them."""
    text = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return text
    field = known.get(str(error["loc"][0]))
    secret = field is not None and (not field.repr or field.annotation is SecretStr)
    return f"{'.'.join(map(str, error['loc']))}: {text}" + ("" if secret else f" (got {error['input']!r})")
