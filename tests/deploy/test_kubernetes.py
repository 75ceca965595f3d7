"""The CronJob and its image: what Kubernetes takes, and what the parts say of each other."""

import copy
import datetime
import itertools
import os
import re
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml
from cronsim import CronSim

from image_features import errors as exits
from image_features.models.cache import CACHE_VARIABLE
from image_features.pipeline.cli.parsing import parse_extract
from tests.deploy import files
from tests.deploy.dockerfiles import build_arguments, complaints, instructions
from tests.deploy.files import OURS, ROOT

HERE = ROOT / "deploy" / "kubernetes"
OLDEST = "1.31"  # podFailurePolicy is stable from there on.
VERSIONS = [OLDEST, kubernetes_validate.latest_version()]
CRON_JOB, SETTINGS, CLAIM = (
    yaml.safe_load((HERE / f"{name}.yaml").read_text())
    for name in ("cronjob", "settings", "volume")
)
JOB = CRON_JOB["spec"]["jobTemplate"]["spec"]
POD = JOB["template"]["spec"]
(CONTAINER,) = POD["containers"]
DOCKERFILE = (HERE / "Dockerfile").read_text()
README = (HERE / "README.md").read_text()
CODES = {value for name, value in vars(exits).items() if name.startswith("EXIT_")}


def refusals(resource):
    """What the schemas say of a resource, in one version of Kubernetes or another."""
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(resource, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield error.message


@pytest.mark.parametrize("resource", [CRON_JOB, SETTINGS, CLAIM], ids=lambda each: each["kind"])
def test_kubernetes_takes_the_manifests(resource):
    assert list(refusals(resource)) == []


def test_every_manifest_is_in_the_kustomization():
    kustomization = yaml.safe_load((HERE / "kustomization.yaml").read_text())
    manifests = {path.name for path in HERE.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == manifests


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["spec", "schedul"], "0 1 * * *"),
        (["spec", "schedule"], None),
        (["spec", "concurrencyPolicy"], 1),
        (["spec", "startingDeadlineSeconds"], "six hours"),
        (["spec", "jobTemplate", "spec", "backofflimit"], 8),
        (["spec", "jobTemplate", "spec", "podFailurePolicy", "rules", 1, "onExitCodes"], [2]),
        (["spec", "jobTemplate", "spec", "podFailurePolicy", "rules", 1, "action"], None),
        (["spec", "jobTemplate", "spec", "template", "spec", "restartpolicy"], "Never"),
        (["spec", "jobTemplate", "spec", "template", "spec", "containers"], None),
        (["spec", "jobTemplate", "spec", "template", "spec", "containers", 0, "readOnly"], True),
    ],
    ids=lambda each: str(each[-1]) if isinstance(each, list) else None,
)
def test_what_is_wrong_is_refused(path, value):
    changed = copy.deepcopy(CRON_JOB)
    place = changed
    for part in path[:-1]:
        place = place[part]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    assert list(refusals(changed)) != []


def test_the_schedule_has_its_whole_day():
    spec = CRON_JOB["spec"]
    # The run's date is UTC's, and a Job ends before the next one is due.
    assert (spec["timeZone"], spec["concurrencyPolicy"]) == ("Etc/UTC", "Forbid")
    times = CronSim(spec["schedule"], datetime.datetime(2026, 3, 1))
    first, second = next(times), next(times)
    period = (second - first).total_seconds()
    assert spec["startingDeadlineSeconds"] + JOB["activeDeadlineSeconds"] <= period


def test_exit_codes_are_retried_where_that_helps():
    ignored, failed = JOB["podFailurePolicy"]["rules"]
    assert ignored["action"] == "Ignore"
    assert [each["type"] for each in ignored["onPodConditions"]] == ["DisruptionTarget"]
    assert failed["action"] == "FailJob"
    codes = failed["onExitCodes"]
    assert codes["operator"] == "In"
    assert set(codes["values"]) == {exits.EXIT_USAGE, exits.EXIT_OVER_BUDGET, exits.EXIT_GUARDED}
    assert CODES - set(codes["values"]) == {exits.EXIT_OK, exits.EXIT_FAILED, exits.EXIT_HELD}
    assert codes["containerName"] == CONTAINER["name"]
    # The API wants it with a podFailurePolicy, which no schema says.
    assert POD["restartPolicy"] == "Never"
    assert "failed with exit code 3 matching FailJob rule at index 1" in README


def test_the_pod_is_restricted():
    """What the Pod Security Standard `restricted` asks for, and a read-only system."""
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["runAsUser"] > 0
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    own = CONTAINER["securityContext"]
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert own["readOnlyRootFilesystem"] is True
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(POD)
    assert {kind for volume in POD["volumes"] for kind in volume} == {
        *("name", "emptyDir", "persistentVolumeClaim")
    }


def test_the_parts_name_each_other():
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    assert set(mounts) == set(volumes)
    claim = volumes["data"]["persistentVolumeClaim"]["claimName"]
    assert claim == CLAIM["metadata"]["name"]
    settings = dict(SETTINGS["data"])
    assert settings["OUTPUT"].startswith(f"{mounts['data']}/")
    cache = settings.pop(CACHE_VARIABLE)
    assert cache.startswith(f"{mounts['data']}/") and not cache.startswith(settings["OUTPUT"])
    config, secret = CONTAINER["envFrom"]
    assert config["configMapRef"]["name"] == SETTINGS["metadata"]["name"]
    assert secret["secretRef"]["optional"] is True
    script = (ROOT / "deploy" / "cron" / "nightly.sh").read_text()
    named = [each["name"] for each in CONTAINER["env"]] + list(settings)
    assert all(f"${{{name}:" in script for name in named)
    label = CONTAINER["env"][0]["valueFrom"]["fieldRef"]["fieldPath"]
    assert label == "metadata.labels['batch.kubernetes.io/job-name']"


