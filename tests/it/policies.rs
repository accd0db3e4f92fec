//! NetworkPolicies, as somebody with `kubectl` sees them: who may reach whom, and who was denied.

use harness::{Cluster, eventually, get, kubectl_is_there};

use crate::{manifest, with};

/// A deployment of the probe called `name`, with a service and a host of its own, in namespace `shop`.
fn app(name: &str) -> String {
    format!(
        "---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - name: probe
        image: EXAMPLES/probe/probe.wasm
        ports: [{{name: http, containerPort: 8080}}]
        env: [{{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]
        readinessProbe: {{httpGet: {{path: /healthz, port: http}}, periodSeconds: 1}}
        resources: {{requests: {{cpu: 10m, memory: 8Mi}}, limits: {{memory: 64Mi}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: http}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, namespace: shop}}
spec:
  ingressClassName: coracle
  rules:
  - host: {name}.localhost
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {name}, port: {{name: http}}}}}}}}]}}
"
    )
}

/// What `from` is answered when it asks for `url`.
fn ask(cluster: &Cluster, from: &str, url: &str) -> (u16, String) {
    let asked = || {
        let answer = get(cluster.ingress(), &format!("{from}.localhost"), &format!("/call?url={url}"));
        answer.map_or_else(|error| (0, error.to_string()), |answer| (answer.status, answer.body))
    };
    // On a machine with much to do the one who asks may miss a probe of its readiness.
    eventually(30, || match asked() {
        (503, body) if body.contains("no endpoint that is ready") => Err(body),
        answer => Ok(answer),
    })
}

/// Asks until the answer has this status.
fn comes_to(cluster: &Cluster, from: &str, url: &str, status: u16) -> String {
    eventually(30, || match ask(cluster, from, url) {
        (found, body) if found == status => Ok(body),
        other => Err(format!("{from} -> {url}: {other:?}, not {status}")),
    })
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

const OPEN: u16 = 200;
/// What the probe says when the request that it was asked to send got no answer.
const SHUT: u16 = 502;

#[test]
fn a_namespace_is_closed_and_opened_by_policies() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    let apply = |policy: &str| cluster.kubectl_in(&["apply", "-f", "-"], policy).ok();
    let folder = tempfile::tempdir().expect("a folder");
    let shop = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    let text = ["web", "other", "db"].iter().fold(shop.to_owned(), |text, name| text + &app(name));
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), &text)]).ok();
    k(&["-n", "shop", "rollout", "status", "deploy/db", "--timeout=60s"]).ok();
    comes_to(&cluster, "web", "http://db/", OPEN);
    comes_to(&cluster, "other", "http://db/", OPEN);

    apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: default-deny, namespace: shop}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n",
    );
    comes_to(&cluster, "web", "http://db/", SHUT);
    comes_to(&cluster, "web", "http://db.shop.svc.cluster.local/", SHUT);
    assert_eq!(ask(&cluster, "web", "http://127.0.0.1:8080/").0, OPEN, "a pod is its own");
    let described = eventually(20, || {
        let text = k(&["-n", "shop", "describe", "pods", "-l", "app=db"]).ok();
        if text.contains("NetworkPolicyDenied") { Ok(text) } else { Err(text) }
    });
    contains(
        &described,
        &[
            "Warning",
            "Denied ingress from shop/web-",
            "to port 8080/TCP: no rule of NetworkPolicy default-deny allows it",
        ],
    );

    apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: db, namespace: shop}\nspec:\n  podSelector: {matchLabels: {app: db}}\n  ingress:\n  - from: [{podSelector: {matchLabels: {app: web}}}]\n    ports: [{port: http}]\n",
    );
    comes_to(&cluster, "web", "http://db/", OPEN);
    assert_eq!(ask(&cluster, "other", "http://db/").0, SHUT);
    let db = k(&["-n", "shop", "get", "pod", "-l", "app=db", "-o", "jsonpath={.items[0].status.podIP}"]).ok();
    assert_eq!(ask(&cluster, "web", &format!("http://{db}:8080/")).0, OPEN);
    assert_eq!(ask(&cluster, "other", &format!("http://{db}:8080/")).0, SHUT);
    assert_eq!(ask(&cluster, "other", &format!("http://[::ffff:{db}]:8080/")).0, SHUT);

    contains(&k(&["-n", "shop", "get", "netpol"]).ok(), &["NAME           POD-SELECTOR   AGE", "<none>", "app=db"]);
    contains(
        &k(&["-n", "shop", "describe", "networkpolicy", "db"]).ok(),
        &["PodSelector:     app=db", "To Port: http/TCP", "PodSelector: app=web", "Policy Types: Ingress"],
    );
    contains(
        &k(&["explain", "networkpolicy.spec.ingress.from"]).ok(),
        &["GROUP:      networking.k8s.io", "ipBlock\t<IPBlock>", "namespaceSelector\t<LabelSelector>"],
    );
    let refused = cluster.kubectl_in(
        &["apply", "-f", "-"],
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: bad, namespace: shop}\nspec: {podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/33}}]}]}\n",
    );
    contains(
        &refused.refused(),
        &[
            "The NetworkPolicy \"bad\" is invalid: spec.egress[0].to[0].ipBlock.cidr: Invalid value: \"10.0.0.0/33\": must be a valid CIDR value",
        ],
    );

    apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: shut-in, namespace: shop}\nspec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}\n",
    );
    comes_to(&cluster, "web", "http://db/", SHUT);
    comes_to(&cluster, "web", "http://secret.example.com/", SHUT);
    let described = eventually(20, || {
        let text = k(&["-n", "shop", "describe", "pods", "-l", "app=web"]).ok();
        if text.contains("secret.example.com") && text.contains("shop/db-") { Ok(text) } else { Err(text) }
    });
    contains(
        &described,
        &[
            "Denied egress to shop/db-",
            "port 8080/TCP: no rule of NetworkPolicy shut-in allows it",
            "Denied egress to secret.example.com",
        ],
    );

    let counted = k(&["get", "--raw", "/api/v1/nodes/node-1/proxy/metrics"]).ok();
    assert!(
        !counted.contains("{direction=\"egress\"} 0") && !counted.contains("{direction=\"ingress\"} 0"),
        "{counted}"
    );

    // The node goes on reaching all of them: nobody became unready, and the ingress is answered.
    let ready = k(&["-n", "shop", "get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[0].ready}"]).ok();
    assert_eq!(ready, "true true true");
    k(&["-n", "shop", "delete", "netpol", "--all"]).ok();
    comes_to(&cluster, "other", "http://db/", OPEN);
    comes_to(&cluster, "web", "http://db/", OPEN);
}

