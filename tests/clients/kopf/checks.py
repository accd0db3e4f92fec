"""An operator written with kopf, for a kind of its own, and what somebody sees who uses it.

Prints a line for each check: `ok NAME` or `not ok NAME WHY`.
"""

import asyncio
import json
import logging
import threading
import time
import traceback

import kopf
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

GROUP, VERSION, PLURAL = "kopf.example.com", "v1", "widgets"
SPACE = "kopf-checks"
CHECKS = []
SEEN = []

config.load_kube_config()
core = client.CoreV1Api()
custom = client.CustomObjectsApi()
extensions = client.ApiextensionsV1Api()
# A patch of somebody's own kind is a merge patch; the client would send a strategic one.
patches = client.CustomObjectsApi(client.ApiClient())
patches.api_client.set_default_header("Content-Type", "application/merge-patch+json")

WIDGET = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "maximum": 10},
                "colour": {"type": "string", "default": "red", "enum": ["red", "blue"]},
            },
            "x-kubernetes-validations": [
                {"rule": "self.colour != 'blue' || self.size < 5", "message": "a blue widget is small"}
            ],
        },
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{PLURAL}.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": PLURAL, "singular": "widget", "kind": "Widget", "shortNames": ["wd"]},
        "versions": [
            {
                "name": VERSION,
                "served": True,
                "storage": True,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.made"}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                "schema": {"openAPIV3Schema": WIDGET},
            }
        ],
    },
}


# === The operator ===


@kopf.on.startup()
def begin(settings, **_):
    settings.posting.level = logging.WARNING
    settings.persistence.finalizer = f"{GROUP}/operator"
    settings.watching.server_timeout = 30


@kopf.on.create(GROUP, VERSION, PLURAL)
def created(spec, name, namespace, patch, **_):
    SEEN.append(("create", name))
    body = {"metadata": {"name": name, "labels": {"made-by": "kopf"}}, "data": {"size": str(spec["size"])}}
    kopf.adopt(body)
    core.create_namespaced_config_map(namespace, body)
    patch.status["made"] = spec["size"]
    return {"map": name}


@kopf.on.field(GROUP, VERSION, PLURAL, field="spec.size")
def resized(old, new, name, namespace, patch, **_):
    if old is not None:
        SEEN.append(("resize", name, old, new))
        core.patch_namespaced_config_map(name, namespace, {"data": {"size": str(new)}})
        patch.status["made"] = new


@kopf.on.delete(GROUP, VERSION, PLURAL)
def gone(name, **_):
    SEEN.append(("delete", name))


@kopf.on.event(GROUP, VERSION, PLURAL)
def told(type, name, **_):
    SEEN.append(("event", type, name))


@kopf.on.create("", "v1", "configmaps", labels={"watched": "yes"})
def watched(name, **_):
    SEEN.append(("map", name))


@kopf.index(GROUP, VERSION, PLURAL)
def by_colour(spec, name, **_):
    return {spec.get("colour"): name}


@kopf.timer(GROUP, VERSION, PLURAL, interval=0.5, labels={"timed": "yes"})
def ticked(name, **_):
    SEEN.append(("tick", name))


# === Who uses it ===


def check(function):
    CHECKS.append(function)
    return function


def eventually(question, seconds=60):
    until = time.monotonic() + seconds
    while True:
        try:
            found = question()
            if found:
                return found
            last = found
        except ApiException as refusal:
            last = refusal
        if time.monotonic() > until:
            raise AssertionError(f"not in time: {last}; seen {SEEN[-12:]}")
        time.sleep(0.1)


def refused(code, reason, call):
    try:
        call()
    except ApiException as refusal:
        status = json.loads(refusal.body)
        assert (refusal.status, status["reason"]) == (code, reason), status
        return status
    raise AssertionError("it was accepted")


def widget(name, size=1, **more):
    metadata = {"name": name, "labels": more.pop("labels", {})}
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Widget", "metadata": metadata, "spec": {"size": size, **more}}


def create(name, size=1, **more):
    return custom.create_namespaced_custom_object(GROUP, VERSION, SPACE, PLURAL, widget(name, size, **more))


def get(name):
    return custom.get_namespaced_custom_object(GROUP, VERSION, SPACE, PLURAL, name)


def patch(name, body):
    return patches.patch_namespaced_custom_object(GROUP, VERSION, SPACE, PLURAL, name, body)


def delete(name):
    return custom.delete_namespaced_custom_object(GROUP, VERSION, SPACE, PLURAL, name)