def test_extract_takes_the_settings():
    data = SETTINGS["data"]
    parse_extract(
        [f"--input={data['INPUT']}", f"--output={data['OUTPUT']}", *data["OPTIONS"].split()]
    )
    limit = dict(re.findall(r"--(\w+)=(\S+)", data["OPTIONS"]))["max_duration"]
    assert float(limit) < JOB["activeDeadlineSeconds"]


# The image.


def test_the_dockerfile_is_clean():
    assert list(complaints(DOCKERFILE)) == []


def stage(text, name):
    pairs = instructions(text)
    (start,) = (i for i, (_, rest) in enumerate(pairs) if rest.endswith(f" AS {name}"))
    rest = itertools.takewhile(lambda pair: pair[0] != "FROM", pairs[start + 1 :])
    return [pairs[start], *rest]


def test_both_images_are_built_alike():
    other = (files.HERE / "Dockerfile").read_text()
    # That one's is run by test_image.py.
    assert stage(DOCKERFILE, "build") == stage(other, "build")
    ours, others = (dict(build_arguments(instructions(text))) for text in (DOCKERFILE, other))
    assert ours["PYTHON_VERSION"] == others["PYTHON_VERSION"]
    install = [rest for name, rest in instructions(DOCKERFILE) if rest.startswith("pip install")]
    assert install and set(install) <= {rest for _, rest in instructions(other)}


def test_the_image_is_what_the_pod_starts():
    found = instructions(DOCKERFILE)
    (script,) = (rest.split() for name, rest in found if "nightly.sh" in rest)
    assert os.access(ROOT / script[0], os.X_OK)
    assert os.path.dirname(script[1]) == "/usr/local/bin"  # On the PATH of the Python image.
    assert CONTAINER["command"] == [os.path.basename(script[1])]
    (user,) = (rest for name, rest in found if name == "USER")
    context = POD["securityContext"]
    assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert context["fsGroup"] == context["runAsGroup"]
    environment = dict(w.split("=", 1) for n, rest in found if n == "ENV" for w in rest.split())
    tmp = next(m["mountPath"] for m in CONTAINER["volumeMounts"] if m["name"] == "tmp")
    assert environment["HOME"] == tmp
    assert environment[CACHE_VARIABLE].startswith(f"{tmp}/")


# Kustomize, and the page.


def kustomized(directory):
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("There is no kubectl, which has kustomize in it.")
    built = subprocess.run([kubectl, "kustomize", directory], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return {each["kind"]: each for each in yaml.safe_load_all(built.stdout)}


def test_kustomize_takes_the_directory():
    found = kustomized(HERE)
    assert found == {"CronJob": CRON_JOB, "ConfigMap": SETTINGS, "PersistentVolumeClaim": CLAIM}


def test_the_pages_patches_fit(tmp_path):
    overlay, patches = re.findall(r"```yaml\n(.*?)```", README, re.S)
    remote = "https://github.com/OWNER/REPOSITORY//deploy/kubernetes?ref=TAG"
    assert remote in overlay
    shutil.copytree(HERE, tmp_path / "base")
    (tmp_path / "own").mkdir()
    kustomization = tmp_path / "own" / "kustomization.yaml"

    kustomization.write_text(overlay.replace(remote, "../base"))
    found = kustomized(kustomization.parent)
    assert found["ConfigMap"]["data"]["INPUT"] == "gs://your-bucket/images.csv"
    assert found["ConfigMap"]["data"]["OPTIONS"] == SETTINGS["data"]["OPTIONS"]
    pod = found["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "REGISTRY/image-features:0.2.0"
    assert found["CronJob"]["metadata"]["namespace"] == "images"

    kustomization.write_text(overlay.replace(remote, "../base") + patches)
    found = kustomized(kustomization.parent)
    assert set(found) == {"CronJob", "ConfigMap"}
    pod = found["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "image-features"
    assert [volume["name"] for volume in pod["volumes"]] == ["tmp"]
    assert [mount["name"] for mount in pod["containers"][0]["volumeMounts"]] == ["tmp"]
    assert set(found["ConfigMap"]["data"]) == {"INPUT", "OUTPUT", "OPTIONS"}
    for resource in found.values():
        assert list(refusals(resource)) == []


def test_the_page_names_the_namespace():
    """That of the kustomization, which has to be made."""
    (namespace,) = re.findall(r"^namespace: (\w+)$", README, re.M)
    calls = re.findall(r"kubectl (?!kustomize)(.+)", README)
    assert calls[:2] == [f"create namespace {namespace}", "apply -k ."]
    assert calls[2:] and all(call.startswith(f"-n {namespace} ") for call in calls[2:])


def test_the_page_tells_every_exit_code():
    rows = re.findall(r"^\| (\d) \|.*\| (.*) \|$", README, re.M)
    assert {int(code) for code, _ in rows} == CODES
    (rule,) = (r["onExitCodes"] for r in JOB["podFailurePolicy"]["rules"] if "onExitCodes" in r)
    assert {int(code) for code, then in rows if then.startswith("Failed")} == set(rule["values"])


def test_options_that_are_named_exist():
    for path in (HERE / "README.md", HERE / "settings.yaml", HERE / "cronjob.yaml"):
        named = re.findall(r"(?<![\w-])--([a-z]+(?:_[a-z]+)+|incremental)\b", path.read_text())
        assert named and set(named) <= set(OURS)
