//! The neighbour that is asked all the while, and how each bad guest runs beside it.

use std::path::Path;

use super::offences::Offence;

/// The neighbour, and what all of the others mount.
pub(super) const NEIGHBOUR: &str = "apiVersion: v1
kind: Pod
metadata: {name: neighbour, labels: {app: neighbour}}
spec:
  containers:
  - {name: main, image: EXAMPLES/probe/probe.wasm, ports: [{containerPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: neighbour}
spec: {selector: {app: neighbour}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: neighbour}
spec:
  ingressClassName: coracle
  rules:
  - host: neighbour.localhost
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: neighbour, port: {number: 80}}}}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: config}
data: {key: value}
";

/// One of the others; programs in text lie in the folder.
pub(super) fn pod(offence: &Offence, folder: &Path) -> String {
    let Offence { deed, cpu, .. } = offence;
    let (image, args) = match offence.text {
        None => ("EXAMPLES/hostile/hostile.wasm".to_owned(), format!("[{deed}]")),
        Some(_) => (folder.join(format!("{deed}.wasm")).display().to_string(), "[]".to_owned()),
    };
    let cpu = cpu.map_or(String::new(), |cpu| format!("cpu: {cpu}, "));
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {deed}, labels: {{app: hostile}}}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: {image}
    args: {args}
    resources: {{limits: {{{cpu}memory: 64Mi}}}}
    volumeMounts: [{{name: data, mountPath: /data}}, {{name: config, mountPath: /config, readOnly: true}}]
  volumes:
  - {{name: data, emptyDir: {{sizeLimit: 8Mi}}}}
  - {{name: config, configMap: {{name: config}}}}
---
"
    )
}