def held(name):
    """The object, once the operator has put its finalizer on it and is done."""
    return eventually(lambda: (found := get(name)) and found.get("status", {}).get("made") and found)


@check
def the_definition_is_established():
    found = extensions.read_custom_resource_definition(f"{PLURAL}.{GROUP}")
    assert {"Established", "NamesAccepted"} <= {it.type for it in found.status.conditions if it.status == "True"}


@check
def the_kind_is_discovered():
    found = client.CustomObjectsApi().get_api_resources(GROUP, VERSION)
    assert {f"{PLURAL}", f"{PLURAL}/status", f"{PLURAL}/scale"} <= {one.name for one in found.resources}


@check
def a_created_object_is_seen():
    create("first", 3)
    eventually(lambda: ("create", "first") in SEEN)


@check
def the_operator_writes_the_status():
    assert held("first")["status"]["made"] == 3


@check
def what_a_handler_returns_is_in_the_status():
    assert eventually(lambda: {"map": "first"} in get("first")["status"].values())


@check
def the_operator_holds_the_object():
    assert f"{GROUP}/operator" in held("first")["metadata"]["finalizers"]


@check
def the_operator_remembers_what_it_handled():
    # Only then is what comes next a change of it.
    annotations = lambda: get("first")["metadata"].get("annotations", {})
    eventually(lambda: any(name.endswith("/last-handled-configuration") for name in annotations()))


@check
def the_operator_makes_what_belongs_to_it():
    found = eventually(lambda: core.read_namespaced_config_map("first", SPACE))
    owner = found.metadata.owner_references[0]
    assert (owner.kind, owner.name, owner.uid) == ("Widget", "first", get("first")["metadata"]["uid"])


@check
def defaults_are_filled_in():
    assert get("first")["spec"] == {"size": 3, "colour": "red"}


@check
def the_generation_counts_what_is_wanted():
    assert get("first")["metadata"]["generation"] == 1


@check
def a_change_is_seen_with_what_was_before():
    patch("first", {"spec": {"size": 4}})
    eventually(lambda: ("resize", "first", 3, 4) in SEEN)


@check
def a_change_is_carried_on():
    eventually(lambda: core.read_namespaced_config_map("first", SPACE).data["size"] == "4")
    eventually(lambda: get("first")["status"]["made"] == 4)


@check
def the_generation_has_counted_it():
    assert get("first")["metadata"]["generation"] == 2


@check
def raw_events_are_told():
    kinds = {seen[1] for seen in SEEN if seen[0] == "event" and seen[2] == "first"}
    assert "MODIFIED" in kinds and ({"ADDED", None} & kinds), kinds


@check
def a_status_is_a_part_of_its_own():
    body = {"status": {"note": "mine"}, "spec": {"size": 9}}
    found = patches.patch_namespaced_custom_object_status(GROUP, VERSION, SPACE, PLURAL, "first", body)
    assert (found["status"]["note"], found["spec"]["size"]) == ("mine", 4)


@check
def an_object_is_scaled():
    scale = custom.get_namespaced_custom_object_scale(GROUP, VERSION, SPACE, PLURAL, "first")
    assert scale["spec"]["replicas"] == 4
    patches.patch_namespaced_custom_object_scale(GROUP, VERSION, SPACE, PLURAL, "first", {"spec": {"replicas": 5}})
    eventually(lambda: ("resize", "first", 4, 5) in SEEN)


@check
def a_schema_is_kept():
    status = refused(422, "Invalid", lambda: create("large", 11))
    assert status["details"]["causes"][0]["field"] == "spec.size", status


@check
def what_is_required_is_missed():
    body = widget("nothing")
    del body["spec"]["size"]
    call = lambda: custom.create_namespaced_custom_object(GROUP, VERSION, SPACE, PLURAL, body)
    status = refused(422, "Invalid", call)
    assert "spec.size: Required value" in status["message"], status


@check
def a_type_is_kept():
    refused(422, "Invalid", lambda: create("wordy", "many"))


@check
def a_rule_is_kept():
    status = refused(422, "Invalid", lambda: create("big-blue", 7, colour="blue"))
    assert "a blue widget is small" in status["message"], status


@check
def a_rule_is_kept_of_changes():
    refused(422, "Invalid", lambda: patch("first", {"spec": {"colour": "green"}}))


@check
def unknown_fields_are_pruned():
    create("pruned", 1, shape="round")
    assert "shape" not in get("pruned")["spec"]


@check
def a_name_is_taken_once():
    refused(409, "AlreadyExists", lambda: create("first"))


