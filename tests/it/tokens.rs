//! Tokens of service accounts: given out, used, and ended; and in pods.

use std::time::Duration;

use harness::{Clock, Cluster, Output, Plan, eventually, get, kubectl_is_there};
use serde_json::{Value, json};

use crate::{PROGRAM, manifest, with};

/// A pod that shows its files, and asks for a token of its own beside the one that every pod has.
const READER: &str = "apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: v1
kind: Pod
metadata: {name: reader, labels: {app: reader}}
spec:
  serviceAccountName: reader
  containers:
  - name: main
    image: EXAMPLES/probe/probe.wasm
    ports: [{containerPort: 8080}]
    volumeMounts: [{name: vault, mountPath: /vault}]
  volumes:
  - name: vault
    projected: {sources: [{serviceAccountToken: {audience: vault, expirationSeconds: 600, path: token}}]}
---
apiVersion: v1
kind: Service
metadata: {name: reader}
spec: {selector: {app: reader}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: reader}
spec: {rules: [{host: reader.localhost, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: reader, port: {number: 80}}}}]}}]}
";

const PLACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn apply(cluster: &Cluster, text: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), text)]).ok();
}

/// What the pod finds in a file.
fn read(cluster: &Cluster, path: &str) -> String {
    let mut found = String::new();
    eventually(60, || {
        let answer = get(cluster.ingress(), "reader.localhost", &format!("/read?path={path}"));
        let answer = answer.map_err(|error| error.to_string())?;
        answer.body.trim().clone_into(&mut found);
        if answer.status == 200 && !found.is_empty() { Ok(()) } else { Err(format!("{} {found}", answer.status)) }
    });
    found
}

/// `kubectl` as whoever has the token.
fn with_token(cluster: &Cluster, token: &str, words: &[&str]) -> Output {
    cluster.kubectl_as(&json!({"token": token}), words)
}

fn review(cluster: &Cluster, token: &str, audience: &str) -> Value {
    let review = format!(
        "apiVersion: authentication.k8s.io/v1\nkind: TokenReview\nspec: {{token: {token}, audiences: ['{audience}']}}\n"
    );
    let answered = cluster.kubectl_with(&["create", "-o", "json", "-f", "-"], Some(&review), &[]).ok();
    serde_json::from_str::<Value>(&answered).expect("JSON")["status"].clone()
}

#[test]
fn a_token_is_created_used_and_ends_with_its_account() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    cluster.kubectl(&["create", "serviceaccount", "web"]).ok();
    let token = cluster.kubectl(&["create", "token", "web", "--duration", "10m"]).ok().trim().to_owned();
    let me = "jsonpath={.status.userInfo.username}";
    let who = || with_token(&cluster, &token, &["auth", "whoami", "-o", me]);
    assert_eq!(who().ok(), "system:serviceaccount:default:web");
    const REFUSED: &str = "error: You must be logged in to the server";
    let nonsense = with_token(&cluster, "nonsense", &["get", "pods"]).refused();
    assert!(nonsense.contains(REFUSED), "{nonsense}");
    let short = cluster.kubectl(&["create", "token", "web", "--duration", "1m"]).refused();
    assert!(short.contains("may not specify a duration less than 10 minutes"), "{short}");

    cluster.kubectl(&["create", "secret", "generic", "holder"]).ok();
    let bound = ["create", "token", "web", "--bound-object-kind", "Secret", "--bound-object-name", "holder"];
    let bound = cluster.kubectl(&[&bound[..], &["--audience", "vault"]].concat()).ok();
    let reviewed = review(&cluster, bound.trim(), "vault");
    assert_eq!((&reviewed["authenticated"], &reviewed["audiences"][0]), (&true.into(), &"vault".into()), "{reviewed}");
    cluster.kubectl(&["delete", "secret", "holder"]).ok();
    let reviewed = review(&cluster, bound.trim(), "vault");
    assert!(reviewed["error"].as_str().is_some_and(|why| why.contains("has been deleted")), "{reviewed}");

    cluster.kubectl(&["delete", "serviceaccount", "web"]).ok();
    let ended = who().refused();
    assert!(ended.contains(REFUSED), "{ended}");
}