const ECHO: &str = "---
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo, namespace: shop}
spec:
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      containers: [{name: echo, image: EXAMPLES/echo/echo.wasm, args: [\"0.0.0.0:7\"]}]
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: shop}
spec:
  selector: {app: echo}
  ports: [{name: tcp, port: 7}, {name: udp, port: 7, protocol: UDP}]
";

/// How many dials the node has denied at this end.
fn denied(cluster: &Cluster, direction: &str) -> u64 {
    let text = cluster.kubectl(&["get", "--raw", "/api/v1/nodes/node-1/proxy/metrics"]).ok();
    let name = format!("coracle_network_policy_denied_total{{direction=\"{direction}\"}} ");
    let count = text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
    count.unwrap_or_else(|| panic!("{name:?} is missing in\n{text}"))
}

#[test]
fn sockets_of_guests_obey_policies() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let apply = |policy: &str| cluster.kubectl_in(&["apply", "-f", "-"], policy).ok();
    let folder = tempfile::tempdir().expect("a folder");
    let text = ["apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n", &app("web"), &app("other"), ECHO].concat();
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), &text)]).ok();
    cluster.kubectl(&["-n", "shop", "rollout", "status", "deploy/echo", "--timeout=60s"]).ok();
    // The probe's own words for a connection and for a datagram.
    let talks = |from: &str, how: &str, status: u16| {
        let path = format!("/{how}?to=echo:7&say=ahoy");
        eventually(30, || match get(cluster.ingress(), &format!("{from}.localhost"), &path) {
            Ok(answer) if answer.status == status => Ok(answer.body),
            other => Err(format!("{from}, {how}: {other:?}, not {status}")),
        })
    };
    for (from, how) in [("web", "dial"), ("web", "datagram"), ("other", "dial"), ("other", "datagram")] {
        assert_eq!(talks(from, how, OPEN), "ahoy");
    }

    apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: default-deny, namespace: shop}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n",
    );
    for (from, how) in [("web", "dial"), ("web", "datagram"), ("other", "dial"), ("other", "datagram")] {
        talks(from, how, SHUT);
    }
    let before = denied(&cluster, "ingress");
    talks("other", "dial", SHUT);
    talks("other", "datagram", SHUT);
    assert_eq!(denied(&cluster, "ingress"), before + 2);

    apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: echo, namespace: shop}\nspec:\n  podSelector: {matchLabels: {app: echo}}\n  ingress:\n  - from: [{podSelector: {matchLabels: {app: web}}}]\n    ports: [{port: 7, protocol: TCP}]\n",
    );
    assert_eq!(talks("web", "dial", OPEN), "ahoy");
    talks("web", "datagram", SHUT);
    talks("other", "dial", SHUT);
    apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: datagrams, namespace: shop}\nspec:\n  podSelector: {matchLabels: {app: echo}}\n  ingress:\n  - from: [{podSelector: {matchLabels: {app: web}}}]\n    ports: [{port: 1, endPort: 9, protocol: UDP}]\n",
    );
    assert_eq!(talks("web", "datagram", OPEN), "ahoy");
    talks("other", "datagram", SHUT);

    apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: shut-in, namespace: shop}\nspec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}\n",
    );
    talks("web", "dial", SHUT);
    talks("web", "datagram", SHUT);
    assert!(denied(&cluster, "egress") > 0);
    for (app, words) in [
        ("echo", "Denied ingress from shop/other-"),
        ("echo", "to port 7/TCP: no rule of NetworkPolicy"),
        ("echo", "to port 7/UDP: no rule of NetworkPolicy"),
        ("web", "Denied egress to shop/echo-"),
        ("web", "port 7/TCP: no rule of NetworkPolicy shut-in allows it"),
        ("web", "port 7/UDP: no rule of NetworkPolicy shut-in allows it"),
    ] {
        eventually(30, || {
            let told = cluster.kubectl(&["-n", "shop", "describe", "pods", "-l", &format!("app={app}")]).ok();
            if told.contains(words) { Ok(()) } else { Err(format!("{words:?} is missing in\n{told}")) }
        });
    }
}

