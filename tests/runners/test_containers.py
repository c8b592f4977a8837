"""The Dockerfile, the compose file and their page say what the package says: versions, names, ports, flags, paths."""

from __future__ import annotations

import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from docker.utils.build import exclude_paths

from beam_pipeline.parser import parse
from runners.flink import cluster, parts, rest, workers
from runners.versions import image_tag
from tests import dockerfile
from tests.conftest import ROOT

CONTAINER = ROOT / "runners" / "container"
PAGE = (ROOT / "docs" / "containers.md").read_text()
COMPOSE = yaml.safe_load((CONTAINER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
TASKMANAGERS = [name for name in SERVICES if name.startswith("taskmanager")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINNED = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
HAS = {
    "beam-pipeline": PROJECT["project"]["version"],
    "apache-beam": PINNED["apache-beam"],
    "python": PROJECT["tool"]["mypy"]["python_version"],
}
ARGUMENTS, STAGES = dockerfile.read()
JAVAS = range(parts.OLDEST_JAVA, parts.NEWEST_JAVA + 1)


def hadolint(text: str) -> str:
    """What it finds; the extra `test` brings it."""
    command = [pathlib.Path(sys.executable).with_name("hadolint"), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True).stdout


def values(instruction: str, *stages: str) -> list[str]:
    """What the stages say with this instruction, all of them if none is named."""
    return [step.value for name in stages or STAGES for step in STAGES[name].steps if step.instruction == instruction]


def image_of(variant: str) -> str:
    return image_tag(HAS, "" if variant == "cpu" else variant)


def flink_settings() -> dict[str, object]:
    return yaml.safe_load(SERVICES["jobmanager"]["environment"]["FLINK_PROPERTIES"])


def port_of(name: str) -> str:
    """The port of a service in its container."""
    return SERVICES[name]["ports"][0].rpartition(":")[2]


def flags_of(words: list[str]):
    """Our flags in a command of the product; the command must be one."""
    assert words[:3] == ["python", "-m", "beam_pipeline"]
    return parse(words[3:])[0]


def test_hadolint_finds_nothing_in_the_dockerfile_and_something_in_a_bad_one():
    assert "DL3007" in hadolint("FROM debian:latest\n")
    assert hadolint(dockerfile.DOCKERFILE.read_text()) == ""


def test_the_name_of_an_image_tells_its_versions():
    has = {"beam-pipeline": "1.2.0", "apache-beam": "2.77.0", "python": "3.11"}
    assert image_tag(has) == "beam-pipeline:1.2.0-beam2.77.0-py3.11"
    assert image_tag(has, "gpu") == "beam-pipeline:1.2.0-beam2.77.0-py3.11-gpu"


def test_the_dockerfile_builds_with_the_versions_of_the_package():
    arguments = ARGUMENTS | dockerfile.pairs(" ".join(values("ARG", "base")))
    assert arguments["VERSION"] == HAS["beam-pipeline"]
    assert arguments["BEAM"] == HAS["apache-beam"]
    assert arguments["PYTHON"] == HAS["python"]
    assert STAGES["beam"].base == f"apache/beam_python{HAS['python']}_sdk:{HAS['apache-beam']}"
    assert f"/python{HAS['python'].replace('.', '')}-template-launcher-base:" in STAGES["templates"].base
    assert STAGES["base"].base.startswith(f"python:{HAS['python']}-slim-")


def test_the_labels_tell_the_versions():
    (label,) = values("LABEL")
    filled = dockerfile.pairs(dockerfile.filled(label, {"VERSION": "1", "BEAM": "2", "PYTHON": "3", "MODEL": "m"}))
    named = {name.rpartition(".")[2]: value for name, value in filled.items()}
    assert (named["version"], named["beam"], named["python"], named["model"]) == ("1", "2", "3", "m")


def test_java_is_one_that_flink_runs_on():
    said = [STAGES["job-server"].base, *values("RUN", "submit"), SERVICES["jobmanager"]["image"]]
    found = [int(re.search(r"(?:temurin-|openjdk-|java)(\d+)", text)[1]) for text in said]
    assert len(found) == 3
    assert all(each in JAVAS for each in found)


def test_every_image_is_of_one_version():
    images = [stage.base for stage in STAGES.values() if stage.base not in STAGES]
    images += [service["image"] for service in SERVICES.values()]
    assert len(images) > 10
    assert [image for image in images if not re.fullmatch(r"[\w./-]+:(?!latest$)[\w.-]*\d[\w.-]*", image)] == []


def test_the_dockerfile_copies_what_is_there_and_may_be_copied():
    context = dockerfile.context()
    copied = [shlex.split(each) for each in values("COPY")]
    sources = [source for words in copied if not words[0].startswith("--from=") for source in words[:-1]]
    assert len(sources) > 5
    assert [source for source in sources if not (ROOT / source).exists() or source not in context] == []
    others = [words[0].removeprefix("--from=") for words in copied if words[0].startswith("--from=")]
    assert set(others) <= set(STAGES)


def test_neither_keys_nor_environments_nor_media_get_to_a_builder(tmp_path):
    for name in (
        "runners/container/.env",
        "runners/a.py",
        ".venv/b.py",
        "out/c.json",
        "transforms/__pycache__/d.pyc",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    sent = exclude_paths(str(tmp_path), dockerfile.ignored())
    assert {path for path in sent if (tmp_path / path).is_file()} == {"runners/a.py"}


def test_workers_run_as_a_user_who_is_not_root_and_begin_with_boot():
    (user,) = values("USER", "worker")
    number = dockerfile.filled(user, dockerfile.pairs(" ".join(values("ARG", "worker"))))
    assert f"useradd --create-home --uid {number} beam" in values("RUN", "worker")
    (entrypoint,) = values("ENTRYPOINT", "worker")
    assert json.loads(entrypoint) == ["/opt/apache/beam/boot"]
    for target in ("cpu", "gpu"):
        assert STAGES[target].base == "worker"
        assert values("USER", target) == values("ENTRYPOINT", target) == []


def test_images_in_compose_have_the_name_of_what_is_built():
    built = {name: service["build"]["target"] for name, service in OURS.items()}
    assert set(built.values()) <= set(STAGES)
    assert {name: service["image"] for name, service in OURS.items()} == {
        name: image_of(target) for name, target in built.items()
    }


def test_a_service_needs_services_of_its_own_profile_only():
    for name, service in SERVICES.items():
        others = [*service.get("depends_on", ()), *service.get("network_mode", "").split("service:")[1:]]
        assert [each for each in others if SERVICES[each]["profiles"] != service["profiles"]] == [], name


def test_flink_is_of_the_version_of_the_job_server_and_configured_as_script_flink_up_does_it():
    assert SERVICES["jobmanager"]["image"].startswith(f"flink:{parts.version('flink.release')}-")
    told = flink_settings()
    assert told.pop("jobmanager.rpc.address") == "jobmanager"
    ours = cluster.settings(pathlib.Path("/"), 8081, 6123, 50000, slots=2, memory="1280m")
    assert told == {name: ours[name] for name in told}
    wanted = ("restart-strategy.", "heartbeat.", "metrics.", "taskmanager.numberOf")
    assert [name for name in ours if name.startswith(wanted) and name not in told] == []


def test_each_taskmanager_has_a_pool_at_the_address_that_flink_asks_by_default():
    pools = {name: each for name, each in OURS.items() if each["entrypoint"][-1] == workers.__name__}
    assert sorted(each["network_mode"] for each in pools.values()) == [f"service:{each}" for each in TASKMANAGERS]
    for pool in pools.values():
        assert pool["command"] == ["--port", rest.WORKERS_AT.rpartition(":")[2]]


def test_a_pool_is_healthy_when_all_slots_are_there():
    code = OURS["workers-1"]["healthcheck"]["test"][-1]
    assert f"slots == {len(TASKMANAGERS) * flink_settings()['taskmanager.numberOfTaskSlots']}\n" in code
    assert f'"{rest.WORKERS_AT}"' in code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(("AssertionError", "runners.flink.parts.FlinkError"))


def test_the_commands_are_the_products_and_their_flags_are_accepted():
    single, submit = OURS["single"], OURS["submit"]
    assert flags_of([*single["entrypoint"], *single["command"]]).input == ["/media"]
    assert {volume["target"] for volume in single["volumes"]} == {"/media", "/out"}
    words = [*submit["entrypoint"], *submit["command"]]
    flags = flags_of(words)
    assert flags.runner == "FlinkRunner"
    assert f"--flink_master=jobmanager:{port_of('jobmanager')}" in words
    (entrypoint,) = values("ENTRYPOINT", "submit")
    assert json.loads(entrypoint) == submit["entrypoint"][:-1]
    (jar,) = [each.split()[-1] for each in values("COPY", "submit")]
    assert f"--flink_job_server_jar={jar}" in submit["entrypoint"]


def test_buckets_and_the_name_of_the_store_are_those_that_the_job_is_given():
    flags = flags_of([*OURS["submit"]["entrypoint"], *OURS["submit"]["command"]])
    (script,) = SERVICES["bucket"]["command"]
    for uri in (*flags.input, flags.output):
        assert f"store/{uri.removeprefix('s3://minio@').split('/')[0]}" in script
    endpoint = f"http://store:{port_of('store')}"
    assert endpoint in script
    for name in ("submit", "workers-1", "workers-2"):
        assert OURS[name]["environment"]["BEAM_PIPELINE_STORE_MINIO_ENDPOINT"] == endpoint


def test_prometheus_asks_every_port_that_serves_figures():
    asked = {
        job: {target for entry in yaml.safe_load((CONTAINER / "targets" / f"{job}.yml").read_text())
              for target in entry["targets"]}
        for job in ("beam_pipeline", "flink")
    }  # fmt: skip
    commands = {name: [*OURS[name]["entrypoint"], *OURS[name]["command"]] for name in ("single", "submit")}
    served = {name: flags_of(words).metrics_port for name, words in commands.items()}
    assert {f"single:{served['single']}", *(f"{each}:{served['submit']}" for each in TASKMANAGERS)} <= (
        asked["beam_pipeline"]
    )
    reporter = str(flink_settings()["metrics.reporter.prom.port"]).partition("-")[0]
    assert asked["flink"] == {f"{name}:{reporter}" for name in ("jobmanager", *TASKMANAGERS)}
    assert {target.partition(":")[0] for target in asked["beam_pipeline"]} <= set(SERVICES)


def test_prometheus_takes_the_configuration_that_compose_mounts(tmp_path):
    if not shutil.which("promtool"):
        pytest.skip("NOT TESTED: no promtool on PATH (Debian's package prometheus)")
    mounted = [volume.split(":") for volume in SERVICES["prometheus"]["volumes"] if volume.startswith(".")]
    for source, target, _ in mounted:
        copy = shutil.copytree if (CONTAINER / source).is_dir() else shutil.copy
        copy(CONTAINER / source, tmp_path / pathlib.PurePosixPath(target).relative_to("/etc/prometheus"))
    command = ["promtool", "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS: 2 rule files found" in done.stdout
    assert "does not exist" not in done.stdout + done.stderr


def test_grafana_finds_the_dashboard_and_a_data_source_of_its_kind():
    grafana = SERVICES["grafana"]
    mounts = {target: CONTAINER / source for source, target, _ in (each.split(":") for each in grafana["volumes"])}
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    dashboard = json.loads(mounts[home].read_text())
    (provider,) = yaml.safe_load((CONTAINER / "grafana" / "dashboards.yml").read_text())["providers"]
    assert provider["options"]["path"] == str(pathlib.PurePosixPath(home).parent)
    (source,) = yaml.safe_load((CONTAINER / "grafana" / "datasource.yml").read_text())["datasources"]
    asked = next(each for each in dashboard["templating"]["list"] if each["type"] == "datasource")
    assert source["type"] == asked["query"]
    assert source["url"] == f"http://prometheus:{port_of('prometheus')}"
    assert all(path.is_file() for path in mounts.values())


def test_no_secret_stands_in_the_compose_file_and_no_port_is_open_to_others():
    told = [pair for service in SERVICES.values() for pair in service.get("environment", {}).items()]
    secrets = {name: value for name, value in told if re.search("PASSWORD|SECRET", name)}
    assert set(secrets) == {"MINIO_ROOT_PASSWORD", "BEAM_PIPELINE_STORE_MINIO_SECRET_ACCESS_KEY"}
    assert set(secrets.values()) == {"${MINIO_ROOT_PASSWORD:-}"}
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) > 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("profile", ["single", "distributed", "monitoring"])
def test_docker_compose_takes_the_file(profile):
    if not (program := shutil.which("docker-compose")):
        pytest.skip("NOT TESTED: no docker-compose on PATH (Debian's package docker-compose)")
    command = [program, "--file", str(CONTAINER / "compose.yaml"), "--profile", profile, "config"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    read = yaml.safe_load(done.stdout)["services"]
    of_profile = {name for name, service in read.items() if service["profiles"] == [profile]}
    assert of_profile == {name for name, service in SERVICES.items() if service["profiles"] == [profile]}
    sources = [
        each["source"] for name in of_profile for each in read[name].get("volumes", ()) if isinstance(each, dict)
    ]
    assert [each for each in sources if not pathlib.Path(each).exists() and each != str(ROOT / "out")] == []


def test_docker_compose_gives_a_password_to_those_who_need_it_and_to_nobody_else():
    if not (program := shutil.which("docker-compose")):
        pytest.skip("NOT TESTED: no docker-compose on PATH (Debian's package docker-compose)")
    command = [program, "--file", str(CONTAINER / "compose.yaml"), "config"]
    done = subprocess.run(command, capture_output=True, text=True, env={"MINIO_ROOT_PASSWORD": "correct horse"})
    told = {name for name, each in yaml.safe_load(done.stdout)["services"].items() if "correct horse" in str(each)}
    assert told == {"store", "bucket", "submit", "workers-1", "workers-2"}


def test_the_page_builds_targets_that_are_there_under_their_names():
    commands = re.findall(r"docker build (.+)", PAGE.replace("\\\n", " "))
    built = {match[1]: match[2] for each in commands if (match := re.search(r"--target (\S+) .*--tag (\S+)", each))}
    assert {"cpu", "gpu", "launcher"} <= set(built)
    assert {target: name.rpartition("/")[2] for target, name in built.items()} == {
        target: image_of(target) for target in built
    }
    given = {name for each in commands for name in re.findall(r"--build-arg (\w+)", each)}
    assert given <= set(re.findall(r"^ARG (\w+)", dockerfile.DOCKERFILE.read_text(), re.MULTILINE))


def test_the_page_runs_what_the_command_line_accepts():
    lines = PAGE.replace("\\\n", " ").splitlines()
    direct = [shlex.split(line.partition("-m beam_pipeline")[2]) for line in lines if "-m beam_pipeline " in line]
    assert direct
    for words in direct:
        parse(words)


def test_links_of_the_page_lead_to_files_that_are_there():
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", PAGE) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / "docs" / target).exists()] == []
