//! Components that other languages' own tools made run as they are.

use std::path::Path;

use harness::{eventually, get};

use crate::{manifest, with};

/// `examples/foreign.sh` writes them; they are too large to keep. Where `CORACLE_FOREIGN_DIR` is not set this story is left out.
#[test]
fn javascript_and_python() {
    let Some(folder) = std::env::var_os("CORACLE_FOREIGN_DIR") else {
        eprintln!("CORACLE_FOREIGN_DIR is not set: the story of foreign components is left out");
        return;
    };
    let folder = Path::new(&folder).canonicalize().expect("the folder is there");
    let cluster = with(&[]);
    for language in ["js", "python"] {
        let text = format!("apiVersion: v1
kind: Pod
metadata: {{name: {language}, labels: {{app: {language}}}}}
spec:
  containers:
  - name: main
    image: {}/{language}.wasm
    env: [{{name: GREETING, value: Hello from {language}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {language}}}
spec: {{selector: {{app: {language}}}, ports: [{{port: 80}}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {language}}}
spec: {{rules: [{{host: {language}.localhost, http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {language}, port: {{number: 80}}}}}}}}]}}}}]}}
", folder.display());
        let own = tempfile::tempdir().expect("a folder");
        cluster.coracle(&["apply", "-f", &manifest(own.path(), &text)]).ok();
        eventually(300, || match get(cluster.ingress(), &format!("{language}.localhost"), "/") {
            Ok(answer) if answer.status == 200 && answer.body.contains("Hello") => Ok(()),
            other => Err(format!("{language}: {other:?}")),
        });
    }
}
