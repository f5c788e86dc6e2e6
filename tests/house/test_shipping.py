"""What ships beside the package fits it: the image, the cluster's job, the variables."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from curricle.experiments.resolve import resolve
from house.commands import flags

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
JOB = yaml.safe_load((ROOT / "deploy" / "job-4gpu.yaml").read_text(encoding="utf-8"))
VARIABLES = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)


def copied() -> list[str]:
    """What the image is made of."""
    lines = re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE)
    return [name for line in lines for name in shlex.split(line)]


def test_the_image_is_made_of_what_is_there_and_let_through() -> None:
    assert copied()
    assert [name for name in copied() if not (ROOT / name).exists()] == []
    assert [name for name in copied() if f"!{name}" not in IGNORED] == []
    assert IGNORED[1] == "*", "everything else stays out, secrets among it"


def test_the_image_has_the_tested_versions_and_no_root() -> None:
    assert DOCKERFILE.count("--constraint constraints.txt") == DOCKERFILE.count("RUN pip install")
    assert DOCKERFILE.index("USER curricle") > DOCKERFILE.rindex("RUN ")


def test_the_job_starts_a_command_that_exists() -> None:
    [container] = JOB["spec"]["template"]["spec"]["containers"]
    command = container["command"]
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    assert command[:3] == ["torchrun", "--standalone", f"--nproc-per-node={gpus}"]
    name, recipe, *rest = command[command.index("curricle") + 1 :]
    assert f"curricle {name}" in flags()
    assert set(rest[::2]) == {"--set"}
    experiment = resolve(ROOT / recipe.removeprefix("/curricle/"), rest[1::2])
    assert experiment.base.distributed.several
    assert experiment.base.training["report_to"] == "mlflow"


def test_the_jobs_volumes_are_mounted() -> None:
    spec = JOB["spec"]["template"]["spec"]
    mounted = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}


@pytest.mark.parametrize("name", [name for name in VARIABLES if name.startswith(("MLFLOW", "CURRICLE"))])
def test_our_variables_are_read_somewhere(name: str) -> None:
    read = any(name in path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    theirs = name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")  # by MLflow itself
    assert read or theirs
    assert (ROOT / ".env.example").read_text(encoding="utf-8").count(f"{name}=") == 1
