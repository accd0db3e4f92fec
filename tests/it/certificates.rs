//! Certificates that are asked for, approved and used, by `kubectl` and `openssl` as the documentation of Kubernetes has it.

use std::path::Path;
use std::process::Command;

use harness::{Cluster, Output, eventually, kubectl_is_there};

use serde_json::json;

use crate::with;

fn openssl(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new("openssl");
    command.args(words).current_dir(folder);
    Output::of(command, None)
}

/// Makes a key and asks the cluster to sign a certificate for it.
fn ask(cluster: &Cluster, folder: &Path, name: &str, subject: &str, signer: &str) {
    let (key, csr) = (format!("{name}.key"), format!("{name}.csr"));
    openssl(
        folder,
        &[
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            subject,
            "-keyout",
            &key,
            "-out",
            &csr,
        ],
    )
    .ok();
    let request = openssl(folder, &["base64", "-A", "-in", &csr]).ok();
    let manifest = format!(
        "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\n\
         spec: {{request: {request}, signerName: {signer}, expirationSeconds: 86400, usages: [client auth]}}\n"
    );
    cluster.kubectl_with(&["create", "-f", "-"], Some(&manifest), &[]).ok();
}

/// Waits until `kubectl get csr` shows this.
fn shows(cluster: &Cluster, name: &str, condition: &str) -> String {
    let mut row = String::new();
    eventually(30, || {
        row = cluster.kubectl(&["get", "csr", name, "--no-headers"]).ok();
        if row.trim().ends_with(condition) { Ok(()) } else { Err(row.clone()) }
    });
    row
}

#[test]
fn a_certificate_is_approved_and_logs_in() {
    if !kubectl_is_there() || Command::new("openssl").arg("version").output().is_err() {
        return;
    }
    let cluster = with(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
    ask(&cluster, folder, "myuser", "/O=developers/CN=myuser", CLIENT);
    let row = shows(&cluster, "myuser", "Pending");
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!((words[0], &words[2..]), ("myuser", &[CLIENT, "kubernetes-admin", "24h", "Pending"][..]), "{row}");
    let approved = cluster.kubectl(&["certificate", "approve", "myuser"]).ok();
    assert_eq!(approved.trim(), "certificatesigningrequest.certificates.k8s.io/myuser approved");
    shows(&cluster, "myuser", "Approved,Issued");

    let issued = "go-template={{.status.certificate | base64decode}}";
    let issued = cluster.kubectl(&["get", "csr", "myuser", "-o", issued]).ok();
    std::fs::write(folder.join("myuser.crt"), issued).expect("written");
    let told = openssl(folder, &["x509", "-in", "myuser.crt", "-noout", "-subject", "-ext", "extendedKeyUsage"]).ok();
    assert!(told.contains("CN") && told.contains("myuser") && told.contains("Client Authentication"), "{told}");
    assert!(!told.contains("Server Authentication"), "{told}");
    let file = |name: &str| folder.join(name).display().to_string();
    let (certificate, key) = (file("myuser.crt"), file("myuser.key"));
    let user = json!({"client-certificate": certificate, "client-key": key});
    let told = "jsonpath={.status.userInfo.username} {.status.userInfo.groups}";
    let who = cluster.kubectl_as(&user, &["auth", "whoami", "-o", told]);
    assert_eq!(who.ok(), r#"myuser ["developers","system:authenticated"]"#);

    ask(&cluster, folder, "refused", "/CN=eve", CLIENT);
    cluster.kubectl(&["certificate", "deny", "refused"]).ok();
    shows(&cluster, "refused", "Denied");
    let contrary = cluster.kubectl(&["certificate", "approve", "refused"]).refused();
    assert!(contrary.contains("certificate signing request \"refused\" is already Denied"), "{contrary}");
}

/// A node asks for the certificate that it serves with; somebody approves it.
#[test]
fn a_node_gets_a_certificate_to_serve_with() {
    if !kubectl_is_there() || Command::new("openssl").arg("version").output().is_err() {
        return;
    }
    let cluster = with(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let ask = |name: &str, names: &[&str]| {
        let (key, csr) = (format!("{name}.key"), format!("{name}.csr"));
        let words = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let about = ["-subj", "/O=system:nodes/CN=system:node:node-1", "-keyout", &key, "-out", &csr];
        openssl(folder, &[&words[..], &about, names].concat()).ok();
        let request = openssl(folder, &["base64", "-A", "-in", &csr]).ok();
        let manifest = format!(
            "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\n\
             spec: {{request: {request}, signerName: kubernetes.io/kubelet-serving, usages: [digital signature, server auth]}}\n"
        );
        let as_node = ["--as", "system:node:node-1", "--as-group", "system:nodes", "create", "-f", "-"];
        cluster.kubectl_with(&as_node, Some(&manifest), &[]).ok();
    };
    ask("serving", &["-addext", "subjectAltName=DNS:node-1,IP:192.0.2.7"]);
    let row = shows(&cluster, "serving", "Pending");
    assert!(row.contains("kubernetes.io/kubelet-serving") && row.contains("system:node:node-1"), "{row}");
    cluster.kubectl(&["certificate", "approve", "serving"]).ok();
    shows(&cluster, "serving", "Approved,Issued");
    let issued = "go-template={{.status.certificate | base64decode}}";
    let issued = cluster.kubectl(&["get", "csr", "serving", "-o", issued]).ok();
    std::fs::write(folder.join("serving.crt"), issued).expect("written");
    let extensions = "extendedKeyUsage,subjectAltName";
    let told = openssl(folder, &["x509", "-in", "serving.crt", "-noout", "-subject", "-ext", extensions]).ok();
    for part in ["system:nodes", "system:node:node-1", "Server Authentication", "DNS:node-1", "IP Address:192.0.2.7"] {
        assert!(told.contains(part), "{part:?} is missing in\n{told}");
    }
    assert!(!told.contains("Client Authentication"), "{told}");
    let authority = "jsonpath={.data.ca\\.crt}";
    let authority = cluster.kubectl(&["get", "configmap", "kube-root-ca.crt", "-o", authority]).ok();
    std::fs::write(folder.join("ca.crt"), authority).expect("written");
    let verified =
        ["verify", "-CAfile", "ca.crt", "-purpose", "sslserver", "-verify_hostname", "node-1", "serving.crt"];
    assert_eq!(openssl(folder, &verified).ok(), "serving.crt: OK\n");

    // What names nothing could be served for nobody: it is approved, and not signed.
    ask("nameless", &[]);
    cluster.kubectl(&["certificate", "approve", "nameless"]).ok();
    shows(&cluster, "nameless", "Approved,Failed");
}

#[test]
fn nobody_asks_to_be_a_master_or_a_server() {
    if !kubectl_is_there() || Command::new("openssl").arg("version").output().is_err() {
        return;
    }
    let cluster = with(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    for group in ["system:masters", "system:servers"] {
        let subject = format!("/O={group}/CN=m");
        let made =
            ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", &subject, "-keyout", "m.key", "-out", "m.csr"];
        openssl(folder.path(), &made).ok();
        let request = openssl(folder.path(), &["base64", "-A", "-in", "m.csr"]).ok();
        let manifest = format!(
            "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: m}}\n\
             spec: {{request: {request}, signerName: kubernetes.io/kube-apiserver-client, usages: [client auth]}}\n"
        );
        let refused = cluster.kubectl_with(&["create", "-f", "-"], Some(&manifest), &[]).refused();
        let why = format!("use of kubernetes.io/kube-apiserver-client signer with {group} group is not allowed");
        assert!(refused.contains(&why), "{refused}");
    }
}
