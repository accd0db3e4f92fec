//! Who may do what, as `kubectl` hears it: people with certificates, service accounts, those who ask as others, and nodes.

use std::path::PathBuf;

use harness::{Cluster, Output, eventually, kubectl_is_there};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};

use crate::with;

/// Somebody with a certificate that the cluster's authority has signed.
struct Person<'a> {
    cluster: &'a Cluster,
    kubeconfig: PathBuf,
}

impl<'a> Person<'a> {
    fn new(cluster: &'a Cluster, user: &str, groups: &[&str]) -> Self {
        let read = |name: &str| std::fs::read_to_string(cluster.data().join("pki").join(name)).expect("readable");
        let authority = KeyPair::from_pem(&read("ca.key")).expect("a key");
        let issuer = Issuer::from_ca_cert_pem(&read("ca.crt"), authority).expect("an authority");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("signed");
        let folder = cluster.data().join("people").join(user.replace(':', "-"));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("user.crt"), certificate.pem()).expect("written");
        std::fs::write(folder.join("user.key"), key.serialize_pem()).expect("written");
        let kubeconfig = folder.join("kubeconfig");
        let text = format!(
            "apiVersion: v1
kind: Config
current-context: c
clusters: [{{name: c, cluster: {{server: 'https://{}', certificate-authority: {}}}}}]
users: [{{name: u, user: {{client-certificate: user.crt, client-key: user.key}}}}]
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
",
            cluster.api(),
            cluster.data().join("pki/ca.crt").display(),
        );
        std::fs::write(&kubeconfig, text).expect("written");
        Self { cluster, kubeconfig }
    }

    fn kubectl(&self, words: &[&str]) -> Output {
        self.kubectl_with(words, None)
    }

    fn kubectl_in(&self, words: &[&str], input: &str) -> Output {
        self.kubectl_with(words, Some(input))
    }

    fn kubectl_with(&self, words: &[&str], input: Option<&str>) -> Output {
        let kubeconfig = self.kubeconfig.display().to_string();
        self.cluster.kubectl_with(words, input, &[("KUBECONFIG", &kubeconfig)])
    }

    /// Whether `kubectl auth can-i` says so.
    fn can(&self, words: &[&str]) -> bool {
        let answer = self.kubectl(&[&["auth", "can-i"], words].concat());
        match (answer.stdout.trim().lines().next().unwrap_or_default(), answer.code) {
            ("yes", 0) => true,
            (no, 1) if no.starts_with("no") => false,
            _ => panic!("{answer:?}"),
        }
    }
}

#[track_caller]
fn refused(output: Output, words: &str) {
    let told = output.refused();
    assert!(told.contains(words), "{words:?} is missing in {told}");
}

/// The roles that are made of others are complete.
fn wait_for_roles(cluster: &Cluster) {
    eventually(60, || {
        match cluster.kubectl(&[
            "get",
            "clusterrole",
            "view",
            "edit",
            "admin",
            "-o",
            "jsonpath={.items[*].rules[*].resources}",
        ]) {
            told if told.stdout.contains("rolebindings") && told.stdout.contains("pods/log") => Ok(()),
            told => Err(format!("{told:?}")),
        }
    });
}