#[test]
fn a_pod_has_a_token_that_is_its_own() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    apply(&cluster, READER);
    let pod = || -> Value {
        serde_json::from_str(&cluster.kubectl(&["get", "pod", "reader", "-o", "json"]).ok()).expect("JSON")
    };
    let token = read(&cluster, &format!("{PLACE}/token"));
    assert_eq!(read(&cluster, &format!("{PLACE}/namespace")), "default");
    assert!(read(&cluster, &format!("{PLACE}/ca.crt")).starts_with("-----BEGIN CERTIFICATE-----"));
    let mounts = &pod()["spec"]["containers"][0]["volumeMounts"];
    assert!(mounts[1]["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-")), "{mounts}");
    let who: Value =
        serde_json::from_str(&with_token(&cluster, &token, &["auth", "whoami", "-o", "json"]).ok()).expect("JSON");
    let who = &who["status"]["userInfo"];
    assert_eq!(who["username"], "system:serviceaccount:default:reader");
    assert_eq!(who["extra"]["authentication.kubernetes.io/pod-name"][0], "reader", "{who}");
    assert_eq!(who["extra"]["authentication.kubernetes.io/pod-uid"][0], pod()["metadata"]["uid"], "{who}");
    assert_eq!(who["extra"]["authentication.kubernetes.io/node-name"][0], "node-1", "{who}");
    let called = get(cluster.ingress(), "reader.localhost", "/call?url=https://kubernetes.default.svc/version");
    let called = called.expect("answered");
    assert!(called.status == 200 && called.body.contains("+coracle"), "{} {}", called.status, called.body);
    let called = get(cluster.ingress(), "reader.localhost", "/call?url=https://kubernetes.default.svc/api/v1/pods");
    assert_eq!(called.expect("answered").status, 403, "nobody lends the pod credentials");
    let for_vault = read(&cluster, "/vault/token");
    assert_eq!(review(&cluster, &for_vault, "vault")["authenticated"], true);
    let nothing = with_token(&cluster, &for_vault, &["get", "pods"]).refused();
    assert!(nothing.contains("You must be logged in to the server"), "{nothing}");

    cluster.kubectl(&["delete", "pod", "reader", "--grace-period=0", "--force"]).ok();
    eventually(90, || match with_token(&cluster, &token, &["auth", "whoami"]) {
        output if output.code != 0 => Ok(()),
        output => Err(output.stdout),
    });
}