#[test]
fn a_guest_finds_no_way_to_the_node() {
    let cluster = with(&["probe"]);
    // Somebody who must not be reached stands on the loopback and on every other address of the node.
    let listeners = ["127.0.0.1:0", "0.0.0.0:0"].map(|at| std::net::TcpListener::bind(at).expect("a free port"));
    for listener in &listeners {
        listener.set_nonblocking(true).expect("a socket");
    }
    let [loopback, everywhere] = [&listeners[0], &listeners[1]].map(|it| it.local_addr().expect("bound").port());
    let api = cluster.api().port();
    let hosts = [
        "127.0.0.1",
        "127.9.9.9",
        "127.43.0.1",
        "localhost",
        "localhost.",
        "a.localhost",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
    ];
    let mut urls: Vec<String> = hosts
        .iter()
        .flat_map(|host| [loopback, everywhere, api].map(|port| format!("http://{host}:{port}/")))
        .collect();
    urls.extend(["https://127.0.0.1", "https://localhost", "https://[::1]"].map(|host| format!("{host}:{api}/api")));
    urls.push("http://169.254.169.254/latest/meta-data/".into());
    urls.push("http://[::ffff:169.254.169.254]/".into());
    let node = || -> std::io::Result<std::net::IpAddr> {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("198.51.100.7:9")?;
        Ok(socket.local_addr()?.ip())
    };
    if let Ok(node) = node() {
        urls.extend([everywhere, api].map(|port| format!("http://{node}:{port}/")));
        urls.push(format!("http://[::ffff:{node}]:{everywhere}/"));
    }
    for url in &urls {
        let (status, body) = ask(&cluster, "probe", url);
        assert_eq!(status, SHUT, "{url}: {body}");
    }
    for listener in &listeners {
        let reached = listener.accept().map(|(_, from)| from);
        assert!(reached.is_err(), "reached from {reached:?}");
    }
    assert_eq!(ask(&cluster, "probe", "http://probe/").0, OPEN);
    // A redirect is an answer and not an errand.
    assert_eq!(ask(&cluster, "probe", "http://probe/status?code=302").0, 302);
}