#[test]
fn people_do_what_they_are_given() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    wait_for_roles(&cluster);
    let jane = Person::new(&cluster, "jane", &["dev"]);
    let told = jane.kubectl(&["auth", "whoami"]).ok();
    for word in ["Username", "jane", "[dev system:authenticated]"] {
        assert!(told.contains(word), "{word} is missing in {told}");
    }
    // The forbidden words: lists, names, the cluster's scope, parts, and what is no resource.
    for (words, told) in [
        (
            &["get", "pods"][..],
            r#"Error from server (Forbidden): pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default""#,
        ),
        (
            &["get", "deploy", "web", "-n", "shop"],
            r#"deployments.apps "web" is forbidden: User "jane" cannot get resource "deployments" in API group "apps" in the namespace "shop""#,
        ),
        (
            &["get", "nodes"],
            r#"nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope"#,
        ),
        (
            &["get", "pods", "-A"],
            r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" at the cluster scope"#,
        ),
        (
            &["get", "ns", "shop"],
            r#"namespaces "shop" is forbidden: User "jane" cannot get resource "namespaces" in API group "" in the namespace "shop""#,
        ),
        (
            &["create", "configmap", "c"],
            r#"configmaps is forbidden: User "jane" cannot create resource "configmaps" in API group "" in the namespace "default""#,
        ),
        (
            &["delete", "secret", "s"],
            r#"secrets "s" is forbidden: User "jane" cannot delete resource "secrets" in API group "" in the namespace "default""#,
        ),
        (&["get", "--raw", "/metrics"], r#"forbidden: User "jane" cannot get path "/metrics""#),
        (
            &["get", "--raw", "/api/v1/namespaces/default/pods/web/log"],
            r#"pods "web" is forbidden: User "jane" cannot get resource "pods/log" in API group "" in the namespace "default""#,
        ),
    ] {
        refused(jane.kubectl(words), told);
    }
    // A role, given in a namespace, to a group and to a user.
    k(&["create", "namespace", "shop"]).ok();
    k(&["create", "role", "reader", "-n", "shop", "--verb=get,list,watch", "--resource=pods,pods/log"]).ok();
    k(&["create", "rolebinding", "dev-reads", "-n", "shop", "--role=reader", "--group=dev"]).ok();
    assert!(jane.can(&["list", "pods", "-n", "shop"]) && jane.can(&["get", "pods", "--subresource=log", "-n", "shop"]));
    assert!(!jane.can(&["list", "pods"]) && !jane.can(&["delete", "pods", "-n", "shop"]));
    assert_eq!(jane.kubectl(&["get", "pods", "-n", "shop"]).stderr, "No resources found in shop namespace.\n");
    // Only some, by their names.
    k(&["create", "role", "one", "--verb=get", "--resource=secrets", "--resource-name=mine"]).ok();
    k(&["create", "rolebinding", "jane-one", "--role=one", "--user=jane"]).ok();
    k(&["create", "secret", "generic", "mine", "--from-literal=a=b"]).ok();
    jane.kubectl(&["get", "secret", "mine"]).ok();
    refused(jane.kubectl(&["get", "secret", "other"]), r#"secrets "other" is forbidden"#);
    refused(jane.kubectl(&["get", "secrets"]), "secrets is forbidden");
    // A role of the cluster, given everywhere, for resources and for paths.
    k(&["create", "clusterrole", "sees-nodes", "--verb=get,list", "--resource=nodes"]).ok();
    k(&["create", "clusterrolebinding", "jane-nodes", "--clusterrole=sees-nodes", "--user=jane"]).ok();
    k(&["create", "clusterrole", "sees-metrics", "--verb=get", "--non-resource-url=/metrics"]).ok();
    k(&["create", "clusterrolebinding", "jane-metrics", "--clusterrole=sees-metrics", "--user=jane"]).ok();
    assert!(jane.kubectl(&["get", "nodes"]).ok().contains("node-1"));
    assert!(jane.can(&["get", "/metrics"]) && !jane.can(&["get", "/logs"]));
    assert!(jane.kubectl(&["get", "--raw", "/metrics"]).ok().contains("apiserver_request_total"));
    let list = jane.kubectl(&["auth", "can-i", "--list", "-n", "shop"]).ok();
    for line in ["pods", "[get list watch]", "selfsubjectaccessreviews.authorization.k8s.io", "nodes", "[/metrics]"] {
        assert!(list.contains(line), "{line} is missing in\n{list}");
    }
    // What is taken away is gone at once.
    k(&["delete", "clusterrolebinding", "jane-nodes"]).ok();
    refused(jane.kubectl(&["get", "nodes"]), "nodes is forbidden");
}

#[test]
fn service_accounts_view_edit_and_own_a_namespace() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    wait_for_roles(&cluster);
    for role in ["view", "edit", "admin"] {
        k(&["create", "serviceaccount", role]).ok();
        let (clusterrole, account) = (format!("--clusterrole={role}"), format!("--serviceaccount=default:{role}"));
        k(&["create", "rolebinding", role, &clusterrole, &account]).ok();
    }
    let may = |who: &str, words: &[&str]| {
        let user = format!("system:serviceaccount:default:{who}");
        let answer = k(&[&["auth", "can-i"], words, &["--as", &user]].concat());
        answer.stdout.starts_with("yes")
    };
    // verb, resource, subresource: who may, in the namespace.
    for (words, [view, edit, admin]) in [
        (&["list", "pods"][..], [true, true, true]),
        (&["get", "pods", "--subresource=log"], [true, true, true]),
        (&["list", "secrets"], [false, true, true]),
        (&["create", "deployments.apps"], [false, true, true]),
        (&["create", "pods", "--subresource=exec"], [false, true, true]),
        (&["patch", "deployments.apps", "--subresource=scale"], [false, true, true]),
        (&["create", "rolebindings.rbac.authorization.k8s.io"], [false, false, true]),
        (&["impersonate", "serviceaccounts"], [false, true, true]),
        (&["list", "pods", "-n", "kube-system"], [false, false, false]),
        (&["list", "nodes"], [false, false, false]),
        (&["delete", "resourcequotas"], [false, false, false]),
    ] {
        assert_eq!(["view", "edit", "admin"].map(|who| may(who, words)), [view, edit, admin], "{words:?}");
    }
    // With a token of its own, as a program in a pod would ask.
    let token = k(&["create", "token", "view"]).ok();
    let kubeconfig = cluster.data().join("view.kubeconfig");
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: c, clusters: [{{name: c, cluster: {{server: 'https://{}', certificate-authority: {}}}}}], \
         users: [{{name: u, user: {{token: {}}}}}], contexts: [{{name: c, context: {{cluster: c, user: u}}}}]}}",
        cluster.api(),
        cluster.data().join("pki/ca.crt").display(),
        token.trim(),
    );
    std::fs::write(&kubeconfig, text).expect("written");
    let kubeconfig = kubeconfig.display().to_string();
    let as_view = |words: &[&str]| cluster.kubectl_with(words, None, &[("KUBECONFIG", &kubeconfig)]);
    assert!(as_view(&["auth", "whoami"]).ok().contains("system:serviceaccount:default:view"));
    assert!(as_view(&["get", "serviceaccounts"]).ok().contains("view"));
    refused(
        as_view(&["create", "configmap", "c"]),
        r#"configmaps is forbidden: User "system:serviceaccount:default:view" cannot create resource "configmaps" in API group "" in the namespace "default""#,
    );
}

