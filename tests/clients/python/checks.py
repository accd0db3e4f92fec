"""What Python's client of Kubernetes asks of a cluster. Prints a line for each check: `ok NAME` or `not ok NAME WHY`."""

import base64
import json
import threading
import traceback

from kubernetes import client, config, dynamic, stream, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock

SPACE = "python-checks"
CHECKS = []

config.load_kube_config()
core = client.CoreV1Api()
apps = client.AppsV1Api()
batch = client.BatchV1Api()
rbac = client.RbacAuthorizationV1Api()
network = client.NetworkingV1Api()
scaling = client.AutoscalingV2Api()
policy = client.PolicyV1Api()
# Streams are asked for by a client of their own: while they are, every request of it would be one.
streams = client.CoreV1Api(client.ApiClient())
coordination = client.CoordinationV1Api()


def check(function):
    CHECKS.append(function)
    return function


def config_map(name, data=None, labels=None):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels), data=data)


def refused(code, reason, call):
    """The Status that a call is refused with."""
    try:
        call()
    except ApiException as refusal:
        status = json.loads(refusal.body)
        assert (refusal.status, status["reason"]) == (code, reason), status
        return status
    raise AssertionError("it was accepted")


def pods_of(app, **more):
    return client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"app": app}),
        spec=client.V1PodSpec(containers=[client.V1Container(name="main", image="nothing:v1")], **more),
    )


def deployment(name, replicas=0):
    selector = client.V1LabelSelector(match_labels={"app": name})
    spec = client.V1DeploymentSpec(replicas=replicas, selector=selector, template=pods_of(name))
    return client.V1Deployment(metadata=client.V1ObjectMeta(name=name), spec=spec)


# === Objects ===


@check
def version_is_told():
    told = client.VersionApi().get_code()
    assert (told.major, told.minor[:2]) == ("1", "33"), told


@check
def groups_and_resources_are_discovered():
    groups = {group.name for group in client.ApisApi().get_api_versions().groups}
    assert {"apps", "batch", "autoscaling", "policy", "networking.k8s.io", "rbac.authorization.k8s.io"} <= groups
    assert "configmaps" in {resource.name for resource in core.get_api_resources().resources}


@check
def an_object_is_made_read_and_deleted():
    made = core.create_namespaced_config_map(SPACE, config_map("one", {"a": "1"}))
    assert made.metadata.uid and made.metadata.resource_version
    assert core.read_namespaced_config_map("one", SPACE).data == {"a": "1"}
    core.delete_namespaced_config_map("one", SPACE)
    refused(404, "NotFound", lambda: core.read_namespaced_config_map("one", SPACE))


@check
def a_name_is_taken_once():
    core.create_namespaced_config_map(SPACE, config_map("taken"))
    refused(409, "AlreadyExists", lambda: core.create_namespaced_config_map(SPACE, config_map("taken")))


@check
def names_are_generated():
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(generate_name="made-"))
    names = {core.create_namespaced_config_map(SPACE, body).metadata.name for _ in range(3)}
    assert len(names) == 3 and all(name.startswith("made-") for name in names), names


@check
def a_stale_replacement_is_a_conflict():
    made = core.create_namespaced_config_map(SPACE, config_map("stale", {"a": "1"}))
    core.patch_namespaced_config_map("stale", SPACE, {"data": {"a": "2"}})
    made.data = {"a": "3"}
    status = refused(409, "Conflict", lambda: core.replace_namespaced_config_map("stale", SPACE, made))
    assert "the object has been modified" in status["message"]


@check
def a_fresh_replacement_is_stored():
    made = core.create_namespaced_config_map(SPACE, config_map("fresh", {"a": "1"}))
    made.data = {"b": "2"}
    assert core.replace_namespaced_config_map("fresh", SPACE, made).data == {"b": "2"}


@check
def what_is_invalid_is_told_by_field():
    status = refused(422, "Invalid", lambda: core.create_namespaced_config_map(SPACE, config_map("A_b")))
    assert status["details"]["causes"][0]["field"] == "metadata.name"


