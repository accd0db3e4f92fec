// What Node's client of Kubernetes asks of a cluster. Prints a line for each check: `ok NAME` or `not ok NAME WHY`.
// The client is not beside this file: setup.sh says where it is, and the story where that is.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import path from "node:path";

const home = createRequire(path.join(process.env.CLIENT_HOME, "package.json"));
const k8s = await import(pathToFileURL(home.resolve("@kubernetes/client-node")).href);

const SPACE = "node-checks";
const checks = [];
const check = (name, run) => checks.push([name, run]);

const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const batch = config.makeApiClient(k8s.BatchV1Api);
const rbac = config.makeApiClient(k8s.RbacAuthorizationV1Api);
const network = config.makeApiClient(k8s.NetworkingV1Api);
const scaling = config.makeApiClient(k8s.AutoscalingV2Api);
const policy = config.makeApiClient(k8s.PolicyV1Api);
const coordination = config.makeApiClient(k8s.CoordinationV1Api);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);

const namespace = SPACE;
const map = (name, data, labels) => ({ metadata: { name, labels }, data });
const create = (name, data, labels, more) =>
  core.createNamespacedConfigMap({ namespace, body: map(name, data, labels), ...more });
const read = (name) => core.readNamespacedConfigMap({ namespace, name });
const list = (more) => core.listNamespacedConfigMap({ namespace, ...more });
const pods = (app, more) => ({
  metadata: { labels: { app } },
  spec: { containers: [{ name: "main", image: "nothing:v1" }], ...more },
});
const deployment = (name) => ({
  metadata: { name },
  spec: { replicas: 0, selector: { matchLabels: { app: name } }, template: pods(name) },
});

function equal(found, expected) {
  const [one, other] = [JSON.stringify(found), JSON.stringify(expected)];
  if (one !== other) throw new Error(`${one} instead of ${other}`);
}

function holds(so, what) {
  if (!so) throw new Error(what);
}

/** The Status that a call is refused with. */
async function refused(code, reason, call) {
  let answer;
  try {
    answer = await call();
  } catch (refusal) {
    if (refusal.code === undefined) throw refusal;
    const status = typeof refusal.body === "string" ? JSON.parse(refusal.body) : refusal.body;
    equal([refusal.code, status.reason], [code, reason]);
    return status;
  }
  throw new Error(`it was accepted: ${JSON.stringify(answer)}`);
}

const typed = (type) => k8s.setHeaderOptions("Content-Type", type);
const patch = (name, body, type, more) =>
  core.patchNamespacedConfigMap({ namespace, name, body, ...more }, typed(type));

/** Patience with what others have to do. */
const limit = (promise, what) =>
  Promise.race([
    promise,
    new Promise((_, refuse) => setTimeout(() => refuse(new Error(`not in time: ${what}`)), 60_000).unref()),
  ]);

/** The first `count` events of a watch. */
function watched(query, count) {
  const found = [];
  return limit(
    new Promise((resolve, refuse) => {
      let request;
      const done = (why) => (why && why.name !== "AbortError" ? refuse(why) : resolve(found));
      const told = (type, object) => {
        found.push([type, type === "ERROR" ? object.code : object.metadata.name]);
        if (found.length === count) {
          request?.abort();
          resolve(found);
        }
      };
      new k8s.Watch(config)
        .watch(`/api/v1/namespaces/${SPACE}/configmaps`, query, told, done)
        .then((started) => {
          request = started;
          if (found.length >= count) request.abort();
        }, refuse);
    }),
    "a watch",
  );
}

// === Objects ===

check("version_is_told", async () => {
  const told = await config.makeApiClient(k8s.VersionApi).getCode();
  equal([told.major, told.minor.slice(0, 2)], ["1", "33"]);
});

