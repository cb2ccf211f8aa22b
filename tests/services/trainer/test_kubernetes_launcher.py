"""Runs as Jobs of a cluster, over the API server's HTTP interface; Kueue's part is the test's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.runtime.artifacts import ArtifactStore
from services.trainer.attempt_store import AttemptStore
from services.trainer.cleanup import JobRemover
from services.trainer.database import Database
from services.trainer.forget_store import ForgetStore
from services.trainer.forgetting import Forgetter
from services.trainer.job_store import JobStore
from services.trainer.kubernetes_api import Credentials, JobsApi, KubernetesError
from services.trainer.kubernetes_launcher import KubernetesLauncher, TemplateError, job_name, read_template
from services.trainer.launcher import LaunchError, Run, RunState
from services.trainer.lora_removal import LoraRemoval
from services.trainer.records import State
from services.trainer.retention import Retention
from services.trainer.settings import TrainerSettings
from services.trainer.supervisor import RunSupervisor
from tests.services.trainer.conftest import RULES, Clock, new_job
from tests.services.trainer.test_job_store import LEASES
from tests.support.kubernetes import FakeCluster, running_cluster

RUN = Run("a" * 32, 2)
TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"team": "faces"}},
    "spec": {
        "suspend": False,
        "template": {
            "spec": {
                "containers": [{"name": "run", "image": "likeness:1", "resources": {"limits": {"nvidia.com/gpu": 1}}}]
            }
        },
    },
}


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    """A cluster without Jobs."""
    with running_cluster() as made:
        yield made


@pytest.fixture
def launcher(cluster: FakeCluster, tmp_path: Path) -> Iterator[KubernetesLauncher]:
    """A launcher with a pod's credentials."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text("secret-token\n")
    (folder / "namespace").write_text("likeness")
    credentials = Credentials(folder)
    api = JobsApi(cluster.url, credentials.namespace(), credentials)
    made = KubernetesLauncher(api, TEMPLATE, queue="gpu-queue", max_seconds=3600)
    yield made
    made.close(1)