@check
def a_dry_run_stores_nothing():
    core.create_namespaced_config_map(SPACE, config_map("dry"), dry_run="All")
    refused(404, "NotFound", lambda: core.read_namespaced_config_map("dry", SPACE))


@check
def unknown_fields_are_refused_when_strict():
    body = {"metadata": {"name": "strict"}, "date": {"a": "b"}}
    status = refused(
        400, "BadRequest", lambda: core.create_namespaced_config_map(SPACE, body, field_validation="Strict")
    )
    assert 'unknown field "date"' in status["message"]


@check
def secrets_are_bytes():
    made = core.create_namespaced_secret(
        SPACE, client.V1Secret(metadata=client.V1ObjectMeta(name="secret"), string_data={"a": "b"})
    )
    assert made.type == "Opaque" and base64.b64decode(made.data["a"]) == b"b"


@check
def an_owner_takes_what_it_owns_with_it():
    owner = core.create_namespaced_config_map(SPACE, config_map("owner"))
    owned = config_map("owned")
    owned.metadata.owner_references = [
        client.V1OwnerReference(api_version="v1", kind="ConfigMap", name="owner", uid=owner.metadata.uid)
    ]
    owned = core.create_namespaced_config_map(SPACE, owned)
    core.delete_namespaced_config_map("owner", SPACE, propagation_policy="Background")
    selector = "metadata.name=owned"
    events = watch.Watch().stream(
        core.list_namespaced_config_map,
        SPACE,
        field_selector=selector,
        resource_version=owned.metadata.resource_version,
        timeout_seconds=60,
    )
    assert next(event["type"] for event in events) == "DELETED"


@check
def finalizers_hold_what_is_deleted():
    body = config_map("held")
    body.metadata.finalizers = ["example.com/hold"]
    core.create_namespaced_config_map(SPACE, body)
    core.delete_namespaced_config_map("held", SPACE)
    assert core.read_namespaced_config_map("held", SPACE).metadata.deletion_timestamp
    core.patch_namespaced_config_map("held", SPACE, {"metadata": {"finalizers": None}})
    refused(404, "NotFound", lambda: core.read_namespaced_config_map("held", SPACE))


@check
def a_precondition_guards_a_deletion():
    core.create_namespaced_config_map(SPACE, config_map("guarded"))
    options = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="another"))
    refused(409, "Conflict", lambda: core.delete_namespaced_config_map("guarded", SPACE, body=options))


@check
def a_collection_is_deleted_by_label():
    for name in ["many-1", "many-2"]:
        core.create_namespaced_config_map(SPACE, config_map(name, labels={"group": "many"}))
    core.delete_collection_namespaced_config_map(SPACE, label_selector="group=many")
    assert core.list_namespaced_config_map(SPACE, label_selector="group=many").items == []


# === Patches ===


@check
def a_strategic_patch_merges_by_name():
    apps.create_namespaced_deployment(SPACE, deployment("strategic"))
    env = [{"name": "main", "env": [{"name": "A", "value": "1"}]}]
    found = apps.patch_namespaced_deployment(
        "strategic", SPACE, {"spec": {"template": {"spec": {"containers": env}}}}
    )
    main = found.spec.template.spec.containers[0]
    assert (main.image, main.env[0].value) == ("nothing:v1", "1")


@check
def a_json_patch_is_a_list_of_operations():
    core.create_namespaced_config_map(SPACE, config_map("operations", {"a": "1"}))
    found = core.patch_namespaced_config_map("operations", SPACE, [{"op": "add", "path": "/data/b", "value": "2"}])
    assert found.data == {"a": "1", "b": "2"}
    failing = [{"op": "test", "path": "/data/a", "value": "9"}]
    refused(422, "Invalid", lambda: core.patch_namespaced_config_map("operations", SPACE, failing))


def apply(name, data, manager, force=False):
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    kind = dynamics.resources.get(api_version="v1", kind="ConfigMap")
    return dynamics.server_side_apply(
        kind, body=body, name=name, namespace=SPACE, field_manager=manager, force_conflicts=force
    )


@check
def an_apply_makes_and_owns():
    made = apply("applied", {"a": "1"}, "one")
    assert [entry.manager for entry in made.metadata.managedFields] == ["one"]