check("groups_and_resources_are_discovered", async () => {
  const groups = (await config.makeApiClient(k8s.ApisApi).getAPIVersions()).groups.map((group) => group.name);
  for (const name of ["apps", "batch", "policy", "networking.k8s.io"]) holds(groups.includes(name), name);
  const resources = (await core.getAPIResources()).resources.map((resource) => resource.name);
  holds(resources.includes("configmaps"), "configmaps");
});

check("an_object_is_made_read_and_deleted", async () => {
  const made = await create("one", { a: "1" });
  holds(made.metadata.uid && made.metadata.resourceVersion, "the server's fields");
  equal((await read("one")).data, { a: "1" });
  await core.deleteNamespacedConfigMap({ namespace, name: "one" });
  await refused(404, "NotFound", () => read("one"));
});

check("a_name_is_taken_once", async () => {
  await create("taken");
  await refused(409, "AlreadyExists", () => create("taken"));
});

check("names_are_generated", async () => {
  const body = { metadata: { generateName: "made-" } };
  const made = await core.createNamespacedConfigMap({ namespace, body });
  holds(/^made-.{5}$/.test(made.metadata.name), made.metadata.name);
});

check("a_stale_replacement_is_a_conflict", async () => {
  const body = await create("stale", { a: "1" });
  await patch("stale", { data: { a: "2" } }, k8s.PatchStrategy.MergePatch);
  const replace = () => core.replaceNamespacedConfigMap({ namespace, name: "stale", body });
  const status = await refused(409, "Conflict", replace);
  holds(status.message.includes("the object has been modified"), status.message);
});

check("a_fresh_replacement_is_stored", async () => {
  const body = await create("fresh", { a: "1" });
  body.data = { b: "2" };
  equal((await core.replaceNamespacedConfigMap({ namespace, name: "fresh", body })).data, { b: "2" });
});

check("what_is_invalid_is_told_by_field", async () => {
  const status = await refused(422, "Invalid", () => create("A_b"));
  equal(status.details.causes[0].field, "metadata.name");
});

check("a_dry_run_stores_nothing", async () => {
  await create("dry", {}, {}, { dryRun: "All" });
  await refused(404, "NotFound", () => read("dry"));
});

check("secrets_are_bytes", async () => {
  const body = { metadata: { name: "secret" }, stringData: { a: "b" } };
  const made = await core.createNamespacedSecret({ namespace, body });
  equal([made.type, atob(made.data.a)], ["Opaque", "b"]);
});

check("finalizers_hold_what_is_deleted", async () => {
  const body = { metadata: { name: "held", finalizers: ["example.com/hold"] } };
  await core.createNamespacedConfigMap({ namespace, body });
  await core.deleteNamespacedConfigMap({ namespace, name: "held" });
  holds((await read("held")).metadata.deletionTimestamp instanceof Date, "a time");
  await patch("held", { metadata: { finalizers: null } }, k8s.PatchStrategy.MergePatch);
  await refused(404, "NotFound", () => read("held"));
});

check("a_precondition_guards_a_deletion", async () => {
  await create("guarded");
  const body = { preconditions: { uid: "another" } };
  await refused(409, "Conflict", () => core.deleteNamespacedConfigMap({ namespace, name: "guarded", body }));
});

check("a_collection_is_deleted_by_label", async () => {
  for (const name of ["many-1", "many-2"]) await create(name, {}, { group: "many" });
  await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: "group=many" });
  equal((await list({ labelSelector: "group=many" })).items, []);
});

// === Patches ===

check("a_merge_patch_removes_by_null", async () => {
  await create("merged", { a: "1", b: "2" });
  const found = await patch("merged", { data: { a: null, c: "3" } }, k8s.PatchStrategy.MergePatch);
  equal(found.data, { b: "2", c: "3" });
});

check("a_json_patch_is_a_list_of_operations", async () => {
  await create("operations", { a: "1" });
  const add = [{ op: "add", path: "/data/b", value: "2" }];
  equal((await patch("operations", add, k8s.PatchStrategy.JsonPatch)).data, { a: "1", b: "2" });
  const test = [{ op: "test", path: "/data/a", value: "9" }];
  await refused(422, "Invalid", () => patch("operations", test, k8s.PatchStrategy.JsonPatch));
});