def test_an_attempt_is_a_suspended_job_of_kueues_queue(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    launcher.start(RUN)
    job = cluster.jobs[job_name(RUN)]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu-queue"
    assert job["metadata"]["labels"]["team"] == "faces"
    assert len(job["metadata"]["name"]) <= 63
    spec = job["spec"]
    assert (spec["suspend"], spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (True, 0, 3600)
    assert spec["ttlSecondsAfterFinished"] > 0
    rule = spec["podFailurePolicy"]["rules"][0]
    assert (rule["action"], rule["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    container = pod["containers"][0]
    assert container["command"] == ["python", "-m", "services.trainer.run"]
    assert container["args"] == [RUN.uid, "2"]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 1}}
    assert cluster.calls[0] == ("POST", "/apis/batch/v1/namespaces/likeness/jobs", "Bearer secret-token")
    assert TEMPLATE["spec"]["suspend"] is False


def test_an_attempt_that_is_started_twice_is_one_job(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    launcher.start(RUN)
    launcher.start(RUN)
    assert list(cluster.jobs) == [job_name(RUN)]


def test_what_the_cluster_says_of_a_job_is_its_state(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    assert launcher.state(RUN) is RunState.ENDED
    launcher.start(RUN)
    assert launcher.state(RUN) is RunState.PENDING
    cluster.admit(job_name(RUN))
    assert launcher.state(RUN) is RunState.RUNNING
    cluster.end(job_name(RUN), "Failed", "Container run for pod x failed with exit code 75 matching no rule")
    assert launcher.state(RUN) is RunState.STOPPED
    cluster.end(job_name(RUN), "Failed", "Job has reached the specified backoff limit")
    assert launcher.state(RUN) is RunState.ENDED
    cluster.end(job_name(RUN), "Complete")
    assert launcher.state(RUN) is RunState.ENDED
    cluster.broken = True
    assert launcher.state(RUN) is RunState.UNKNOWN


def test_a_killed_attempts_job_is_removed_once(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    launcher.start(RUN)
    launcher.kill(RUN)
    launcher.kill(RUN)
    assert not cluster.jobs


def test_a_cluster_that_refuses_is_told(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    cluster.broken = True
    with pytest.raises(LaunchError, match="500 etcd is away"):
        launcher.start(RUN)
    launcher.kill(RUN)


def test_an_api_server_that_is_away_is_told(tmp_path: Path) -> None:
    api = JobsApi("http://127.0.0.1:1", "likeness", Credentials(tmp_path))
    with pytest.raises(KubernetesError, match="reached"):
        api.get("x")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"spec": {"template": {"spec": {"containers": [{"name": "x"}]}}}}'])
def test_a_template_without_a_container_for_the_run_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "job.json"
    path.write_text(text)
    with pytest.raises(TemplateError, match="kubernetes_job_template"):
        read_template(path)
    path.write_text(json.dumps(TEMPLATE))
    assert read_template(path) == TEMPLATE


class Trainer:
    """Stores and a supervisor over a cluster, with a clock that a test sets."""

    def __init__(self, tmp_path: Path, launcher: KubernetesLauncher, clock: Clock) -> None:
        """Open them."""
        database = Database(f"sqlite:///{tmp_path}/trainer.db")
        database.create_tables()
        self.clock = clock
        self.jobs = JobStore(database, RULES, capacity=10, clock=clock)
        self.attempts = AttemptStore(database, RULES, LEASES, clock=clock)
        settings = TrainerSettings.load(work_dir=tmp_path / "runs", retry_seconds=0, cancel_seconds=5)
        remover = JobRemover(database, self.jobs, ArtifactStore(str(tmp_path / "artifacts")), settings.work_dir)
        deletions, loras = ForgetStore(database, clock=clock), LoraRemoval("127.0.0.1:1")
        self.supervisor = RunSupervisor(
            self.attempts,
            launcher,
            Forgetter(deletions, self.jobs, self.attempts, launcher, remover, loras, clock=clock),
            Retention(self.jobs, deletions, remover, loras, settings),
            settings,
            clock=clock,
        )

    def state(self) -> int:
        """Return the job's state."""
        return self.jobs.get("default", "job-1").message.state


@pytest.fixture
def trainer(tmp_path: Path, launcher: KubernetesLauncher, clock: Clock) -> Trainer:
    """A trainer with one job."""
    made = Trainer(tmp_path, launcher, clock)
    made.jobs.create(new_job())
    return made


def test_a_job_that_waits_for_admission_keeps_its_place(cluster: FakeCluster, trainer: Trainer) -> None:
    for _ in range(20):
        trainer.supervisor.look()
        trainer.clock.now += 30
    assert list(cluster.jobs) == [f"likeness-training-{1:032x}-1"]
    assert trainer.state() == State.STATE_QUEUED


def test_an_attempt_whose_job_ended_without_a_word_is_made_again(cluster: FakeCluster, trainer: Trainer) -> None:
    trainer.supervisor.look()
    cluster.admit(f"likeness-training-{1:032x}-1")
    trainer.attempts.heartbeat(f"{1:032x}", 1)
    cluster.end(f"likeness-training-{1:032x}-1", "Failed", "backoff limit")
    trainer.supervisor.look()
    assert f"likeness-training-{1:032x}-2" in cluster.jobs


def test_an_attempt_that_is_silent_is_removed_and_made_again(cluster: FakeCluster, trainer: Trainer) -> None:
    trainer.supervisor.look()
    cluster.admit(f"likeness-training-{1:032x}-1")
    trainer.attempts.heartbeat(f"{1:032x}", 1)
    trainer.clock.now += 11
    trainer.supervisor.look()
    assert list(cluster.jobs) == [f"likeness-training-{1:032x}-2"]


def test_a_cancelled_job_that_waits_for_admission_is_removed(cluster: FakeCluster, trainer: Trainer) -> None:
    trainer.supervisor.look()
    trainer.jobs.cancel("default", "job-1")
    trainer.supervisor.look()
    assert not cluster.jobs
    assert trainer.state() == State.STATE_CANCELLED


def test_a_cluster_that_refuses_again_and_again_fails_the_job(cluster: FakeCluster, trainer: Trainer) -> None:
    cluster.broken = True
    trainer.supervisor.look()
    job = trainer.jobs.get("default", "job-1").message
    assert (job.state, job.error.reason) == (State.STATE_FAILED, "LAUNCH_FAILED")


def test_an_ended_job_is_removed_when_its_retention_is_over(trainer: Trainer) -> None:
    trainer.jobs.cancel("default", "job-1")
    trainer.supervisor.look()
    trainer.clock.now += 29 * 86_400
    trainer.supervisor.look()
    assert trainer.state() == State.STATE_CANCELLED
    trainer.clock.now += 2 * 86_400
    trainer.supervisor.look()
    assert trainer.jobs.list_jobs("default", 10, "", "")[0] == []