/// On a machine whose clock the story sets, for the least that a token lasts is ten minutes.
#[test]
fn a_token_is_replaced_while_its_pod_runs() {
    if !kubectl_is_there() {
        return;
    }
    let mut clock = Clock::new().expect("a clock");
    let cluster = Plan::new().by(&clock).up(PROGRAM).unwrap_or_else(|error| panic!("{error:#}"));
    let for_the_api = "{serviceAccountToken: {expirationSeconds: 600, path: api}}";
    apply(&cluster, &READER.replace("sources: [", &format!("sources: [{for_the_api}, ")));
    let run = || {
        let told = "jsonpath={.metadata.uid} {.status.containerStatuses[0].restartCount}";
        cluster.kubectl(&["get", "pod", "reader", "-o", told]).ok()
    };
    let who =
        |token: &str| with_token(&cluster, token, &["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]);
    const READER_ACCOUNT: &str = "system:serviceaccount:default:reader";
    let (first, for_vault) = (read(&cluster, "/vault/api"), read(&cluster, "/vault/token"));
    let begun = run();
    assert_eq!(who(&first).ok(), READER_ACCOUNT);

    // Four fifths of its life are 480 seconds.
    clock.advance(Duration::from_secs(450));
    assert_eq!(read(&cluster, "/vault/api"), first, "nothing is due yet");
    clock.advance(Duration::from_secs(50));
    let replaced = |path: &str, old: &str| {
        eventually(90, || match read(&cluster, path) {
            token if token == old => Err(format!("{path} is as it was")),
            token => Ok(token),
        })
    };
    let second = replaced("/vault/api", &first);
    let second_for_vault = replaced("/vault/token", &for_vault);
    assert_eq!(who(&second).ok(), READER_ACCOUNT);
    assert_eq!(who(&first).ok(), READER_ACCOUNT, "it holds until its end");
    for token in [&for_vault, &second_for_vault] {
        assert_eq!(review(&cluster, token, "vault")["authenticated"], true);
    }

    clock.advance(Duration::from_secs(150));
    let ended = who(&first).refused();
    assert!(ended.contains("You must be logged in to the server"), "{ended}");
    assert_eq!(who(&second).ok(), READER_ACCOUNT);
    assert_eq!(run(), begun, "it is the same pod, and its container has not ended");
}

/// Nobody helps it: the program has a socket, the address of a name, its files, and TLS of its own.
#[test]
fn a_pod_speaks_tls_to_the_api_itself() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&["tls"]);
    let said = |pod: &str| {
        let mut said = String::new();
        // Ciphers are much to compile for a program that is itself not optimised.
        eventually(240, || {
            let phase = cluster.kubectl(&["get", "pod", pod, "-o", "jsonpath={.status.phase}"]).ok();
            said = cluster.kubectl(&["logs", pod]).stdout;
            if ["Succeeded", "Failed"].contains(&&*phase) { Ok(()) } else { Err(format!("{phase}: {said}")) }
        });
        said
    };
    assert!(said("tls").contains("+coracle"), "{}", said("tls"));
    let pod = |name: &str, args: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  containers:\n  - name: main\n    \
             image: EXAMPLES/tls/tls.wasm\n    args: [{args}]\n---\n"
        )
    };
    let pods = pod("asks", "get, 'https://kubernetes.default.svc/api/v1/namespaces/default/pods'")
        + &pod("is-nobody", "get, 'https://kubernetes.default.svc/api/v1/pods', --token, /nowhere")
        + &pod("trusts-nobody", "get, 'https://kubernetes.default.svc/version', --ca, /dev/null");
    apply(&cluster, &pods);
    let asked = said("asks");
    assert!(asked.contains("system:serviceaccount:default:default\\\" cannot list"), "{asked}");
    assert!(
        said("is-nobody").contains("Unauthorized") || said("is-nobody").contains("system:anonymous"),
        "{}",
        said("is-nobody")
    );
    assert!(said("trusts-nobody").contains("tls: "), "{}", said("trusts-nobody"));
}

#[test]
fn a_pod_without_its_account_is_refused_and_a_secret_gets_its_token() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: lost}\nspec: {serviceAccountName: nobody, containers: [{name: c, image: x}]}\n";
    let refused = cluster.kubectl_with(&["create", "-f", "-"], Some(pod), &[]).refused();
    assert!(
        refused.contains(r#"pods "lost" is forbidden: error looking up service account default/nobody: serviceaccount "nobody" not found"#),
        "{refused}"
    );
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: old, annotations: {kubernetes.io/service-account.name: default}}\ntype: kubernetes.io/service-account-token\n";
    cluster.kubectl_with(&["create", "-f", "-"], Some(secret), &[]).ok();
    let mut token = String::new();
    eventually(30, || {
        token = cluster.kubectl(&["get", "secret", "old", "-o", "go-template={{.data.token | base64decode}}"]).stdout;
        if token.starts_with("ey") { Ok(()) } else { Err(token.clone()) }
    });
    let who = ["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"];
    assert_eq!(with_token(&cluster, &token, &who).ok(), "system:serviceaccount:default:default");
    cluster.kubectl(&["delete", "secret", "old"]).ok();
    with_token(&cluster, &token, &who).refused();
}

#[test]
fn a_bootstrap_token_is_somebody() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: bootstrap-token-abcdef, namespace: kube-system}\ntype: bootstrap.kubernetes.io/token\nstringData: {token-id: abcdef, token-secret: 0123456789abcdef, usage-bootstrap-authentication: 'true', auth-extra-groups: 'system:bootstrappers:shop'}\n";
    cluster.kubectl_with(&["create", "-f", "-"], Some(secret), &[]).ok();
    let who = ["auth", "whoami", "-o", "jsonpath={.status.userInfo.username} {.status.userInfo.groups}"];
    assert_eq!(
        with_token(&cluster, "abcdef.0123456789abcdef", &who).ok(),
        r#"system:bootstrap:abcdef ["system:bootstrappers","system:bootstrappers:shop","system:authenticated"]"#
    );
    with_token(&cluster, "abcdef.0123456789abcdeg", &who).refused();
}