check("a_strategic_patch_merges_by_name", async () => {
  await apps.createNamespacedDeployment({ namespace, body: deployment("strategic") });
  const containers = [{ name: "main", env: [{ name: "A", value: "1" }] }];
  const body = { spec: { template: { spec: { containers } } } };
  const type = typed(k8s.PatchStrategy.StrategicMergePatch);
  const found = await apps.patchNamespacedDeployment({ namespace, name: "strategic", body }, type);
  const main = found.spec.template.spec.containers[0];
  equal([main.image, main.env[0].value], ["nothing:v1", "1"]);
});

const apply = (name, data, fieldManager, force) => {
  const body = { apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data };
  return patch(name, body, k8s.PatchStrategy.ServerSideApply, { fieldManager, force });
};

check("an_apply_makes_and_owns", async () => {
  const made = await apply("applied", { a: "1" }, "one");
  equal(made.metadata.managedFields.map((entry) => [entry.manager, entry.operation]), [["one", "Apply"]]);
});

check("an_apply_that_takes_anothers_field_is_a_conflict", async () => {
  await apply("shared", { a: "1" }, "one");
  const status = await refused(409, "Conflict", () => apply("shared", { a: "2" }, "two"));
  equal(status.details.causes[0].field, ".data.a");
  equal((await apply("shared", { a: "2" }, "two", true)).data, { a: "2" });
});

check("what_an_apply_no_longer_wants_goes", async () => {
  await apply("less", { a: "1", b: "2" }, "one");
  equal((await apply("less", { a: "1" }, "one")).data, { a: "1" });
});

check("a_deployment_is_scaled", async () => {
  await apps.createNamespacedDeployment({ namespace, body: deployment("scaled") });
  const scale = await apps.readNamespacedDeploymentScale({ namespace, name: "scaled" });
  scale.spec.replicas = 2;
  // Whatever a controller has written meanwhile.
  delete scale.metadata.resourceVersion;
  await apps.replaceNamespacedDeploymentScale({ namespace, name: "scaled", body: scale });
  equal((await apps.readNamespacedDeployment({ namespace, name: "scaled" })).spec.replicas, 2);
  await apps.deleteNamespacedDeployment({ namespace, name: "scaled" });
});

// === Lists and watches ===

check("lists_are_selected_by_label_and_by_field", async () => {
  await create("red", {}, { colour: "red" });
  await create("blue", {}, { colour: "blue" });
  const names = async (how) => (await list(how)).items.map((item) => item.metadata.name);
  equal(await names({ labelSelector: "colour in (red, green)" }), ["red"]);
  equal(await names({ fieldSelector: "metadata.name=blue" }), ["blue"]);
  await refused(400, "BadRequest", () => names({ labelSelector: "a in b" }));
});

check("long_lists_come_in_pages", async () => {
  for (let number = 0; number < 7; number++) await create(`page-${number}`, {}, { group: "pages" });
  const names = [];
  let token, pages = 0;
  do {
    const page = await list({ labelSelector: "group=pages", limit: 3, _continue: token });
    names.push(...page.items.map((item) => item.metadata.name));
    token = page.metadata._continue;
    pages++;
  } while (token);
  equal([pages, names.length, new Set(names).size], [3, 7, 7]);
});

check("a_watch_tells_what_happens", async () => {
  const labelSelector = "seen=yes";
  const resourceVersion = (await list({ labelSelector })).metadata.resourceVersion;
  const events = watched({ labelSelector, resourceVersion }, 3);
  await create("seen", {}, { seen: "yes" });
  await patch("seen", { data: { a: "1" } }, k8s.PatchStrategy.MergePatch);
  await core.deleteNamespacedConfigMap({ namespace, name: "seen" });
  equal(await events, [["ADDED", "seen"], ["MODIFIED", "seen"], ["DELETED", "seen"]]);
});

