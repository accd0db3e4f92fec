//! Components that are one program: imports of one satisfied by others, which the pod mounts as volumes of type `image`.

use harness::{Cluster, eventually, get, kubectl_is_there};
use serde_json::Value;

use crate::{example, manifest, with};

fn pod(cluster: &Cluster, name: &str) -> Value {
    serde_json::from_str(&cluster.coracle(&["get", "pod", name, "-o", "json"]).ok()).expect("JSON")
}

fn check(cluster: &Cluster, path: &str, status: u16, expected: &str) {
    eventually(60, || match get(cluster.ingress(), "linked.localhost", path) {
        Ok(answer) if (answer.status, answer.body.trim_end()) == (status, expected) => Ok(()),
        other => Err(format!("{path}: {other:?}")),
    });
}

#[test]
fn an_import_is_satisfied_by_the_image_that_the_container_mounts() {
    let cluster = with(&["linked"]);
    check(&cluster, "/tea", 200, "tea: 3.20");
    check(&cluster, "/coal", 404, "no coal is sold here");

    let pods: Value = serde_json::from_str(&cluster.coracle(&["get", "pods", "-o", "json"]).ok()).expect("JSON");
    let found = &pods["items"][0];
    // What was a file is the digest of what was pushed, and the status says what it meant.
    let volume = found["spec"]["volumes"].as_array().and_then(|volumes| {
        volumes.iter().find(|volume| volume["name"] == "prices")?["image"]["reference"].as_str().map(str::to_owned)
    });
    let reference = volume.expect("the volume is there");
    assert!(reference.starts_with("prices@sha256:"), "{reference}");
    let conditions = found["status"]["conditions"].as_array().expect("conditions");
    let linked = conditions.iter().find(|condition| condition["type"] == "coracle.dev/Linked").expect("it is told");
    assert_eq!(linked["message"], format!("container web: {reference} is {reference}"));

    // Another version of it comes like any change of a template.
    let prices = example("linked/prices.wasm").display().to_string();
    cluster.coracle(&["push", &prices, "prices:v2"]).ok();
    if kubectl_is_there() {
        let patch =
            r#"{"spec":{"template":{"spec":{"volumes":[{"name":"prices","image":{"reference":"prices:v2"}}]}}}}"#;
        cluster.kubectl(&["patch", "deployment", "linked", "-p", patch]).ok();
        cluster.kubectl(&["rollout", "status", "deployment/linked", "--timeout=60s"]).ok();
        check(&cluster, "/cake", 200, "cake: 4.50");
        let told = cluster.kubectl(&["describe", "deployment", "linked"]).ok();
        assert!(told.contains("prices:v2") && told.contains("/links/prices from prices"), "{told}");
        let told = cluster.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].spec.volumes[*].image.pullPolicy}"]);
        assert!(told.ok().contains("IfNotPresent"));
    }
}

#[test]
fn who_is_not_given_what_he_imports_is_told_who_was_asked() {
    let cluster = with(&[]);
    let apply = |name: &str, volumes: &[&str]| {
        let mounts: Vec<String> =
            (0..volumes.len()).map(|index| format!("{{name: v{index}, mountPath: /links/{index}}}")).collect();
        let images: Vec<String> = volumes
            .iter()
            .enumerate()
            .map(|(index, image)| format!("{{name: v{index}, image: {{reference: {image}}}}}"))
            .collect();
        let text = format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  containers: [{{name: web, image: EXAMPLES/linked/web.wasm, volumeMounts: [{}]}}]
  volumes: [{}]
",
            mounts.join(", "),
            images.join(", ")
        );
        let folder = tempfile::tempdir().expect("a folder");
        cluster.coracle(&["apply", "-f", &manifest(folder.path(), &text)]).ok();
    };
    let refused = |name: &str, expected: &str| {
        eventually(60, || {
            let waiting = pod(&cluster, name)["status"]["containerStatuses"][0]["state"]["waiting"].clone();
            let reason = waiting["reason"].as_str().unwrap_or_default();
            let message = waiting["message"].as_str().unwrap_or_default();
            let is_pull = matches!(reason, "ErrImagePull" | "ImagePullBackOff");
            if is_pull && message.contains(expected) { Ok(()) } else { Err(waiting.to_string()) }
        });
    };
    apply("alone", &[]);
    apply("other", &["EXAMPLES/hello/hello.wasm"]);
    apply("absent", &["prices:v9"]);
    apply("twice", &["EXAMPLES/linked/prices.wasm", "EXAMPLES/linked/prices.wasm"]);
    refused(
        "alone",
        "the component imports example:shop/prices@1.0.0, which nothing here provides; a volume of type image that the container \
         mounts can",
    );
    refused(
        "other",
        "exports nothing that is imported here, or only what one before it exports: it exports wasi:http/",
    );
    refused(
        "twice",
        "exports nothing that is imported here, or only what one before it exports: it exports example:shop/",
    );
    refused("absent", "failed to pull image \"prices:v9\": image \"prices:v9\" is not in the cluster's registry");

    // What was missing comes.
    cluster.coracle(&["push", &example("linked/prices.wasm").display().to_string(), "prices:v9"]).ok();
    eventually(90, || match pod(&cluster, "absent") {
        pod if pod["status"]["containerStatuses"][0]["ready"] == true => Ok(()),
        pod => Err(pod["status"].to_string()),
    });
}