@check
def a_stale_replacement_is_a_conflict():
    found = held("pruned")
    patch("pruned", {"metadata": {"labels": {"touched": "yes"}}})
    call = lambda: custom.replace_namespaced_custom_object(GROUP, VERSION, SPACE, PLURAL, "pruned", found)
    refused(409, "Conflict", call)


@check
def objects_are_selected_by_label():
    found = custom.list_namespaced_custom_object(GROUP, VERSION, SPACE, PLURAL, label_selector="touched=yes")
    assert [item["metadata"]["name"] for item in found["items"]] == ["pruned"]


@check
def a_list_has_a_version_to_go_on_from():
    found = custom.list_cluster_custom_object(GROUP, VERSION, PLURAL)
    assert int(found["metadata"]["resourceVersion"]) > 0 and found["kind"] == "WidgetList"


@check
def built_in_kinds_are_handled_too():
    body = {"metadata": {"name": "seen", "labels": {"watched": "yes"}}}
    core.create_namespaced_config_map(SPACE, body)
    eventually(lambda: ("map", "seen") in SEEN)


@check
def what_is_not_selected_is_not_handled():
    core.create_namespaced_config_map(SPACE, {"metadata": {"name": "unseen"}})
    core.create_namespaced_config_map(SPACE, {"metadata": {"name": "seen-later", "labels": {"watched": "yes"}}})
    eventually(lambda: ("map", "seen-later") in SEEN)
    assert ("map", "unseen") not in SEEN


@check
def timers_go_on():
    create("timed", 1, labels={"timed": "yes"})
    eventually(lambda: SEEN.count(("tick", "timed")) >= 2)


@check
def many_at_once_are_all_seen():
    names = [f"many-{number}" for number in range(10)]
    for name in names:
        create(name)
    eventually(lambda: all(("create", name) in SEEN for name in names))


@check
def the_operator_lets_go_of_what_is_deleted():
    delete("first")
    eventually(lambda: ("delete", "first") in SEEN)

    def is_gone():
        try:
            get("first")
        except ApiException as refusal:
            return refusal.status == 404
        return False

    eventually(is_gone)


@check
def what_belonged_to_it_goes_too():
    eventually(lambda: "first" not in [one.metadata.name for one in core.list_namespaced_config_map(SPACE).items])


@check
def what_happened_too_long_ago_is_gone():
    # The history keeps 64 MiB: so many of the largest ConfigMaps push out what came before them.
    known = custom.list_cluster_custom_object(GROUP, VERSION, PLURAL)["metadata"]["resourceVersion"]
    core.create_namespaced_config_map(SPACE, {"metadata": {"name": "large"}})
    for number in range(80):
        data = {"a": str(number % 10) * (900 << 10)}
        core.patch_namespaced_config_map("large", SPACE, {"data": data}, _preload_content=False)
    core.delete_namespaced_config_map("large", SPACE)
    exact = {"resource_version": known, "resource_version_match": "Exact"}
    refused(410, "Expired", lambda: custom.list_cluster_custom_object(GROUP, VERSION, PLURAL, **exact))


@check
def the_operator_goes_on_all_the_same():
    create("late", 2)
    eventually(lambda: ("create", "late") in SEEN)


@check
def everything_goes_with_a_finalizer_each():
    custom.delete_collection_namespaced_custom_object(GROUP, VERSION, SPACE, PLURAL)
    eventually(lambda: not custom.list_namespaced_custom_object(GROUP, VERSION, SPACE, PLURAL)["items"])


def main():
    extensions.create_custom_resource_definition(DEFINITION)
    core.create_namespace({"metadata": {"name": SPACE}})
    is_established = lambda: any(
        one.type == "Established" and one.status == "True"
        for one in extensions.read_custom_resource_definition(f"{PLURAL}.{GROUP}").status.conditions or []
    )
    eventually(is_established)
    ready = threading.Event()
    operator = threading.Thread(
        target=lambda: asyncio.run(kopf.operator(namespaces=[SPACE], standalone=True, ready_flag=ready)), daemon=True
    )
    operator.start()
    assert ready.wait(60), "the operator did not begin"
    for function in CHECKS:
        try:
            function()
        except Exception as why:
            where = traceback.extract_tb(why.__traceback__)[-1]
            words = " ".join(str(why).split())[:600]
            print(f"not ok {function.__name__} line {where.lineno}: {type(why).__name__}: {words}", flush=True)
        else:
            print(f"ok {function.__name__}", flush=True)
    extensions.delete_custom_resource_definition(f"{PLURAL}.{GROUP}")


if __name__ == "__main__":
    main()