check("a_watch_goes_on_where_it_was", async () => {
  const labelSelector = "resumed=yes";
  const first = await create("resumed-1", {}, { resumed: "yes" });
  await create("resumed-2", {}, { resumed: "yes" });
  const resourceVersion = first.metadata.resourceVersion;
  equal(await watched({ labelSelector, resourceVersion }, 1), [["ADDED", "resumed-2"]]);
});

check("what_leaves_a_selection_is_told_as_deleted", async () => {
  const made = await create("leaving", {}, { inside: "yes" });
  await patch("leaving", { metadata: { labels: { inside: "no" } } }, k8s.PatchStrategy.MergePatch);
  const query = { labelSelector: "inside=yes", resourceVersion: made.metadata.resourceVersion };
  equal(await watched(query, 1), [["DELETED", "leaving"]]);
});

check("a_watch_ends_in_its_time", async () => {
  const resourceVersion = (await list({})).metadata.resourceVersion;
  equal(await watched({ labelSelector: "no=one", resourceVersion, timeoutSeconds: 1 }, 1), []);
});

check("an_informer_knows_what_is_there", async () => {
  const labelSelector = "informed=yes";
  await create("informed-1", {}, { informed: "yes" });
  const path = `/api/v1/namespaces/${SPACE}/configmaps`;
  const informer = k8s.makeInformer(config, path, () => list({ labelSelector }), labelSelector);
  const told = [];
  const both = new Promise((resolve) => {
    for (const verb of ["add", "update", "delete"]) {
      informer.on(verb, (object) => {
        told.push(`${verb} ${object.metadata.name}`);
        if (told.length === 3) resolve();
      });
    }
  });
  await informer.start();
  await create("informed-2", {}, { informed: "yes" });
  await core.deleteNamespacedConfigMap({ namespace, name: "informed-1" });
  await limit(both, "three events");
  equal(told, ["add informed-1", "add informed-2", "delete informed-1"]);
  equal(informer.list().map((object) => object.metadata.name), ["informed-2"]);
  await informer.stop();
});

check("what_happened_too_long_ago_is_gone", async () => {
  // The history keeps 64 MiB: so many of the largest ConfigMaps push out what came before them.
  const known = (await create("ancient")).metadata.resourceVersion;
  await create("large");
  for (let number = 0; number < 80; number++) {
    const data = { a: String(number % 10).repeat(900 << 10) };
    await patch("large", { data }, k8s.PatchStrategy.MergePatch);
  }
  await core.deleteNamespacedConfigMap({ namespace, name: "large" });
  const exact = { resourceVersion: known, resourceVersionMatch: "Exact" };
  await refused(410, "Expired", () => list(exact));
  equal(await watched({ resourceVersion: known }, 1), [["ERROR", 410]]);
});

// === Other kinds ===

