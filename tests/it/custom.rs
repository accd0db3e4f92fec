//! Kinds that people define themselves, as the Kubernetes documentation tells it.

use std::io::{BufRead, BufReader};

use harness::{Cluster, Plan, kubectl_is_there};
use serde_json::{Value, json};

use crate::{PROGRAM, with};

/// The CronTab of the documentation, with every part that it may have.
const CRON_TAB: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: crontabs.stable.example.com
spec:
  group: stable.example.com
  scope: Namespaced
  names:
    plural: crontabs
    singular: crontab
    kind: CronTab
    shortNames: [ct]
    categories: [all]
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        description: Something that recurs.
        required: [spec]
        properties:
          spec:
            type: object
            required: [image]
            properties:
              cronSpec:
                type: string
                description: When it recurs.
                pattern: '^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$'
                default: "5 0 * * *"
              image: {type: string}
              replicas: {type: integer, minimum: 1, maximum: 10, default: 1}
              suspend: {type: boolean}
              env:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties: {name: {type: string}, value: {type: string}}
              extra: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status:
            type: object
            properties:
              replicas: {type: integer}
              labelSelector: {type: string}
              lastRun: {type: string, format: date-time}
    selectableFields:
    - jsonPath: .spec.image
    additionalPrinterColumns:
    - {name: Spec, type: string, description: The cron spec, jsonPath: .spec.cronSpec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Image, type: string, priority: 1, jsonPath: .spec.image}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.labelSelector}
"#;

const MINE: &str = "apiVersion: stable.example.com/v1
kind: CronTab
metadata: {name: mine, labels: {app: web}}
spec: {image: my-image, cronSpec: '* * * * */5', extra: {any: {thing: 1}}}
";

fn define(cluster: &Cluster, definition: &str) {
    cluster.kubectl_in(&["apply", "-f", "-"], definition).ok();
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).ok();
}

