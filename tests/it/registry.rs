//! Images of a registry that is not the cluster's: a real one, which wants to know who asks.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use harness::{Answer, Cluster, eventually, get_with, peer_is_there};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{example, with};

/// `coracle` with the password `s3cret`, as htpasswd writes it, and as a client says it.
const USERS: &str = "coracle:$2y$05$383OeNP/6BD5E09hjNSr2uj6hSzexiu5gRikij6VZjKwNGl/koLxi\n";
const CREDENTIALS: &str = "Basic Y29yYWNsZTpzM2NyZXQ=";

/// Debian's `docker-registry`, in a folder of its own.
struct Registry {
    process: Child,
    address: SocketAddr,
}

impl Registry {
    fn start(folder: &Path) -> Self {
        // Free a moment ago; nobody else on the machine is told of it.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let (users, config) = (folder.join("users"), folder.join("registry.yaml"));
        std::fs::write(&users, USERS).expect("written");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n\
             auth: {{htpasswd: {{realm: tests, path: {}}}}}\n",
            folder.join("blobs").display(),
            users.display()
        );
        std::fs::write(&config, text).expect("written");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Self { process: command.spawn().expect("the registry starts"), address };
        eventually(30, || match registry.ask(Method::GET, "/v2/", &[], Vec::new()) {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        });
        registry
    }

    fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> anyhow::Result<Answer> {
        let headers: Vec<_> = [("authorization", CREDENTIALS)].iter().chain(headers).copied().collect();
        get_with(self.address, method, &self.address.to_string(), path, &headers, body)
    }

    fn blob(&self, repository: &str, bytes: &[u8]) -> Value {
        let begun = self.ask(Method::POST, &format!("/v2/{repository}/blobs/uploads/"), &[], Vec::new());
        let begun = begun.expect("an answer");
        assert_eq!(begun.status, 202, "{}", begun.body);
        let location = begun.headers["location"].to_str().expect("text").to_owned();
        let path = location.split_once(&self.address.to_string()).map_or(location.as_str(), |(_, path)| path);
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(bytes)));
        let path = format!("{path}&digest={digest}");
        let kept = self.ask(Method::PUT, &path, &[("content-type", "application/octet-stream")], bytes.to_vec());
        let kept = kept.expect("an answer");
        assert_eq!(kept.status, 201, "{}", kept.body);
        json!({"digest": digest, "size": bytes.len()})
    }

    /// Pushes a component in the layout of the CNCF.
    fn push(&self, repository: &str, tag: &str, component: &[u8]) {
        let mut layer = self.blob(repository, component);
        layer["mediaType"] = "application/wasm".into();
        let mut config = self.blob(repository, br#"{"architecture":"wasm","os":"wasip2"}"#);
        config["mediaType"] = "application/vnd.wasm.config.v0+json".into();
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]});
        let path = format!("/v2/{repository}/manifests/{tag}");
        let kept = self.ask(Method::PUT, &path, &[("content-type", kind)], manifest.to_string().into_bytes());
        let kept = kept.expect("an answer");
        assert_eq!(kept.status, 201, "{}", kept.body);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn container(cluster: &Cluster, pod: &str) -> Value {
    let pod: Value = serde_json::from_str(&cluster.coracle(&["get", "pod", pod, "-o", "json"]).ok()).expect("JSON");
    pod["status"]["containerStatuses"][0].clone()
}

#[test]
fn who_may_pull_is_told_by_pull_secrets() {
    if !peer_is_there("docker-registry") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Registry::start(folder.path());
    registry.push("team/hello", "v1", &std::fs::read(example("hello/hello.wasm")).expect("the component"));
    registry.push("team/prices", "v1", &std::fs::read(example("linked/prices.wasm")).expect("the component"));
    let image = format!("{}/team/hello:v1", registry.address);
    let auths = json!({"auths": {registry.address.to_string(): {"username": "coracle", "password": "s3cret"}}});
    let wrong = json!({"auths": {registry.address.to_string(): {"username": "coracle", "password": "guess"}}});
    let secret = |name: &str, auths: &Value| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": auths.to_string()}})
    };
    let pod = |name: &str, secrets: Value| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"imagePullSecrets": secrets, "containers": [{"name": "main", "image": image, "imagePullPolicy": "Always"}]}})
    };
    // One whose own image anybody may have, and what is linked to it not.
    let linked = |name: &str, secrets: Value| {
        let own = example("linked/web.wasm").canonicalize().expect("it is there");
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"imagePullSecrets": secrets,
            "containers": [{"name": "main", "image": own, "volumeMounts": [{"name": "prices", "mountPath": "/prices"}]}],
            "volumes": [{"name": "prices", "image": {"reference": format!("{}/team/prices:v1", registry.address),
                "pullPolicy": "Always"}}]}})
    };
    let items = json!({"apiVersion": "v1", "kind": "List", "items": [
        secret("known", &auths), secret("guessed", &wrong), pod("allowed", json!([{"name": "known"}])),
        pod("nobody", json!([])), pod("guesser", json!([{"name": "guessed"}])),
        linked("linked", json!([{"name": "known"}])), linked("unlinked", json!([])),
    ]});
    let file = folder.path().join("manifest.json");
    std::fs::write(&file, items.to_string()).expect("written");
    let cluster = with(&[]);
    cluster.coracle(&["apply", "-f", &file.display().to_string()]).ok();
    let status = eventually(60, || {
        let status = container(&cluster, "allowed");
        if status["ready"] == true { Ok(status) } else { Err(status.to_string()) }
    });
    let id = status["imageID"].as_str().expect("an id");
    assert!(id.starts_with(&format!("{}/team/hello@sha256:", registry.address)), "{id}");
    eventually(60, || match container(&cluster, "linked") {
        status if status["ready"] == true => Ok(()),
        status => Err(status.to_string()),
    });
    for name in ["nobody", "guesser", "unlinked"] {
        let message = eventually(60, || {
            let waiting = container(&cluster, name)["state"]["waiting"].clone();
            let reason = waiting["reason"].as_str().unwrap_or_default();
            let message = waiting["message"].as_str().unwrap_or_default().to_owned();
            if matches!(reason, "ErrImagePull" | "ImagePullBackOff") { Ok(message) } else { Err(waiting.to_string()) }
        });
        assert!(message.contains("pull access denied"), "{message}");
        let told = cluster.coracle(&["describe", &format!("pod/{name}")]).ok();
        assert!(told.contains("Failed to pull image") && told.contains("pull access denied"), "{told}");
    }
}