#[test]
fn rights_are_given_only_by_those_who_have_them() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    wait_for_roles(&cluster);
    k(&["create", "rolebinding", "jane-admin", "--clusterrole=admin", "--user=jane"]).ok();
    let jane = Person::new(&cluster, "jane", &[]);
    jane.kubectl(&["create", "role", "reader", "--verb=get,list", "--resource=pods,secrets"]).ok();
    jane.kubectl(&["create", "rolebinding", "joe-reads", "--role=reader", "--user=joe"]).ok();
    jane.kubectl(&["create", "rolebinding", "joe-views", "--clusterrole=view", "--user=joe"]).ok();
    let told = jane.kubectl(&["create", "role", "more", "--verb=get,update", "--resource=resourcequotas"]).refused();
    let expect = "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"jane\" (groups=[\"system:authenticated\"]) is \
                  attempting to grant RBAC permissions not currently held:\n\
                  {APIGroups:[\"\"], Resources:[\"resourcequotas\"], Verbs:[\"update\"]}";
    assert!(told.contains(expect), "{told}");
    let told = jane.kubectl(&["create", "rolebinding", "boss", "--clusterrole=cluster-admin", "--user=jane"]).refused();
    let expect = "{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}\n{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}";
    assert!(
        told.contains("rolebindings.rbac.authorization.k8s.io \"boss\" is forbidden") && told.contains(expect),
        "{told}"
    );
    refused(
        jane.kubectl(&["create", "clusterrolebinding", "boss", "--clusterrole=cluster-admin", "--user=jane"]),
        r#"clusterrolebindings.rbac.authorization.k8s.io is forbidden: User "jane" cannot create resource "clusterrolebindings" in API group "rbac.authorization.k8s.io" at the cluster scope"#,
    );
    // With the right to bind it, it may be given.
    k(&[
        "create",
        "clusterrole",
        "binds-boss",
        "--verb=bind",
        "--resource=clusterroles.rbac.authorization.k8s.io",
        "--resource-name=cluster-admin",
    ])
    .ok();
    k(&["create", "rolebinding", "jane-binds", "--clusterrole=binds-boss", "--user=jane"]).ok();
    jane.kubectl(&["create", "rolebinding", "boss", "--clusterrole=cluster-admin", "--user=jane"]).ok();
    assert!(jane.can(&["update", "resourcequotas"]));
    // An aggregated role may come to allow anything.
    k(&["create", "clusterrole", "writes-roles", "--verb=*", "--resource=clusterroles.rbac.authorization.k8s.io"]).ok();
    k(&[
        "create",
        "clusterrole",
        "makes-roles",
        "--verb=create,update,patch,get",
        "--resource=clusterroles.rbac.authorization.k8s.io",
    ])
    .ok();
    k(&["create", "clusterrolebinding", "joe-makes", "--clusterrole=makes-roles", "--user=joe"]).ok();
    let joe = Person::new(&cluster, "joe", &[]);
    refused(
        joe.kubectl(&["create", "clusterrole", "all", "--aggregation-rule=a=b"]),
        r#"clusterroles.rbac.authorization.k8s.io "all" is forbidden: must have cluster-admin privileges to use the aggregationRule"#,
    );
}

