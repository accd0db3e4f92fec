//! Manifests of the kinds that people copy, with the fields that Kubernetes documents, go in and come out field for field.
//!
//! They are in `tests/manifests`; what Kubernetes adds to some of them is in `manifests/defaults.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use harness::{Cluster, kubectl_is_there};
use serde_json::Value;

use crate::with;

/// What the issue asks for.
const MANIFESTS_MIN: usize = 40;

/// What has no meaning for wasm is said so, once for each field.
const WARNINGS: [&str; 7] = [
    "Warning: spec.hostPID: has no effect here",
    "Warning: spec.shareProcessNamespace: has no effect here",
    "Warning: spec.runtimeClassName: has no effect here",
    "Warning: spec.securityContext: has no effect here: wasm components have no users or groups",
    "Warning: spec.securityContext.sysctls: has no effect here",
    "Warning: spec.containers[0].securityContext.capabilities: has no effect here",
    "Warning: spec.containers[0].securityContext.seLinuxOptions: has no effect here",
];

/// What kubectl's own patches replace as a whole: a selector, and lists to which the server adds. It tells of a change whenever these
/// are applied, of Kubernetes' own server too; nothing of them changes.
const TOLD_CHANGED: [&str; 3] = ["poddisruptionbudget.policy/zk-pdb", "statefulset.apps/web", "pod/everything"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests")
}

/// Every manifest, by kind, namespace and name.
fn manifests() -> BTreeMap<String, Value> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder()).expect("the manifests").map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    let documents = files.iter().flat_map(|file| {
        let text = std::fs::read_to_string(file).expect("readable");
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        documents
    });
    documents.map(|document| (name(&document), document)).collect()
}

fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let namespace = text(&object["metadata"]["namespace"]);
    let namespace = if namespace.is_empty() || namespace == "default" { "" } else { &format!("{namespace}/") };
    format!("{}/{namespace}{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// Where `found` does not say what `said` does. Lists may go on with what the server added; what is empty may be left out.
fn missing(path: &str, said: &Value, found: &Value, told: &mut Vec<String>) {
    match (said, found) {
        (Value::Object(said), found) => {
            for (name, said) in said {
                missing(&format!("{path}.{name}"), said, &found[name], told);
            }
        }
        (Value::Array(said), found) => {
            for (index, said) in said.iter().enumerate() {
                missing(&format!("{path}[{index}]"), said, &found[index], told);
            }
        }
        (Value::Bool(false), Value::Null) => {}
        (said, found) if said == "" && found.is_null() => {}
        (said, found) if said == found => {}
        (said, found) => told.push(format!("{path}: {found} instead of {said}")),
    }
}

fn stored(cluster: &Cluster, folder: &str) -> BTreeMap<String, Value> {
    let list = cluster.kubectl(&["get", "-f", folder, "-o", "json", "--show-managed-fields"]).ok();
    let list: Value = serde_json::from_str(&list).expect("JSON");
    list["items"].as_array().into_iter().flatten().map(|object| (name(object), object.clone())).collect()
}

/// Everything that was said is there, and what Kubernetes adds to it.
fn check(cluster: &Cluster, folder: &str) -> BTreeMap<String, Value> {
    let said = manifests();
    assert!(said.len() >= MANIFESTS_MIN, "only {} manifests", said.len());
    let added = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("it/manifests/defaults.json"));
    let added: BTreeMap<String, Value> = serde_json::from_str(&added.expect("the defaults")).expect("JSON");
    let found = stored(cluster, folder);
    let mut told = Vec::new();
    for (name, said) in said.iter().chain(&added) {
        missing(name, said, found.get(name).unwrap_or(&Value::Null), &mut told);
    }
    assert!(told.is_empty(), "{} fields are not as said:\n{}", told.len(), told.join("\n"));
    found
}