@check
def an_apply_that_takes_anothers_field_is_a_conflict():
    apply("shared", {"a": "1"}, "one")
    try:
        apply("shared", {"a": "2"}, "two")
    except dynamic.exceptions.ConflictError as refusal:
        assert 'conflict with "one": .data.a' in json.loads(refusal.body)["message"]
    else:
        raise AssertionError("it was accepted")
    assert apply("shared", {"a": "2"}, "two", force=True).data.a == "2"


@check
def what_an_apply_no_longer_wants_goes():
    apply("less", {"a": "1", "b": "2"}, "one")
    assert apply("less", {"a": "1"}, "one").to_dict()["data"] == {"a": "1"}


@check
def a_deployment_is_scaled():
    apps.create_namespaced_deployment(SPACE, deployment("scaled"))
    apps.patch_namespaced_deployment_scale("scaled", SPACE, {"spec": {"replicas": 2}})
    assert apps.read_namespaced_deployment_scale("scaled", SPACE).spec.replicas == 2
    assert apps.read_namespaced_deployment("scaled", SPACE).spec.replicas == 2
    apps.delete_namespaced_deployment("scaled", SPACE)


@check
def a_status_is_a_part_of_its_own():
    job = client.V1Job(
        metadata=client.V1ObjectMeta(name="part"),
        spec=client.V1JobSpec(suspend=True, template=pods_of("part", restart_policy="Never")),
    )
    batch.create_namespaced_job(SPACE, job)
    found = batch.patch_namespaced_job_status("part", SPACE, {"status": {"active": 0, "failed": 3}, "spec": {"parallelism": 9}})
    assert (found.status.failed, found.spec.parallelism) == (3, 1)


# === Lists and watches ===


@check
def lists_are_selected_by_label_and_by_field():
    core.create_namespaced_config_map(SPACE, config_map("red", labels={"colour": "red"}))
    core.create_namespaced_config_map(SPACE, config_map("blue", labels={"colour": "blue"}))
    names = lambda **how: [item.metadata.name for item in core.list_namespaced_config_map(SPACE, **how).items]
    assert names(label_selector="colour in (red, green)") == ["red"]
    assert names(label_selector="colour,colour!=red") == ["blue"]
    assert names(field_selector="metadata.name=blue") == ["blue"]
    refused(400, "BadRequest", lambda: names(label_selector="a in b"))


@check
def long_lists_come_in_pages():
    for number in range(7):
        core.create_namespaced_config_map(SPACE, config_map(f"page-{number}", labels={"group": "pages"}))
    names, token, pages = [], None, 0
    while True:
        page = core.list_namespaced_config_map(SPACE, label_selector="group=pages", limit=3, _continue=token)
        names += [item.metadata.name for item in page.items]
        pages += 1
        token = page.metadata._continue
        if not token:
            break
    assert (pages, names) == (3, [f"page-{number}" for number in range(7)]), names


def told(events, count):
    found = []
    for event in events:
        found.append((event["type"], event["object"].metadata.name))
        if len(found) == count:
            return found
    return found


@check
def a_watch_tells_what_happens():
    start = core.list_namespaced_config_map(SPACE, label_selector="seen=yes").metadata.resource_version
    core.create_namespaced_config_map(SPACE, config_map("seen", labels={"seen": "yes"}))
    core.patch_namespaced_config_map("seen", SPACE, {"data": {"a": "1"}})
    core.delete_namespaced_config_map("seen", SPACE)
    events = watch.Watch().stream(
        core.list_namespaced_config_map, SPACE, label_selector="seen=yes", resource_version=start, timeout_seconds=30
    )
    assert told(events, 3) == [("ADDED", "seen"), ("MODIFIED", "seen"), ("DELETED", "seen")]