const RECONCILED: &str = "apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: readers, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}]
";

#[test]
fn roles_are_made_of_others_and_reconciled() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    wait_for_roles(&cluster);
    k(&["create", "clusterrole", "monitoring", "--aggregation-rule=example.org/to-monitoring=true"]).ok();
    k(&["create", "clusterrolebinding", "jane", "--clusterrole=monitoring", "--user=jane"]).ok();
    let can = |words: &[&str]| k(&[&["auth", "can-i"], words, &["--as=jane"]].concat()).stdout.starts_with("yes");
    assert!(!can(&["list", "endpoints"]));
    k(&["create", "clusterrole", "part", "--verb=get,list", "--resource=endpoints"]).ok();
    k(&["label", "clusterrole", "part", "example.org/to-monitoring=true"]).ok();
    eventually(60, || if can(&["list", "endpoints"]) { Ok(()) } else { Err("not yet".into()) });
    k(&["label", "clusterrole", "part", "example.org/to-monitoring-"]).ok();
    eventually(60, || if can(&["list", "endpoints"]) { Err("still".into()) } else { Ok(()) });
    // A custom kind becomes part of what everybody views, as its author says.
    k(&["create", "clusterrole", "views-crons", "--verb=get", "--resource=leases.coordination.k8s.io"]).ok();
    k(&["label", "clusterrole", "views-crons", "rbac.authorization.k8s.io/aggregate-to-view=true"]).ok();
    k(&["create", "rolebinding", "joe", "--clusterrole=view", "--user=joe"]).ok();
    eventually(60, || match k(&["auth", "can-i", "get", "leases.coordination.k8s.io", "--as=joe"]).stdout {
        told if told.starts_with("yes") => Ok(()),
        told => Err(told),
    });
    let told = cluster.kubectl_in(&["auth", "reconcile", "-f", "-"], RECONCILED).ok();
    assert!(told.contains("role.rbac.authorization.k8s.io/reader reconciled"), "{told}");
    assert!(can(&["get", "pods"]) && !can(&["list", "pods"]));
    let more = RECONCILED.replace("verbs: [get]", "verbs: [list]");
    let told = cluster.kubectl_in(&["auth", "reconcile", "-f", "-"], &more).ok();
    assert!(told.contains("reconciled") && can(&["get", "pods"]) && can(&["list", "pods"]), "{told}");
}