fn object(cluster: &Cluster, what: &str) -> Value {
    let text = cluster.kubectl(&["get", what, "-o", "json", "--show-managed-fields"]).ok();
    serde_json::from_str(&text).expect("JSON")
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[test]
fn a_kind_of_ones_own() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    contains(&k(&["get", "crontabs"]).refused(), &["the server doesn't have a resource type \"crontabs\""]);
    define(&cluster, CRON_TAB);
    contains(
        &k(&["get", "crd"]).ok(),
        &["NAME                          CREATED AT", "crontabs.stable.example.com   20"],
    );
    let resources = k(&["api-resources", "--api-group=stable.example.com"]).ok();
    contains(&resources, &["crontabs   ct           stable.example.com/v1   true         CronTab"]);
    contains(
        &k(&["explain", "crontab.spec.cronSpec"]).ok(),
        &["GROUP:      stable.example.com", "KIND:       CronTab", "When it recurs."],
    );
    contains(&k(&["explain", "ct.spec", "--recursive"]).ok(), &["env\t<[]Object>", "replicas\t<integer>"]);

    contains(&cluster.kubectl_in(&["apply", "-f", "-"], MINE).ok(), &["crontab.stable.example.com/mine created"]);
    let table = k(&["get", "ct"]).ok();
    contains(&table, &["NAME   SPEC          REPLICAS   AGE", "mine   * * * * */5   1 "]);
    contains(&k(&["get", "crontab", "mine", "-o", "wide"]).ok(), &["REPLICAS   IMAGE", "my-image"]);
    contains(&k(&["get", "all"]).ok(), &["crontab.stable.example.com/mine"]);
    let made = object(&cluster, "ct/mine");
    assert_eq!((&made["spec"]["replicas"], &made["metadata"]["generation"]), (&json!(1), &json!(1)), "{made}");
    assert_eq!(made["spec"]["extra"], json!({"any": {"thing": 1}}));

    // Labels and fields select; a merge patch changes; a strategic one is not for these.
    assert_eq!(k(&["get", "ct", "-l", "app=web", "-o", "name"]).ok(), "crontab.stable.example.com/mine\n");
    assert_eq!(k(&["get", "ct", "-l", "app!=web", "-o", "name"]).ok(), "");
    assert_eq!(
        k(&["get", "ct", "--field-selector", "spec.image=my-image", "-o", "name"]).ok(),
        "crontab.stable.example.com/mine\n"
    );
    assert_eq!(k(&["get", "ct", "--field-selector", "spec.image=other", "-o", "name"]).ok(), "");
    contains(
        &k(&["get", "ct", "--field-selector", "spec.cronSpec=x"]).refused(),
        &["field label not supported: spec.cronSpec"],
    );
    k(&["patch", "ct", "mine", "--type=merge", "-p", r#"{"spec":{"suspend":true}}"#]).ok();
    let strategic = k(&["patch", "ct", "mine", "-p", r#"{"spec":{"suspend":true}}"#]).refused();
    contains(&strategic, &["application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"]);
    k(&["annotate", "ct", "mine", "note=x"]).ok();
    k(&["label", "ct", "mine", "tier=front"]).ok();
    let changed = object(&cluster, "ct/mine");
    assert_eq!((&changed["spec"]["suspend"], &changed["metadata"]["generation"]), (&json!(true), &json!(2)));
    let diff = cluster.kubectl_in(&["diff", "-f", "-"], &MINE.replace("my-image", "other"));
    contains(&diff.stdout, &["-  image: my-image", "+  image: other"]);
    cluster.kubectl_in(&["apply", "-f", "-"], &MINE.replace("my-image", "other")).ok();
    assert_eq!(object(&cluster, "ct/mine")["spec"]["image"], "other");

    // Its scale, and its status, which is nobody's but its controller's.
    contains(&k(&["scale", "--replicas=5", "ct/mine"]).ok(), &["crontab.stable.example.com/mine scaled"]);
    let status = r#"{"spec":{"image":"ignored"},"status":{"replicas":3,"labelSelector":"app=web"}}"#;
    k(&["patch", "ct", "mine", "--subresource=status", "--type=merge", "-p", status]).ok();
    k(&["patch", "ct", "mine", "--type=merge", "-p", r#"{"status":{"replicas":9}}"#]).ok();
    let scaled = object(&cluster, "ct/mine");
    assert_eq!(
        (&scaled["spec"]["replicas"], &scaled["status"]["replicas"], &scaled["spec"]["image"]),
        (&json!(5), &json!(3), &json!("other"))
    );
    let scale: Value = serde_json::from_str(
        &k(&["get", "--raw", "/apis/stable.example.com/v1/namespaces/default/crontabs/mine/scale"]).ok(),
    )
    .expect("JSON");
    assert_eq!(scale["status"], json!({"replicas": 3, "selector": "app=web"}));

    // What runs out goes: the objects with the definition, and the API with both. Whoever watches is told of each, and that it is over.
    let mut watching = cluster.command("kubectl".as_ref());
    let path = "/apis/stable.example.com/v1/crontabs?watch=true";
    watching.args(["get", "--raw", path]).stdout(std::process::Stdio::piped());
    let mut watching = watching.spawn().expect("kubectl is there");
    let mut told = BufReader::new(watching.stdout.take().expect("piped")).lines().map(|line| {
        let line: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
        (line["type"].as_str().unwrap_or_default().to_owned(), line["object"]["metadata"]["name"].clone())
    });
    let is_told = |(word, name): &(String, Value), expect: &str| word == expect && name == "mine";
    assert!(told.any(|event| is_told(&event, "ADDED")), "it is there");
    contains(&k(&["delete", "crd", "crontabs.stable.example.com"]).ok(), &["deleted"]);
    let last: Vec<_> = told.collect();
    assert!(
        last.iter().any(|event| is_told(event, "DELETED")) && last.iter().all(|(word, _)| word != "ERROR"),
        "{last:?}"
    );
    assert!(watching.wait().expect("it ends").success());
    contains(
        &k(&["get", "--raw", "/apis/stable.example.com/v1/crontabs"]).refused(),
        &["could not find the requested resource"],
    );
    define(&cluster, CRON_TAB);
    assert_eq!(k(&["get", "ct", "-A", "-o", "name"]).ok(), "");
}

#[test]
fn what_a_schema_does_not_allow_is_refused() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    define(&cluster, CRON_TAB);
    let refused = |spec: &str, words: &[&str]| {
        let text = format!("apiVersion: stable.example.com/v1\nkind: CronTab\nmetadata: {{name: bad}}\nspec: {spec}\n");
        contains(&cluster.kubectl_in(&["create", "-f", "-", "--validate=false"], &text).refused(), words);
    };
    refused(
        "{image: x, cronSpec: '* * * *', replicas: 15}",
        &[
            "The CronTab \"bad\" is invalid:",
            r#"* spec.cronSpec: Invalid value: "* * * *": spec.cronSpec in body should match '^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$'"#,
            "* spec.replicas: Invalid value: 15: spec.replicas in body should be less than or equal to 10",
        ],
    );
    refused(
        "{replicas: two}",
        &[
            "spec.image: Required value",
            r#"spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string""#,
        ],
    );
    refused("{image: x, env: [{name: a}, {name: a}]}", &[r#"spec.env[1]: Duplicate value: {"name":"a"}"#]);
    let unknown = "apiVersion: stable.example.com/v1\nkind: CronTab\nmetadata: {name: odd}\nspec: {image: x, someRandomField: 42}\n";
    let strict = cluster.kubectl_in(&["create", "-f", "-"], unknown).refused();
    contains(
        &strict,
        &[
            "CronTab in version \"v1\" cannot be handled as a CronTab: strict decoding error: unknown field \"spec.someRandomField\"",
        ],
    );
    let warned = cluster.kubectl_in(&["create", "-f", "-", "--validate=warn"], unknown);
    contains(&warned.stderr, &["Warning: unknown field \"spec.someRandomField\""]);
    assert_eq!(
        object(&cluster, "ct/odd")["spec"],
        json!({"image": "x", "replicas": 1, "cronSpec": "5 0 * * *"}),
        "pruned and completed"
    );
    let wrong = CRON_TAB.replace("plural: crontabs", "plural: tabs").replace("type: integer, minimum", "minimum");
    contains(
        &cluster.kubectl_in(&["create", "-f", "-"], &wrong).refused(),
        &[
            "metadata.name: Invalid value: \"crontabs.stable.example.com\": must be spec.names.plural+\".\"+spec.group",
            "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[replicas].type: Required value: must not be empty for specified object fields",
        ],
    );
}

#[test]
fn managers_share_an_object_by_the_keys_of_its_schema() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    define(&cluster, CRON_TAB);
    let apply = |manager: &str, env: &str| {
        let text = format!(
            "apiVersion: stable.example.com/v1\nkind: CronTab\nmetadata: {{name: ours}}\nspec: {{image: x, env: [{env}]}}\n"
        );
        let manager = format!("--field-manager={manager}");
        cluster.kubectl_in(&["apply", "--server-side", &manager, "-f", "-"], &text)
    };
    contains(&apply("first", "{name: A, value: '1'}").ok(), &["crontab.stable.example.com/ours serverside-applied"]);
    apply("second", "{name: B, value: '2'}").ok();
    let refused = apply("second", "{name: A, value: '3'}").refused();
    contains(&refused, &["Apply failed with 1 conflict: conflict with \"first\": .spec.env[name=\"A\"].value"]);
    let shared = object(&cluster, "ct/ours");
    assert_eq!(shared["spec"]["env"], json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]));
    let owned = |manager: &str| {
        let entries = shared["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        entries.into_iter().find(|entry| entry["manager"] == manager).map(|entry| entry["fieldsV1"]["f:spec"].clone())
    };
    let expect = json!({"f:env": {r#"k:{"name":"B"}"#: {".": {}, "f:name": {}, "f:value": {}}}, "f:image": {}});
    assert_eq!(owned("second"), Some(expect));
    apply("second", "").ok();
    assert_eq!(object(&cluster, "ct/ours")["spec"]["env"], json!([{"name": "A", "value": "1"}]));
}

#[test]
fn one_kind_in_two_versions() {
    if !kubectl_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let up = || Plan::new().on(folder.path()).up(PROGRAM).unwrap_or_else(|error| panic!("{error:#}"));
    let cluster = up();
    let version = |name: &str, storage: bool, more: &str| {
        format!(
            "  - name: {name}
    served: true
    storage: {storage}
    {more}
    schema: {{openAPIV3Schema: {{type: object, properties: {{size: {{type: integer, default: 3}}}}}}}}
"
        )
    };
    let definition = |versions: &[String]| {
        format!(
            "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: boxes.example.org}}
spec:
  group: example.org
  scope: Cluster
  names: {{plural: boxes, kind: Box}}
  versions:
{}",
            versions.concat()
        )
    };
    define(&cluster, &definition(&[version("v1beta1", true, "deprecated: true"), version("v1", false, "")]));
    let new = "apiVersion: example.org/v1\nkind: Box\nmetadata: {name: one}\n";
    cluster.kubectl_in(&["apply", "-f", "-"], new).ok();
    let at = |cluster: &Cluster, version: &str| -> Value {
        let text = cluster.kubectl(&["get", "--raw", &format!("/apis/example.org/{version}/boxes/one")]).ok();
        serde_json::from_str(&text).expect("JSON")
    };
    for version in ["v1", "v1beta1"] {
        let found = at(&cluster, version);
        assert_eq!((&found["apiVersion"], &found["size"]), (&json!(format!("example.org/{version}")), &json!(3)));
    }
    let old = cluster.kubectl(&["get", "boxes.v1beta1.example.org"]);
    contains(&old.stderr, &["Warning: example.org/v1beta1 Box is deprecated"]);
    contains(&cluster.kubectl(&["get", "box", "-o", "yaml"]).ok(), &["apiVersion: example.org/v1\n"]);
    let watch = ["get", "--raw", "/apis/example.org/v1/boxes?watch=true&timeoutSeconds=1"];
    contains(
        &cluster.kubectl(&watch).ok(),
        &[r#"{"type":"ADDED","object":{"apiVersion":"example.org/v1","kind":"Box""#],
    );

    // The version to store in may change, and the process may end: the objects stay.
    define(&cluster, &definition(&[version("v1beta1", false, ""), version("v1", true, "")]));
    assert_eq!(object(&cluster, "crd/boxes.example.org")["status"]["storedVersions"], json!(["v1beta1", "v1"]));
    cluster.kubectl(&["label", "box", "one", "moved=yes"]).ok();
    cluster.stop().expect("it stops");
    let cluster = up();
    let found = at(&cluster, "v1beta1");
    assert_eq!(
        (&found["apiVersion"], &found["metadata"]["labels"]["moved"]),
        (&json!("example.org/v1beta1"), &json!("yes"))
    );
    let refused = cluster.kubectl_in(&["apply", "-f", "-"], &definition(&[version("v1", true, "")])).refused();
    contains(&refused, &["status.storedVersions[0]: Invalid value: \"v1beta1\": missing from spec.versions"]);
}

#[test]
fn rules_are_asked_of_objects_and_of_their_changes() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let rules = "x-kubernetes-validations:
              - {rule: 'self.replicas <= self.max', message: replicas should not be more than max}
              properties:
                replicas: {type: integer}
                max: {type: integer}
                zone:
                  type: string
                  x-kubernetes-validations:
                  - {rule: 'self == oldSelf', message: zone is immutable}";
    let definition = format!(
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: limits.example.org}}
spec:
  group: example.org
  scope: Namespaced
  names: {{plural: limits, kind: Limit}}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
              type: object
              {rules}
"
    );
    let wrong = definition.replace("self.replicas <= self.max", "self.replicaz <= self.max");
    contains(
        &cluster.kubectl_in(&["create", "-f", "-"], &wrong).refused(),
        &[
            "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value:",
            "undefined field 'replicaz'",
        ],
    );
    define(&cluster, &definition);
    let limit = |spec: &str| {
        let text = format!("apiVersion: example.org/v1\nkind: Limit\nmetadata: {{name: one}}\nspec: {spec}\n");
        cluster.kubectl_in(&["apply", "-f", "-"], &text)
    };
    contains(
        &limit("{replicas: 3, max: 2}").refused(),
        &["The Limit \"one\" is invalid: spec: Invalid value: \"object\": replicas should not be more than max"],
    );
    limit("{replicas: 2, max: 2, zone: a}").ok();
    contains(
        &limit("{replicas: 2, max: 2, zone: b}").refused(),
        &["The Limit \"one\" is invalid: spec.zone: Invalid value: \"string\": zone is immutable"],
    );
    contains(
        &limit("{replicas: two, max: 2}").refused(),
        &[
            "spec.replicas: Invalid value: \"string\": spec.replicas in body must be of type integer: \"string\"",
            "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
        ],
    );
}

#[test]
fn what_kubectl_does_with_them_without_kubectl() {
    let cluster = with(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = crate::manifest(folder.path(), &format!("{CRON_TAB}---\n{MINE}"));
    let c = |words: &[&str]| cluster.coracle(words);
    let applied = c(&["apply", "-f", &file]).ok();
    contains(&applied, &["customresourcedefinition.apiextensions.k8s.io/crontabs.stable.example.com created"]);
    contains(&applied, &["crontab.stable.example.com/mine created"]);
    contains(&c(&["apply", "-f", &file]).ok(), &["crontab.stable.example.com/mine unchanged"]);
    contains(&c(&["get", "ct"]).ok(), &["NAME   SPEC          REPLICAS   AGE", "mine   * * * * */5   1"]);
    contains(&c(&["get", "all"]).ok(), &["crontab.stable.example.com/mine"]);
    contains(&c(&["get", "crontabs.stable.example.com/mine", "-o", "yaml"]).ok(), &["image: my-image"]);
    contains(&c(&["describe", "ct/mine"]).ok(), &["mine"]);
    contains(&c(&["scale", "ct/mine", "--replicas", "4"]).ok(), &["crontab.stable.example.com/mine scaled"]);
    contains(&c(&["wait", "--for", "jsonpath={.spec.replicas}=4", "ct/mine"]).ok(), &["condition met"]);
    contains(&c(&["delete", "ct/mine"]).ok(), &["crontab.stable.example.com \"mine\" deleted"]);
    contains(&c(&["get", "ct"]).stderr, &["No resources found"]);
}

/// Kubernetes tells two kinds of its own in two versions each.
#[test]
fn kinds_of_kubernetes_in_two_versions() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    let raw = |path: &str| -> Value { serde_json::from_str(&k(&["get", "--raw", path]).ok()).expect("JSON") };
    let target = "{apiVersion: apps/v1, kind: Deployment, name: web}";
    let old = format!(
        "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {{name: web}}\nspec: {{maxReplicas: 5, targetCPUUtilizationPercentage: 60, scaleTargetRef: {target}}}\n"
    );
    cluster.kubectl_in(&["create", "-f", "-"], &old).ok();
    let scalers = "namespaces/default/horizontalpodautoscalers/web";
    let new = raw(&format!("/apis/autoscaling/v2/{scalers}"));
    assert_eq!(
        new["spec"]["metrics"][0]["resource"]["target"],
        json!({"type": "Utilization", "averageUtilization": 60})
    );
    let memory = r#"{"spec":{"metrics":[{"type":"Resource","resource":{"name":"memory","target":{"type":"AverageValue","averageValue":"1Gi"}}}]}}"#;
    k(&["patch", "hpa", "web", "--type=merge", "-p", memory]).ok();
    let shown = raw(&format!("/apis/autoscaling/v1/{scalers}"));
    assert_eq!(
        (&shown["apiVersion"], &shown["spec"]["targetCPUUtilizationPercentage"]),
        (&json!("autoscaling/v1"), &Value::Null)
    );
    let annotation =
        shown["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"].as_str().unwrap_or_default();
    contains(annotation, &[r#""name":"memory","targetAverageValue":"1Gi""#]);
    contains(&k(&["get", "hpa"]).ok(), &["Deployment/web", "<unknown>/1Gi"]);
    contains(&k(&["explain", "hpa", "--api-version=autoscaling/v1"]).ok(), &["VERSION:    v1"]);
    let pods = "{metadata: {labels: {app: web}}, spec: {nodeSelector: {nowhere: at-all}, containers: [{name: main, image: 'x:v1'}]}}";
    let deployment = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: other}}\nspec: {{selector: {{matchLabels: {{app: web}}}}, template: {pods}}}\n"
    );
    cluster.kubectl_in(&["create", "-f", "-"], &deployment).ok();
    k(&["autoscale", "deployment", "other", "--min=1", "--max=3", "--cpu-percent=70"]).ok();
    let scaled = raw("/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers/other");
    assert_eq!(
        (&scaled["spec"]["targetCPUUtilizationPercentage"], &scaled["spec"]["minReplicas"]),
        (&json!(70), &json!(1))
    );

    // What happened long ago is forgotten soon: this happened when the cluster began.
    let began = object(&cluster, "ns/default")["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
    let event = "apiVersion: events.k8s.io/v1
kind: Event
metadata: {name: told}
eventTime: BEGAN
reportingController: example.com/teller
reportingInstance: teller-1
action: Telling
reason: Told
type: Normal
note: It was told.
regarding: {apiVersion: v1, kind: ConfigMap, namespace: default, name: c}
";
    let event = event.replace("BEGAN", &format!("'{}'", began.replace('Z', ".000000Z")));
    cluster.kubectl_in(&["create", "-f", "-"], &event).ok();
    contains(&k(&["events"]).ok(), &["It was told."]);
    assert_eq!(raw("/api/v1/namespaces/default/events/told")["involvedObject"]["name"], "c");
    let picked = raw("/apis/events.k8s.io/v1/namespaces/default/events?fieldSelector=regarding.name%3Dc");
    assert_eq!(
        (&picked["items"][0]["note"], &picked["items"][0]["apiVersion"]),
        (&json!("It was told."), &json!("events.k8s.io/v1"))
    );
    let watch = "/apis/events.k8s.io/v1/namespaces/default/events?watch=true&timeoutSeconds=1";
    contains(&k(&["get", "--raw", watch]).ok(), &[r#""apiVersion":"events.k8s.io/v1""#, r#""note":"It was told.""#]);
    let refused = cluster
        .kubectl_in(&["create", "-f", "-"], &event.replace("action: Telling\n", "").replace("told}", "other}"))
        .refused();
    contains(&refused, &["action: Required value"]);
}
