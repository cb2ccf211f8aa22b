"""Settings of the trainer's process, and of the runs that it starts."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from core.runtime.fetch import FetchPolicy
from core.runtime.settings import ServiceSettings
from likeness.channel import DEFAULT_GENERATOR_ADDRESS, DEFAULT_TRAINER_ADDRESS
from likeness.errors import InvalidRequest
from services.trainer.attempt_store import LeaseRules
from services.trainer.changes import ChangeRules
from services.trainer.database import Database
from services.trainer.webhook_message import decode_secret

_MIN_PATIENCE_SECONDS = 2.0


class TrainerSettings(ServiceSettings):
    """What the trainer can be told, beside what every service can."""

    service: ClassVar[str] = "trainer"

    port: int = Field(int(DEFAULT_TRAINER_ADDRESS.rpartition(":")[2]), ge=0, le=65535)
    """Port to listen on; 0 picks a free one and prints it."""
    queue_capacity: int = Field(100, ge=1, le=10_000)
    """Jobs that may wait before new ones are refused."""
    profile_file: Path | None = None
    """A generator's profile of one's own; takes the place of ``profile``."""
    offline: bool = False
    """Take weights of the hub from the local cache only."""
    database_url: str = Field("sqlite:///var/trainer/trainer.db", repr=False)
    """Where jobs are kept: ``sqlite:///<path>``, or ``postgresql://…`` when several trainers share them."""
    work_dir: Path = Path("var/trainer/runs")
    """Where runs keep caches and checkpoints; a Kubernetes Job must see the same folder at the same path."""
    generator_address: str = Field(DEFAULT_GENERATOR_ADDRESS, min_length=1)
    """Where the generator is, which checks and keeps the LoRAs that come out."""
    launcher: Literal["process", "kubernetes"] = "process"
    """How runs are started: as child processes, or as Jobs of the cluster."""
    max_running: int = Field(1, ge=1, le=1000)
    """Runs at once: one for each GPU."""
    max_failures: int = Field(3, ge=1, le=100)
    """Lost attempts without a new checkpoint after which a job fails."""
    retry_seconds: float = Field(5.0, ge=0, le=3600)
    """Wait before the attempt after a lost one, times the lost ones."""
    lease_seconds: float = Field(30.0, ge=0.5, le=3600)
    """How long a silent run keeps its job; it renews four times as often."""
    launch_seconds: float = Field(120.0, ge=1, le=86_400)
    """How long a run may take from its launch to its first sign of life."""
    supervision_seconds: float = Field(120.0, ge=1, le=86_400)
    """How long a run goes on when no trainer is there; it then ends, to be taken up from its last checkpoint."""
    cancel_seconds: float = Field(60.0, ge=0, le=3600)
    """How long a run that was told to stop may take before it is killed."""
    poll_seconds: float = Field(0.5, gt=0, le=60)
    """Pause between two looks at jobs, runs and messages."""
    progress_seconds: float = Field(1.0, gt=0, le=3600)
    """Shortest time between two events of progress."""
    publish_seconds: float = Field(600.0, gt=0, le=86_400)
    """How long a run waits for a generator that is away before its LoRA can't be published."""
    retention_days: float = Field(30.0, ge=0, le=36_500)
    """How long after its end a job is kept, with its photos and checkpoints; 0 keeps it until it is deleted."""
    retention_loras: bool = False
    """Whether the LoRA that a job has published goes with it."""
    hourly_price: float | None = Field(None, ge=0)
    """What an hour of training costs, for dry runs."""
    currency: str = Field("", max_length=10)
    """Currency of the price."""
    webhook_secret: str = Field("", repr=False)
    """Key that signs webhooks of jobs that bring none: ``whsec_`` and 24 to 64 bytes in base64."""
    webhook_progress_seconds: float = Field(30.0, ge=0, le=86_400)
    """Shortest time between two messages of progress to a job's webhook."""
    webhook_private_hosts: frozenset[str] = frozenset()
    """Hosts, as ``host:port``, of webhooks that may have private addresses: backends inside the cluster."""
    webhook_http_hosts: frozenset[str] = frozenset()
    """Hosts, as ``host:port``, that webhooks may be sent to without TLS."""
    fetch_timeout_seconds: float = Field(30.0, gt=0, le=3600)
    """How long a photo's URL may take to deliver."""
    fetch_private_hosts: frozenset[str] = frozenset()
    """Hosts, as ``host:port``, of photos that may have private addresses."""
    fetch_http_hosts: frozenset[str] = frozenset()
    """Hosts, as ``host:port``, that photos may be fetched from without TLS."""
    kubernetes_namespace: str = Field("", pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$")
    """Namespace of the Jobs; the pod's own when empty."""
    kubernetes_queue: str = Field("likeness-training", pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    """Kueue's LocalQueue that admits the Jobs."""
    kubernetes_job_template: Path | None = None
    """JSON of a batch/v1 Job with image, volumes and resources; name, queue and command are filled in."""
    kubernetes_api_url: str = ""
    """URL of the API server; the cluster's own when empty."""
    kubernetes_credentials_dir: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    """Folder with the service account's ``token``, ``ca.crt`` and ``namespace``."""
    kubernetes_max_seconds: int = Field(86_400, ge=60, le=2_592_000)
    """Longest time that the cluster lets a Job run."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.webhook_secret:
            try:
                decode_secret(self.webhook_secret)
            except InvalidRequest as error:
                raise ValueError(error.message) from error
        if self.launcher == "kubernetes" and self.kubernetes_job_template is None:
            raise ValueError("launcher kubernetes needs kubernetes_job_template")
        return self

    @property
    def profile_name(self) -> str:
        """The generator's profile, or the path of its file."""
        return str(self.profile_file) if self.profile_file else self.profile

    def change_rules(self) -> ChangeRules:
        """Return how changes of jobs are told."""
        return ChangeRules(self.webhook_progress_seconds)

    def lease_rules(self) -> LeaseRules:
        """Return how long things may be silent."""
        return LeaseRules(self.lease_seconds, self.launch_seconds, self.supervision_seconds)

    def open_database(self) -> Database:
        """Open the database. Raises DatabaseError."""
        # Shorter than a lease: a heartbeat that had to wait may be tried again.
        patience = max(_MIN_PATIENCE_SECONDS, self.lease_seconds / 2)
        return Database(self.database_url, patience_seconds=patience)

    def webhook_policy(self) -> FetchPolicy:
        """Return which webhooks may be called."""
        return FetchPolicy(private_hosts=self.webhook_private_hosts, http_hosts=self.webhook_http_hosts)

    def photo_policy(self) -> FetchPolicy:
        """Return which photos may be fetched."""
        return FetchPolicy(private_hosts=self.fetch_private_hosts, http_hosts=self.fetch_http_hosts)
