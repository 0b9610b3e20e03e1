"""The chart, as helm renders it: valid, consistent in itself, and with commands that Naiad takes.

Most tests read the rendered charts beside the values in helm/, so they run everywhere; those
that need helm see to it that the rendered charts are fresh.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import trustme
import yaml
from support_compose import ROOT, naiad
from support_naiad import LONGER
from support_nginx import nginx_binary

from naiad_files.s3_url import Bucket
from naiad_serve.settings import settings_of
from naiad_serve.stages import STAGES
from naiad_state import Limits

HERE = Path(__file__).parent
CHART = ROOT / "deploy" / "helm" / "naiad"
NAMES = sorted(file.name.split(".")[0] for file in (HERE / "helm").glob("*.values.yaml"))
SCHEMAS = json.loads((HERE / "schemas" / "kubernetes-1.33.json").read_text())
# Of the Prometheus operator: no schema here.
CUSTOM = {"PodMonitor", "PrometheusRule"}

Object = dict[str, Any]


@cache
def objects(name: str) -> list[Object]:
    text = (HERE / "helm" / f"{name}.rendered.yaml").read_text()
    return [entry for entry in yaml.safe_load_all(text) if entry]


@cache
def validator(kind: str) -> jsonschema.Draft202012Validator:
    # Made once: to check the schemas themselves takes longer than all the rest.
    schema = {**SCHEMAS["kinds"][kind], "$defs": SCHEMAS["$defs"]}
    return jsonschema.Draft202012Validator(schema)


def of(name: str, kind: str) -> dict[str, Object]:
    return {one["metadata"]["name"]: one for one in objects(name) if one["kind"] == kind}


def pods(name: str) -> dict[str, Object]:
    """The templates of pods, by the name of what makes them."""
    made = {**of(name, "Deployment"), **of(name, "Job")}
    return {key: one["spec"]["template"] for key, one in made.items()}


def containers(name: str) -> Iterator[tuple[str, Object, Object]]:
    for owner, pod in pods(name).items():
        for container in pod["spec"]["containers"]:
            yield owner, pod, container


def selects(labels: Object, pod: Object) -> bool:
    return labels.items() <= pod["metadata"]["labels"].items()


def ports(pod: Object) -> set[str]:
    return {port["name"] for one in pod["spec"]["containers"] for port in one.get("ports", [])}


def values_of(entry: Any) -> Iterator[Any]:
    if isinstance(entry, dict):
        for value in entry.values():
            yield from values_of(value)
    elif isinstance(entry, list):
        for value in entry:
            yield from values_of(value)
    else:
        yield entry


@pytest.mark.parametrize("name", NAMES)
def test_each_object_is_one_that_kubernetes_takes(name: str) -> None:
    seen: Counter[tuple[str, str]] = Counter()
    for one in objects(name):
        seen[one["kind"], one["metadata"]["name"]] += 1
        assert None not in values_of(one), one["metadata"]["name"]
        for value in one["metadata"]["labels"].values():
            assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", value)
        if one["kind"] in CUSTOM:
            continue
        validator(f"{one['apiVersion']} {one['kind']}").validate(one)
    assert set(seen.values()) == {1}


def test_the_schemas_refuse_what_is_wrong() -> None:
    (wrong,) = [one for key, one in of("small", "Deployment").items() if key == "naiad-ingest"]
    wrong = json.loads(json.dumps(wrong))
    wrong["spec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = "Always"
    with pytest.raises(jsonschema.ValidationError, match="imagePulPolicy"):
        validator("apps/v1 Deployment").validate(wrong)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_referred_to_is_there(name: str) -> None:
    all_pods = pods(name)
    for key, deployment in of(name, "Deployment").items():
        assert selects(deployment["spec"]["selector"]["matchLabels"], all_pods[key])
        # And nothing else is taken for one of its pods.
        chosen = [
            pod for pod in all_pods.values()
            if selects(deployment["spec"]["selector"]["matchLabels"], pod)
        ]  # fmt: skip
        assert len(chosen) == 1
    for service in of(name, "Service").values():
        (chosen_pod,) = [p for p in all_pods.values() if selects(service["spec"]["selector"], p)]
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports(chosen_pod)
    for budget in of(name, "PodDisruptionBudget").values():
        labels = budget["spec"]["selector"]["matchLabels"]
        assert [pod for pod in all_pods.values() if selects(labels, pod)]
    for scaler in of(name, "HorizontalPodAutoscaler").values():
        target = of(name, "Deployment")[scaler["spec"]["scaleTargetRef"]["name"]]
        assert "replicas" not in target["spec"], "two would set the number"
    for policy in of(name, "NetworkPolicy").values():
        labels = policy["spec"]["podSelector"]["matchLabels"]
        (chosen_pod,) = [pod for pod in all_pods.values() if selects(labels, pod)]
        for rule in policy["spec"]["ingress"]:
            assert {port["port"] for port in rule["ports"]} <= ports(chosen_pod)
            for peer in rule.get("from", []):
                if "podSelector" in peer:
                    wanted = peer["podSelector"]["matchLabels"]
                    assert [pod for pod in all_pods.values() if selects(wanted, pod)]
    for ingress in of(name, "Ingress").values():
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                service = of(name, "Service")[backend["name"]]
                assert backend["port"]["name"] in {p["name"] for p in service["spec"]["ports"]}
    accounts = set(of(name, "ServiceAccount")) or {"existing"}
    for _, pod, container in containers(name):
        assert pod["spec"]["serviceAccountName"] in accounts
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        for volume in pod["spec"]["volumes"]:
            if "configMap" in volume:
                assert volume["configMap"]["name"] in of(name, "ConfigMap")


@pytest.mark.parametrize("name", NAMES)
def test_pods_have_no_more_rights_than_they_need(name: str) -> None:
    for owner, pod, container in containers(name):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, owner
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= container["resources"].keys()
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", NAMES)
def test_each_process_is_probed(name: str) -> None:
    for owner, deployment in of(name, "Deployment").items():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        pages = {
            probe: container[probe]["httpGet"]["path"]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe")
            if probe in container
        }
        if owner.endswith("-gateway"):
            assert pages == {"livenessProbe": "/healthz", "readinessProbe": "/healthz"}
        else:
            assert pages == {
                "startupProbe": "/healthz",
                "livenessProbe": "/healthz",
                "readinessProbe": "/readyz",
            }
        for probe in pages:
            assert container[probe]["httpGet"]["port"] in ports(deployment["spec"]["template"])


def environment_of(name: str, container: Object) -> dict[str, str]:
    """What the process would have, with the Secret that the chart makes or one of somebody."""
    secrets = {key: one["stringData"] for key, one in of(name, "Secret").items()}
    own = {
        "NAIAD_EVENT_LOG": "kafka://kafka:9092",
        "NAIAD_STORE": "clickhouse://naiad:secret@clickhouse:8123/naiad",
        "NAIAD_FILES": "s3://naiad-files?region=eu-central-1",
        "NAIAD_STATE": "redis://redis:6379/0",
    }
    found = {}
    for variable in container["env"]:
        if "value" in variable:
            found[variable["name"]] = variable["value"]
            continue
        reference = variable["valueFrom"]["secretKeyRef"]
        secret = secrets.get(reference["name"], own)
        if reference["key"] in secret:
            found[variable["name"]] = secret[reference["key"]]
        else:
            assert reference.get("optional"), f"{reference} is nowhere"
    return found


def naiad_containers() -> Iterator[Any]:
    for name in NAMES:
        for owner, _, container in containers(name):
            if "naiad:" in container["image"]:
                yield pytest.param(name, owner, container, id=f"{name}-{owner}")


@pytest.mark.parametrize(("name", "owner", "container"), list(naiad_containers()))
def test_naiad_takes_the_arguments_and_their_settings(
    name: str, owner: str, container: Object, tmp_path: Path
) -> None:
    environment = environment_of(name, container)
    if container["args"] == ["store", "migrate"]:
        assert environment.keys() == {
            "NAIAD_STORE", "NAIAD_METRICS_LISTEN", "NAIAD_LOG_FORMAT", "NAIAD_LOG_LEVEL",
        }  # fmt: skip
        question = ["--help"]
    else:
        verb, stage = container["args"]
        assert (verb, owner) == ("serve", f"naiad-{stage}")
        question = ["--print-settings"]
        known = {setting for setting, _ in settings_of(STAGES[stage])}
        known |= {"NAIAD_KAFKA_USER", "NAIAD_KAFKA_PASSWORD"}
        for variable in environment:
            assert variable in known or variable.startswith("AWS_"), variable
    if "NAIAD_FILES" in environment:
        Bucket.from_url(environment["NAIAD_FILES"], environment)
    if "NAIAD_ALERTS" in environment:
        rules = of(name, "ConfigMap")["naiad-alerts"]["data"]
        file = tmp_path / Path(environment["NAIAD_ALERTS"]).name
        file.write_text(rules[file.name])
        environment["NAIAD_ALERTS"] = str(file)
    done = naiad([*container["args"], *question], environment)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "secret" not in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_drain_ends_before_patience_does(name: str) -> None:
    for owner, pod, container in containers(name):
        if container.get("args", [""])[0] != "serve":
            continue
        settings = dict(settings_of(STAGES[container["args"][1]]))
        environment = environment_of(name, container)
        drain = float(
            environment.get("NAIAD_DRAIN_SECONDS", settings["NAIAD_DRAIN_SECONDS"].default)
        )
        delay = float(environment.get("NAIAD_DRAIN_DELAY_SECONDS", 0))
        assert pod["spec"]["terminationGracePeriodSeconds"] > drain + delay + 5, owner


def test_alerters_may_stand_by() -> None:
    """Of several one works, so a new one may start before the old one has ended."""
    replicas = {name: of(name, "Deployment")["naiad-alerter"]["spec"]["replicas"] for name in NAMES}
    assert replicas == {name: 2 if name == "full" else 1 for name in NAMES}


def test_limits_are_those_of_the_values_and_ingest_takes_them() -> None:
    for name in NAMES:
        for _, _, container in containers(name):
            limits = container.get("env") and environment_of(name, container).get("NAIAD_LIMITS")
            assert bool(limits) == (name == "full" and container["name"] == "ingest")
            if limits:
                parsed = Limits.parse(limits)
                assert (len(parsed.projects), len(parsed.tokens)) == (1, 1)


def test_stages_that_lack_something_are_left_out() -> None:
    def running(name: str) -> set[str]:
        return {key.removeprefix("naiad-") for key in of(name, "Deployment")}

    assert running("full") == {*STAGES, "gateway"}
    assert running("small") == {*STAGES, "gateway"} - {"live"}
    assert running("headless") == {*STAGES, "gateway"} - {"live", "dashboard"}


def test_who_makes_the_tables() -> None:
    """The job, or the writer where there is none; never both."""
    for name in NAMES:
        writer = of(name, "Deployment")["naiad-writer"]["spec"]["template"]["spec"]
        environment = environment_of(name, writer["containers"][0])
        assert bool(of(name, "Job")) == (environment.get("NAIAD_MIGRATE") == "false")
    assert not of("ingress", "Job")


def test_passwords_stand_in_the_secret_alone() -> None:
    for name in NAMES:
        for one in objects(name):
            assert one["kind"] == "Secret" or "secret@" not in json.dumps(one)


def test_the_writer_is_scaled_by_lag_and_others_by_cpu() -> None:
    scalers = of("full", "HorizontalPodAutoscaler")
    (writer,) = scalers["naiad-writer"]["spec"]["metrics"]
    assert writer["external"]["metric"]["name"] == "naiad_consumer_lag_records"
    for stage in ("ingest", "query"):
        (metric,) = scalers[f"naiad-{stage}"]["spec"]["metrics"]
        assert metric["resource"]["name"] == "cpu"


@pytest.mark.parametrize("name", NAMES)
def test_nginx_takes_the_gateway_s_configuration(name: str, tmp_path: Path) -> None:
    files = of(name, "ConfigMap")["naiad-gateway"]["data"]
    for file, text in files.items():
        if file == "upstreams.conf":
            services = of(name, "Service")
            for server in re.findall(r"server (\S+) resolve;", text):
                host, port = server.split(":")
                service = services[host.split(".")[0]]
                assert int(port) in {entry["port"] for entry in service["spec"]["ports"]}
                assert host.split(".")[1] == "ml"
            # Debian's nginx is older than "resolve", and there is no such DNS here.
            text = re.sub(r"server \S+ resolve;", "server 127.0.0.1:9;", text)
            text = re.sub(r"resolver \S+ valid=5s;", "resolver 127.0.0.1 valid=5s;", text)
        (tmp_path / file).write_text(text.replace("/tmp/", f"{tmp_path}/"))
    if "tls/tls.crt" in files["listeners.conf"]:
        (tmp_path / "tls").mkdir()
        issued = trustme.CA().issue_cert("naiad.example.org")
        issued.cert_chain_pems[0].write_to_path(str(tmp_path / "tls" / "tls.crt"))
        issued.private_key_pem.write_to_path(str(tmp_path / "tls" / "tls.key"))
    checked = subprocess.run(
        [nginx_binary(), "-t", "-c", f"{tmp_path}/nginx.conf", "-p", str(tmp_path)],
        capture_output=True, text=True, timeout=20 * LONGER, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


def test_rules_and_dashboard_come_along() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "naiad.rules.yml").read_text())
    assert of("full", "PrometheusRule")["naiad"]["spec"] == rules
    shown = json.loads(of("full", "ConfigMap")["naiad-dashboard"]["data"]["naiad.json"])
    assert shown == json.loads((ROOT / "deploy" / "grafana" / "naiad.json").read_text())
    (monitor,) = of("full", "PodMonitor").values()
    (stages,) = monitor["spec"]["selector"]["matchExpressions"]
    assert set(stages["values"]) == set(STAGES)


def test_the_chart_s_copies_are_fresh() -> None:
    checked = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "generate_deploy.py"), "--check"],
        capture_output=True, text=True, timeout=120 * LONGER, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


# --- with helm -------------------------------------------------------------------------------


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("helm"):
        pytest.skip("no helm; the charts as they were rendered last were tested alone")
    return subprocess.run(
        ["helm", *arguments, "--kube-version", "1.33.0"],
        capture_output=True, text=True, timeout=120 * LONGER, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_helm_has_nothing_to_say(name: str) -> None:
    values = str(HERE / "helm" / f"{name}.values.yaml")
    linted = helm("lint", "--strict", "--quiet", str(CHART), "--values", values)
    assert (linted.returncode, linted.stdout + linted.stderr) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_the_rendered_chart_is_fresh(name: str) -> None:
    file = HERE / "helm" / f"{name}.values.yaml"
    made = helm("template", "naiad", str(CHART), "--namespace", "ml", "--values", str(file))
    assert made.stderr == ""
    rendered = file.with_name(f"{name}.rendered.yaml")
    assert made.stdout == rendered.read_text(), "stale; run scripts/generate_deploy.py"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("tokens.existingSecret=", "tokens.existingSecret is not set"),
        ("engines.eventLog=", "engines.eventLog is not set: name your Kafka"),
        ("engines.store=", "engines.store is not set: name your ClickHouse"),
        ("engines.files=", "engines.files is not set: name your bucket"),
        ("engines.eventLog=sqlite:///tmp/x", "engines.eventLog"),
        ("engines.evenLog=kafka://x", "evenLog"),
        ("ingest.replica=3", "replica"),
        ("alerter.autoscaling.enabled=true", "alerter"),
        ("query.enabled=false", "query"),
        ("gateway.service.type=External", "gateway.service.type"),
        ("ingress.enabled=true", "ingress.host is not set"),
    ],
)
def test_what_is_wrong_is_refused_by_name(setting: str, said: str) -> None:
    values = str(HERE / "helm" / "small.values.yaml")
    made = helm("template", "naiad", str(CHART), "--values", values, "--set", setting)
    assert made.returncode != 0
    # The schema writes engines.eventLog as /engines/eventLog.
    assert re.search(said.replace(".", "[./]"), made.stderr), made.stderr


def test_tls_at_two_places_is_refused() -> None:
    values = str(HERE / "helm" / "ingress.values.yaml")
    made = helm(
        "template", "naiad", str(CHART), "--values", values,
        "--set", "gateway.tls.existingSecret=x",
    )  # fmt: skip
    assert "exclude each other" in made.stderr


def test_the_values_of_the_page_are_taken() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    (command,) = re.findall(r"^helm install naiad deploy/helm/naiad (.+?)\n```", page, re.M | re.S)
    settings = re.findall(r"--set (\S+)", command)
    assert len(settings) == 5
    made = helm("template", "naiad", str(CHART), *(f"--set={one}" for one in settings))
    assert made.returncode == 0, made.stderr
    assert "image: REGISTRY/naiad:" in made.stdout
    for name in re.findall(r"`(\w+\.(?:enabled|autoscaling|tmpSizeLimit))`", page):
        stage, key = name.split(".")
        assert key in yaml.safe_load((CHART / "values.yaml").read_text())[stage]