#[test]
fn one_asks_as_another() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    let told = k(&["auth", "whoami", "--as=joe", "--as-group=dev", "--as-uid=7"]).ok();
    for word in ["joe", "[dev system:authenticated]", "UID", "7"] {
        assert!(told.contains(word), "{word} is missing in {told}");
    }
    refused(
        k(&["get", "nodes", "--as=joe"]),
        r#"nodes is forbidden: User "joe" cannot list resource "nodes" in API group "" at the cluster scope"#,
    );
    k(&["get", "nodes", "--as=joe", "--as-group=system:masters"]).ok();
    let jane = Person::new(&cluster, "jane", &[]);
    refused(
        jane.kubectl(&["get", "nodes", "--as=joe"]),
        r#"users "joe" is forbidden: User "jane" cannot impersonate resource "users" in API group "" at the cluster scope"#,
    );
    k(&["create", "clusterrole", "poses", "--verb=impersonate", "--resource=users"]).ok();
    k(&["create", "clusterrolebinding", "jane-poses", "--clusterrole=poses", "--user=jane"]).ok();
    refused(jane.kubectl(&["get", "nodes", "--as=joe"]), r#"nodes is forbidden: User "joe" cannot list"#);
    refused(
        jane.kubectl(&["get", "nodes", "--as=joe", "--as-group=system:masters"]),
        r#"groups "system:masters" is forbidden: User "jane" cannot impersonate resource "groups" in API group "" at the cluster scope"#,
    );
}

const NODE: &str = "{apiVersion: v1, kind: Node, metadata: {name: other-node}}";
const POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  nodeName: other-node
  tolerations: [{operator: Exists}]
  containers: [{name: web, image: 'web:v1', envFrom: [{secretRef: {name: mine}}]}]
";

#[test]
fn a_node_sees_what_its_pods_use_and_no_more() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    k(&["create", "secret", "generic", "mine", "--from-literal=a=b"]).ok();
    k(&["create", "secret", "generic", "theirs", "--from-literal=a=b"]).ok();
    let node = Person::new(&cluster, "system:node:other-node", &["system:nodes"]);
    let unrelated = |name: &str| {
        format!(
            r#"secrets {name:?} is forbidden: User "system:node:other-node" cannot get resource "secrets" in API group "" in the namespace "default": no relationship found between node 'other-node' and this object"#
        )
    };
    refused(node.kubectl(&["get", "secret", "mine"]), &unrelated("mine"));
    node.kubectl_in(&["create", "-f", "-"], NODE).ok();
    refused(
        node.kubectl_in(&["create", "-f", "-"], &NODE.replace("other-node", "third-node")),
        r#"nodes "third-node" is forbidden: node "other-node" is not allowed to modify node "third-node""#,
    );
    cluster.kubectl_in(&["create", "-f", "-"], POD).ok();
    node.kubectl(&["get", "secret", "mine"]).ok();
    node.kubectl(&["get", "secrets", "--field-selector=metadata.name=mine"]).ok();
    refused(node.kubectl(&["get", "secret", "theirs"]), &unrelated("theirs"));
    refused(node.kubectl(&["get", "secrets", "-A"]), "can only read namespaced object of this type");
    refused(node.kubectl(&["get", "secrets"]), "No Object name found");
    refused(node.kubectl(&["delete", "secret", "mine"]), "can only read resources of this type");
    refused(
        node.kubectl(&["label", "node", "node-1", "a=b"]),
        r#"nodes "node-1" is forbidden: node "other-node" is not allowed to modify node "node-1""#,
    );
    refused(node.kubectl(&["create", "configmap", "c"]), "configmaps is forbidden");
    k(&["delete", "pod", "web", "--force", "--grace-period=0"]).ok();
    refused(node.kubectl(&["get", "secret", "mine"]), &unrelated("mine"));
}