/// What a manager wants of the object, without what the cluster does with it.
fn wanted(objects: &BTreeMap<String, Value>) -> BTreeMap<&String, Vec<(&String, &Value)>> {
    objects
        .iter()
        .map(|(name, object)| {
            let members = object.as_object().into_iter().flatten();
            (name, members.filter(|(member, _)| !matches!(member.as_str(), "status" | "metadata")).collect())
        })
        .collect()
}

#[test]
fn what_is_applied_comes_out_field_for_field() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let folder = folder().display().to_string();
    let first = cluster.kubectl(&["apply", "-f", &folder]);
    for warning in WARNINGS {
        assert!(first.stderr.contains(warning), "{warning:?} is missing in\n{}", first.stderr);
    }
    let first = first.ok();
    assert!(first.lines().all(|line| line.ends_with(" created")), "{first}");
    let before = check(&cluster, &folder);

    let again = cluster.kubectl(&["apply", "-f", &folder]).ok();
    let is_told = |line: &str| TOLD_CHANGED.iter().any(|name| line.starts_with(name));
    let changed: Vec<&str> = again.lines().filter(|line| !line.ends_with(" unchanged") && !is_told(line)).collect();
    assert!(changed.is_empty(), "{changed:#?}");
    let after = check(&cluster, &folder);
    assert_eq!(wanted(&before), wanted(&after), "nothing has changed");
    assert_eq!(cluster.kubectl(&["diff", "-f", &folder]).ok(), "", "and nothing would");
}

#[test]
fn what_is_applied_by_the_server_comes_out_field_for_field() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let folder = folder().display().to_string();
    let words = ["apply", "--server-side", "-f", folder.as_str()];
    let first = cluster.kubectl(&words).ok();
    assert!(first.lines().all(|line| line.ends_with(" serverside-applied")), "{first}");
    let before = check(&cluster, &folder);
    cluster.kubectl(&words).ok();
    let after = check(&cluster, &folder);
    assert_eq!(wanted(&before), wanted(&after), "nothing has changed");
    let owned = |object: &Value| {
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        entries.into_iter().find(|entry| entry["manager"] == "kubectl").map(|entry| entry["fieldsV1"].clone())
    };
    // Whoever says nothing but a name owns nothing.
    const ONLY_A_NAME: [&str; 1] = ["ServiceAccount/robot"];
    for (name, object) in &after {
        assert!(owned(object).is_some() || ONLY_A_NAME.contains(&name.as_str()), "{name} is nobody's");
        assert_eq!(owned(object), owned(&before[name]), "{name} has the same owner of the same fields");
    }
    assert_eq!(cluster.kubectl(&["diff", "--server-side", "-f", &folder]).ok(), "");
}

#[test]
fn an_object_of_a_kind_that_was_defined_comes_out_field_for_field() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words).ok();
    let definition = folder().join("09-custom.yaml").display().to_string();
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/manifests/custom.yaml").display().to_string();
    k(&["apply", "-f", &definition]);
    k(&["wait", "--for=condition=Established", "crd/crontabs.stable.example.com", "--timeout=60s"]);
    assert_eq!(k(&["apply", "-f", &object]), "crontab.stable.example.com/my-new-cron-object created\n");
    let text = std::fs::read_to_string(&object).expect("readable");
    let said: Value = serde_saphyr::from_str(&text).expect("YAML");
    let found: Value = serde_json::from_str(&k(&["get", "-f", &object, "-o", "json"])).expect("JSON");
    let mut told = Vec::new();
    missing("CronTab", &said, &found, &mut told);
    assert!(told.is_empty(), "{told:#?}");
    assert_eq!(found["spec"]["replicas"], 1, "a default of the schema");
    assert_eq!(k(&["apply", "-f", &object]), "crontab.stable.example.com/my-new-cron-object unchanged\n");
    assert_eq!(k(&["diff", "-f", &object]), "");
    let table = k(&["get", "ct"]);
    assert!(table.contains("SPEC") && table.contains("* * * * */5"), "{table}");
}