@check
def a_watch_goes_on_where_it_was():
    watching = watch.Watch()
    start = core.list_namespaced_config_map(SPACE, label_selector="resumed=yes").metadata.resource_version
    core.create_namespaced_config_map(SPACE, config_map("resumed-1", labels={"resumed": "yes"}))
    how = {"label_selector": "resumed=yes", "timeout_seconds": 30}
    first = told(watching.stream(core.list_namespaced_config_map, SPACE, resource_version=start, **how), 1)
    known = watching.resource_version
    core.create_namespaced_config_map(SPACE, config_map("resumed-2", labels={"resumed": "yes"}))
    second = told(watch.Watch().stream(core.list_namespaced_config_map, SPACE, resource_version=known, **how), 1)
    assert (first, second) == ([("ADDED", "resumed-1")], [("ADDED", "resumed-2")])


@check
def what_leaves_a_selection_is_told_as_deleted():
    core.create_namespaced_config_map(SPACE, config_map("leaving", labels={"inside": "yes"}))
    start = core.list_namespaced_config_map(SPACE, label_selector="inside=yes").metadata.resource_version
    core.patch_namespaced_config_map("leaving", SPACE, {"metadata": {"labels": {"inside": "no"}}})
    events = watch.Watch().stream(
        core.list_namespaced_config_map, SPACE, label_selector="inside=yes", resource_version=start, timeout_seconds=30
    )
    assert told(events, 1) == [("DELETED", "leaving")]


@check
def a_watch_ends_in_its_time():
    start = core.list_namespaced_config_map(SPACE, label_selector="no=one").metadata.resource_version
    events = watch.Watch().stream(
        core.list_namespaced_config_map, SPACE, label_selector="no=one", resource_version=start, timeout_seconds=1
    )
    assert list(events) == []


@check
def what_happened_too_long_ago_is_gone():
    # The history keeps 64 MiB: so many of the largest ConfigMaps push out what came before them.
    first = core.create_namespaced_config_map(SPACE, config_map("ancient"))
    core.create_namespaced_config_map(SPACE, config_map("large"))
    for number in range(80):
        data = {"a": str(number % 10) * (900 << 10)}
        core.patch_namespaced_config_map("large", SPACE, {"data": data}, _preload_content=False)
    core.delete_namespaced_config_map("large", SPACE)
    known = first.metadata.resource_version
    exact = {"resource_version": known, "resource_version_match": "Exact"}
    refused(410, "Expired", lambda: core.list_namespaced_config_map(SPACE, **exact))
    try:
        # The client itself begins anew once, and then gives up with the same words.
        events = watch.Watch().stream(core.list_namespaced_config_map, SPACE, resource_version=known, timeout_seconds=30)
        next(iter(events))
    except ApiException as refusal:
        assert refusal.status == 410 and "too old resource version" in refusal.reason, refusal
    else:
        raise AssertionError("it was told")


# === Other kinds ===


@check
def a_namespace_takes_all_with_it():
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name="python-brief")))
    core.create_namespaced_config_map("python-brief", config_map("inside"))
    start = core.list_namespace().metadata.resource_version
    core.delete_namespace("python-brief")
    events = watch.Watch().stream(
        core.list_namespace, field_selector="metadata.name=python-brief", resource_version=start, timeout_seconds=60
    )
    assert any(event["type"] == "DELETED" for event in events)


@check
def a_service_gets_an_address():
    ports = [client.V1ServicePort(port=80)]
    body = client.V1Service(metadata=client.V1ObjectMeta(name="web"), spec=client.V1ServiceSpec(ports=ports))
    made = core.create_namespaced_service(SPACE, body)
    assert made.spec.cluster_ip.startswith("10.43.") and made.spec.ports[0].target_port == 80


@check
def a_pod_is_completed_and_evicted():
    body = client.V1Pod(
        metadata=client.V1ObjectMeta(name="alone"),
        spec=client.V1PodSpec(scheduler_name="nobody", containers=[client.V1Container(name="main", image="nothing:v1")]),
    )
    made = core.create_namespaced_pod(SPACE, body)
    assert (made.spec.restart_policy, made.status.phase) == ("Always", "Pending")
    eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name="alone", namespace=SPACE))
    core.create_namespaced_pod_eviction("alone", SPACE, eviction)
    refused(404, "NotFound", lambda: core.read_namespaced_pod("alone", SPACE))