check("a_namespace_takes_all_with_it", async () => {
  await core.createNamespace({ body: { metadata: { name: "node-brief" } } });
  await core.createNamespacedConfigMap({ namespace: "node-brief", body: map("inside") });
  await core.deleteNamespace({ name: "node-brief" });
  const gone = async () => {
    while (true) {
      const found = await core.listNamespace({ fieldSelector: "metadata.name=node-brief" });
      if (found.items.length === 0) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  await limit(gone(), "the end of a namespace");
});

check("a_service_gets_an_address", async () => {
  const body = { metadata: { name: "web" }, spec: { ports: [{ port: 80 }] } };
  const made = await core.createNamespacedService({ namespace, body });
  holds(made.spec.clusterIP.startsWith("10.43."), made.spec.clusterIP);
  equal(made.spec.ports[0].targetPort, 80);
});

check("a_pod_is_completed", async () => {
  const body = { metadata: { name: "alone" }, spec: { ...pods("alone").spec, schedulerName: "nobody" } };
  const made = await core.createNamespacedPod({ namespace, body });
  equal([made.spec.restartPolicy, made.status.phase], ["Always", "Pending"]);
});

check("a_job_and_a_cron_job_are_stored", async () => {
  const spec = { suspend: true, template: pods("job", { restartPolicy: "Never" }) };
  const job = await batch.createNamespacedJob({ namespace, body: { metadata: { name: "job" }, spec } });
  equal(job.spec.completionMode, "NonIndexed");
  const cron = { schedule: "0 0 1 1 *", suspend: true, jobTemplate: { spec } };
  const made = await batch.createNamespacedCronJob({ namespace, body: { metadata: { name: "cron" }, spec: cron } });
  equal(made.spec.concurrencyPolicy, "Allow");
});

check("an_autoscaler_and_a_budget_are_stored", async () => {
  const scaleTargetRef = { apiVersion: "apps/v1", kind: "Deployment", name: "nobody" };
  const body = { metadata: { name: "scaler" }, spec: { scaleTargetRef, maxReplicas: 3 } };
  const made = await scaling.createNamespacedHorizontalPodAutoscaler({ namespace, body });
  equal(made.spec.metrics[0].resource.target.averageUtilization, 80);
  const spec = { minAvailable: "50%", selector: { matchLabels: { a: "b" } } };
  const budget = await policy.createNamespacedPodDisruptionBudget({ namespace, body: { metadata: { name: "budget" }, spec } });
  equal(budget.spec.minAvailable, "50%");
});

check("a_policy_and_an_ingress_are_stored", async () => {
  const spec = { podSelector: { matchLabels: { nobody: "at-all" } } };
  const made = await network.createNamespacedNetworkPolicy({ namespace, body: { metadata: { name: "policy" }, spec } });
  equal(made.spec.policyTypes, ["Ingress"]);
  const defaultBackend = { service: { name: "web", port: { number: 80 } } };
  const body = { metadata: { name: "edge" }, spec: { defaultBackend } };
  equal((await network.createNamespacedIngress({ namespace, body })).spec.defaultBackend, defaultBackend);
});

check("a_role_is_bound", async () => {
  const rules = [{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }];
  await rbac.createNamespacedRole({ namespace, body: { metadata: { name: "reader" }, rules } });
  const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "reader" };
  const body = { metadata: { name: "reads" }, roleRef, subjects: [{ kind: "User", name: "jane" }] };
  const made = await rbac.createNamespacedRoleBinding({ namespace, body });
  equal(made.subjects[0].apiGroup, "rbac.authorization.k8s.io");
});

check("a_lease_is_renewed_with_its_version", async () => {
  const body = { metadata: { name: "mine" }, spec: { holderIdentity: "me", leaseDurationSeconds: 15 } };
  const made = await coordination.createNamespacedLease({ namespace, body });
  made.spec.leaseTransitions = 1;
  const renew = () => coordination.replaceNamespacedLease({ namespace, name: "mine", body: made });
  equal((await renew()).spec.leaseTransitions, 1);
  await refused(409, "Conflict", renew);
  delete made.metadata.resourceVersion;
  await refused(422, "Invalid", renew);
});

check("objects_of_any_kind_are_made_and_listed", async () => {
  const body = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "any", namespace } };
  await objects.create(body);
  equal((await objects.read(body)).metadata.name, "any");
  const found = await objects.list("v1", "ConfigMap", SPACE);
  holds(found.items.some((item) => item.metadata.name === "any"), "any");
  await objects.delete(body);
});

await core.createNamespace({ body: { metadata: { name: SPACE } } });
for (const [name, run] of checks) {
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (why) {
    console.log(`not ok ${name} ${String(why.message ?? why).replace(/\s+/g, " ").slice(0, 600)}`);
  }
}
// What is left of connections is nobody's concern.
process.exit(0);
