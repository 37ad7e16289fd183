"""Whether the files of packaging/kubernetes are what Kubernetes takes, by its schema (package kubernetes-validate), and fit each other.

    kubernetes.py DIRECTORY OUT

Writes the configuration of each ConfigMap to OUT/NAME.toml, for `carnet check`.
"""

import pathlib
import sys

import kubernetes_validate
import yaml

directory, out = map(pathlib.Path, sys.argv[1:])
wrong, things = [], []
kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
for name in kustomization["resources"]:
    things.extend(yaml.safe_load_all((directory / name).read_text()))
for thing in things:
    name = f"{thing['kind']} {thing['metadata']['name']}"
    try:
        kubernetes_validate.validate(thing, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        wrong.append(f"{name}: {error.message} at {list(error.path)}")
    if thing["kind"] == "ConfigMap":
        (out / f"{thing['metadata']['name']}.toml").write_text(thing["data"]["carnet.toml"])
maps = {thing["metadata"]["name"] for thing in things if thing["kind"] == "ConfigMap"}
services = {thing["metadata"]["name"] for thing in things if thing["kind"] == "Service"}
pods = [thing for thing in things if "template" in thing.get("spec", {})]
for thing in pods:
    name, spec = thing["metadata"]["name"], thing["spec"]
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    if spec["selector"]["matchLabels"].items() - spec["template"]["metadata"]["labels"].items():
        wrong.append(f"{name}: its selector does not find its pods")
    if spec.get("serviceName", name) not in services | {name}:
        wrong.append(f"{name}: no Service {spec['serviceName']}")
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    volumes |= {claim["metadata"]["name"]: claim for claim in spec.get("volumeClaimTemplates", [])}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    if set(volumes) != set(mounts) or mounts["configuration"] != "/etc/carnet":
        wrong.append(f"{name}: volumes {sorted(volumes)} and mounts {mounts}")
    if volumes["configuration"]["configMap"]["name"] not in maps:
        wrong.append(f"{name}: no ConfigMap")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if container[probe]["exec"]["command"] != ["carnet", "health", "--config", "/etc/carnet/carnet.toml"]:
            wrong.append(f"{name}: {probe}")
    grace = int(container["args"][container["args"].index("--grace") + 1])
    if grace >= pod["terminationGracePeriodSeconds"]:
        wrong.append(f"{name}: it is killed before calls have had their time")
if len(pods) != 3:
    wrong.append(f"{len(pods)} pods")
for complaint in wrong:
    print(complaint, file=sys.stderr)
print(f"   {len(things)} resources, by the schema of Kubernetes {kubernetes_validate.latest_version()}")
sys.exit(bool(wrong))