@check
def a_cron_job_is_stored():
    template = client.V1JobTemplateSpec(spec=client.V1JobSpec(template=pods_of("cron", restart_policy="Never")))
    spec = client.V1CronJobSpec(schedule="0 0 1 1 *", suspend=True, job_template=template)
    batch.create_namespaced_cron_job(SPACE, client.V1CronJob(metadata=client.V1ObjectMeta(name="cron"), spec=spec))
    assert batch.read_namespaced_cron_job("cron", SPACE).spec.concurrency_policy == "Allow"


@check
def an_autoscaler_is_stored():
    target = client.V2CrossVersionObjectReference(api_version="apps/v1", kind="Deployment", name="nobody")
    spec = client.V2HorizontalPodAutoscalerSpec(scale_target_ref=target, max_replicas=3)
    body = client.V2HorizontalPodAutoscaler(metadata=client.V1ObjectMeta(name="scaler"), spec=spec)
    made = scaling.create_namespaced_horizontal_pod_autoscaler(SPACE, body)
    assert made.spec.metrics[0].resource.target.average_utilization == 80


@check
def a_budget_and_a_policy_are_stored():
    spec = client.V1PodDisruptionBudgetSpec(min_available="50%", selector=client.V1LabelSelector(match_labels={"a": "b"}))
    body = client.V1PodDisruptionBudget(metadata=client.V1ObjectMeta(name="budget"), spec=spec)
    assert policy.create_namespaced_pod_disruption_budget(SPACE, body).spec.min_available == "50%"
    spec = client.V1NetworkPolicySpec(pod_selector=client.V1LabelSelector(match_labels={"nobody": "at-all"}))
    body = client.V1NetworkPolicy(metadata=client.V1ObjectMeta(name="policy"), spec=spec)
    assert network.create_namespaced_network_policy(SPACE, body).spec.policy_types == ["Ingress"]


@check
def a_role_is_bound():
    rules = [client.V1PolicyRule(api_groups=[""], resources=["pods"], verbs=["get"])]
    rbac.create_namespaced_role(SPACE, client.V1Role(metadata=client.V1ObjectMeta(name="reader"), rules=rules))
    reference = client.V1RoleRef(api_group="rbac.authorization.k8s.io", kind="Role", name="reader")
    subjects = [client.RbacV1Subject(kind="User", name="jane")]
    body = client.V1RoleBinding(metadata=client.V1ObjectMeta(name="reads"), role_ref=reference, subjects=subjects)
    made = rbac.create_namespaced_role_binding(SPACE, body)
    assert made.subjects[0].api_group == "rbac.authorization.k8s.io"


@check
def manifests_are_made_from_files():
    documents = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "from-file"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "from-file"}, "spec": {"ports": [{"port": 80}]}},
    ]
    made = utils.create_from_yaml(client.ApiClient(), yaml_objects=documents, namespace=SPACE)
    assert len(made) == 2


@check
def the_dynamic_client_finds_kinds():
    kind = dynamics.resources.get(api_version="apps/v1", kind="Deployment")
    assert (kind.name, kind.namespaced) == ("deployments", True)
    kind.create(namespace=SPACE, body=client.ApiClient().sanitize_for_serialization(deployment("found")))
    assert "found" in [item.metadata.name for item in kind.get(namespace=SPACE).items]


@check
def one_of_two_is_elected():
    led = []

    def candidate(name):
        lock = ConfigMapLock("leader", SPACE, name)
        leading = threading.Event()

        def lead():
            led.append(name)
            leading.set()

        plan = electionconfig.Config(
            lock, lease_duration=17, renew_deadline=15, retry_period=1, onstarted_leading=lead, onstopped_leading=None
        )
        threading.Thread(target=leaderelection.LeaderElection(plan).run, daemon=True).start()
        return leading

    assert candidate("first").wait(30)
    assert not candidate("second").wait(3)
    record = core.read_namespaced_config_map("leader", SPACE).metadata.annotations
    assert json.loads(record["control-plane.alpha.kubernetes.io/leader"])["holderIdentity"] == "first"
    assert led == ["first"]


@check
def a_lease_is_renewed_with_its_version():
    spec = client.V1LeaseSpec(holder_identity="me", lease_duration_seconds=15)
    made = coordination.create_namespaced_lease(SPACE, client.V1Lease(metadata=client.V1ObjectMeta(name="mine"), spec=spec))
    made.spec.lease_transitions = 1
    renewed = coordination.replace_namespaced_lease("mine", SPACE, made)
    assert renewed.spec.lease_transitions == 1
    refused(409, "Conflict", lambda: coordination.replace_namespaced_lease("mine", SPACE, made))
    made.metadata.resource_version = None
    refused(422, "Invalid", lambda: coordination.replace_namespaced_lease("mine", SPACE, made))


# === Streams ===


def execute(*command, **how):
    wanted = {"stdout": True, "stderr": True, "stdin": False, "tty": False, **how}
    return stream.stream(streams.connect_get_namespaced_pod_exec, "box", "default", command=list(command), **wanted)


@check
def a_command_runs_in_a_pod():
    assert execute("sh", "-c", "echo $GREETING tide") == "Ahoy tide\n"
    assert "ls: /nowhere" in execute("ls", "/nowhere")
    assert execute("echo", "\u00e4", binary=True) == b"\xc3\xa4\n"


@check
def a_commands_end_is_told():
    running = execute("sh", "-c", "echo out; ls /nowhere; exit 3", _preload_content=False)
    running.run_forever(timeout=30)
    assert running.returncode == 3, running.returncode
    assert running.read_stdout() == "out\n" and "ls: /nowhere" in running.read_stderr()
    done = execute("echo", _preload_content=False)
    done.run_forever(timeout=30)
    assert done.returncode == 0


@check
def a_command_is_written_to():
    running = execute("head", "-n", "2", stdin=True, _preload_content=False)
    running.write_stdin("one\n")
    assert running.readline_stdout(timeout=30) == "one"
    running.write_stdin("two\n")
    assert running.readline_stdout(timeout=30) == "two"
    running.run_forever(timeout=30)
    assert running.returncode == 0


@check
def a_command_sits_at_a_terminal():
    running = execute("sh", stdin=True, tty=True, stderr=False, _preload_content=False)
    running.write_channel(stream.ws_client.RESIZE_CHANNEL, json.dumps({"Width": 100, "Height": 40}))
    running.write_stdin("tty\rexit 4\r")
    running.run_forever(timeout=30)
    assert "stdin: tty, stdout: tty" in running.read_stdout()
    assert running.returncode == 4


@check
def what_cannot_run_is_refused():
    missing = lambda: stream.stream(
        streams.connect_get_namespaced_pod_exec, "nobody", "default", command=["ls"], stdout=True
    )
    try:
        missing()
    except ApiException as refusal:
        assert "404" in str(refusal), refusal
    else:
        raise AssertionError("it was accepted")


@check
def a_port_is_forwarded():
    name = core.list_namespaced_pod("default", label_selector="app=hello").items[0].metadata.name
    forwarding = stream.portforward(streams.connect_get_namespaced_pod_portforward, name, "default", ports="80")
    socket = forwarding.socket(80)
    socket.setblocking(True)
    socket.sendall(b"GET / HTTP/1.1\r\nhost: hello\r\nconnection: close\r\n\r\n")
    answer = b""
    while piece := socket.recv(4096):
        answer += piece
    assert answer.startswith(b"HTTP/1.1 200 OK") and f"I am {name}.".encode() in answer, answer


@check
def a_log_is_followed():
    lines = watch.Watch().stream(core.read_namespaced_pod_log, "ticker-once", "default", timestamps=False)
    assert len(list(lines)) == 6


if __name__ == "__main__":
    dynamics = dynamic.DynamicClient(client.ApiClient())
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=SPACE)))
    for function in CHECKS:
        try:
            function()
        except Exception as why:
            where = traceback.extract_tb(why.__traceback__)[-1]
            words = " ".join(str(why).split())[:600]
            print(f"not ok {function.__name__} line {where.lineno}: {type(why).__name__}: {words}", flush=True)
        else:
            print(f"ok {function.__name__}", flush=True)
