//! Who may reach whom on the pod network.

use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{AGE, NAME, text};
use crate::egress_names::{self, EgressNames};
use crate::rules::{self, Causes};
use crate::{Column, Names, Resource, Scope, cells};

/// The kind. Its annotation [`coracle.dev/egress-names`](crate::egress_names) is one more rule, and judged as such.
#[derive(Debug)]
pub struct NetworkPolicies;

const INGRESS: &str = "Ingress";
const EGRESS: &str = "Egress";
const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP"];
const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

impl Resource for NetworkPolicies {
    type Object = NetworkPolicy;

    const NAMES: &'static Names = &Names {
        group: "networking.k8s.io",
        version: "v1",
        kind: "NetworkPolicy",
        plural: "networkpolicies",
        singular: "networkpolicy",
        short: &["netpol"],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[NAME, text("Pod-Selector", "The pods it is about."), AGE];

    fn default(policy: &mut NetworkPolicy) {
        let has_names = egress_names(policy).is_some();
        let spec = policy.spec.get_or_insert_default();
        spec.pod_selector.get_or_insert_default();
        if spec.policy_types.as_ref().is_none_or(Vec::is_empty) {
            let egress = has_names || spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
            let types = [Some(INGRESS), egress.then_some(EGRESS)];
            spec.policy_types = Some(types.into_iter().flatten().map(str::to_owned).collect());
        }
        let of_ingress = spec.ingress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut());
        let of_egress = spec.egress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut());
        for port in of_ingress.chain(of_egress).flatten() {
            port.protocol.get_or_insert_with(|| "TCP".into());
        }
    }

    fn validate(policy: &NetworkPolicy, causes: &mut Causes) {
        let none = NetworkPolicySpec::default();
        let spec = policy.spec.as_ref().unwrap_or(&none);
        if let Some(selector) = &spec.pod_selector {
            rules::selector("spec.podSelector", selector, causes);
        }
        for (index, rule) in spec.ingress.iter().flatten().enumerate() {
            let path = format!("spec.ingress[{index}]");
            validate_ports(&path, rule.ports.as_deref(), causes);
            validate_peers(&format!("{path}.from"), rule.from.as_deref(), causes);
        }
        for (index, rule) in spec.egress.iter().flatten().enumerate() {
            let path = format!("spec.egress[{index}]");
            validate_ports(&path, rule.ports.as_deref(), causes);
            validate_peers(&format!("{path}.to"), rule.to.as_deref(), causes);
        }
        validate_types(spec, causes);
        validate_names(policy, spec, causes);
    }

    fn cells(policy: &NetworkPolicy, now: Timestamp) -> Vec<Value> {
        let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
        let selector = selector.map_or_else(|| cells::NONE.into(), cells::selector);
        vec![cells::name(&policy.metadata), selector, cells::age(&policy.metadata, now)]
    }
}

fn egress_names(policy: &NetworkPolicy) -> Option<&String> {
    policy.metadata.annotations.as_ref()?.get(egress_names::ANNOTATION)
}

fn validate_types(spec: &NetworkPolicySpec, causes: &mut Causes) {
    let types = spec.policy_types.as_deref().unwrap_or_default();
    if types.len() > [INGRESS, EGRESS].len() {
        causes.invalid("spec.policyTypes", types, "may not specify more than two policyTypes");
        return;
    }
    for (index, one) in types.iter().enumerate() {
        if one != INGRESS && one != EGRESS {
            causes.unsupported(format!("spec.policyTypes[{index}]"), one, &[INGRESS, EGRESS]);
        }
    }
}

fn validate_names(policy: &NetworkPolicy, spec: &NetworkPolicySpec, causes: &mut Causes) {
    let Some(names) = egress_names(policy) else { return };
    let path = format!("metadata.annotations[{}]", egress_names::ANNOTATION);
    if let Err(why) = names.parse::<EgressNames>() {
        causes.invalid(path, names, &why.to_string());
    } else if !spec.policy_types.iter().flatten().any(|one| one == EGRESS) {
        causes.invalid(path, names, "may only be specified when `policyTypes` has 'Egress'");
    }
}

fn validate_ports(path: &str, ports: Option<&[NetworkPolicyPort]>, causes: &mut Causes) {
    for (index, port) in ports.into_iter().flatten().enumerate() {
        validate_port(&format!("{path}.ports[{index}]"), port, causes);
    }
}

fn validate_port(path: &str, port: &NetworkPolicyPort, causes: &mut Causes) {
    if let Some(protocol) = &port.protocol
        && !PROTOCOLS.contains(&protocol.as_str())
    {
        causes.unsupported(format!("{path}.protocol"), protocol, PROTOCOLS);
    }
    if let Some(port) = &port.port {
        rules::port(&format!("{path}.port"), port, causes);
    }
    let Some(end) = port.end_port else { return };
    let path = format!("{path}.endPort");
    match &port.port {
        Some(IntOrString::Int(first)) => {
            if end < *first {
                causes.invalid(&path, first, "must be greater than or equal to `port`");
            }
            rules::port_number(&path, end, causes);
        }
        Some(IntOrString::String(_)) => causes.invalid(path, end, "may not be specified when `port` is non-numeric"),
        None => causes.invalid(path, end, "may not be specified when `port` is not specified"),
    }
}

fn validate_peers(path: &str, peers: Option<&[NetworkPolicyPeer]>, causes: &mut Causes) {
    for (index, peer) in peers.into_iter().flatten().enumerate() {
        validate_peer(&format!("{path}[{index}]"), peer, causes);
    }
}

fn validate_peer(path: &str, peer: &NetworkPolicyPeer, causes: &mut Causes) {
    let selectors = [("podSelector", &peer.pod_selector), ("namespaceSelector", &peer.namespace_selector)];
    for (name, selector) in selectors {
        if let Some(selector) = selector {
            rules::selector(&format!("{path}.{name}"), selector, causes);
        }
    }
    let selects = selectors.iter().any(|(_, selector)| selector.is_some());
    match &peer.ip_block {
        Some(block) => {
            validate_block(&format!("{path}.ipBlock"), block, causes);
            if selects {
                causes.forbidden(path, "may not specify both ipBlock and another peer");
            }
        }
        None if selects => {}
        None => causes.required(path, "must specify a peer"),
    }
}

fn validate_block(path: &str, block: &IPBlock, causes: &mut Causes) {
    if block.cidr.is_empty() {
        causes.required(format!("{path}.cidr"), "");
        return;
    }
    let Ok(whole) = block.cidr.parse::<IpNet>() else {
        causes.invalid(format!("{path}.cidr"), &block.cidr, CIDR);
        return;
    };
    for (index, text) in block.except.iter().flatten().enumerate() {
        let path = format!("{path}.except[{index}]");
        match text.parse::<IpNet>() {
            Err(_) => causes.invalid(path, text, CIDR),
            Ok(part) if !whole.contains(&part.addr()) || part.prefix_len() <= whole.prefix_len() => {
                causes.invalid(path, text, "must be a strict subset of `cidr`");
            }
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Admission, FieldValidation, Kind, Object, Operation};

    fn admit(spec: Value, names: Option<&str>) -> Result<Object, String> {
        let annotations = names.map(|names| json!({egress_names::ANNOTATION: names}));
        let value = json!({"metadata": {"name": "p", "annotations": annotations}, "spec": spec});
        let admission = Admission {
            operation: Operation::Create { uid: "u", seed: 1 },
            namespace: "shop",
            validation: FieldValidation::Strict,
            duplicates: &[],
            now: Timestamp::UNIX_EPOCH,
        };
        NetworkPolicies.admit(value, &admission).map(|it| it.object).map_err(|refused| refused.message)
    }

    fn spec(object: &Object) -> Value {
        object.to_value().expect("a tree")["spec"].clone()
    }

    /// What a spec with one more member is refused with.
    fn check(spec: Value, expected: &str) {
        let refused = admit(spec, None).expect_err("refused");
        assert_eq!(refused.strip_prefix("NetworkPolicy.networking.k8s.io \"p\" is invalid: "), Some(expected));
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let ports = json!([{"port": 5978}]);
        let filled = admit(json!({"egress": [{"ports": ports}]}), None).expect("valid");
        assert_eq!(
            spec(&filled),
            json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "egress": [{"ports": [{"port": 5978, "protocol": "TCP"}]}]})
        );
        let types = |spec_: Value, names| spec(&admit(spec_, names).expect("valid"))["policyTypes"].clone();
        assert_eq!(types(json!({"podSelector": {}}), None), json!(["Ingress"]));
        assert_eq!(types(json!({"podSelector": {}}), Some("a.example")), json!(["Ingress", "Egress"]));
        assert_eq!(types(json!({"policyTypes": ["Egress"]}), None), json!(["Egress"]));
    }

    #[test]
    fn what_breaks_a_rule_is_told_in_kubernetes_words() {
        let port = |port: Value| json!({"ingress": [{"ports": [port]}]});
        let peer = |peer: Value| json!({"egress": [{"to": [peer]}]});
        check(
            json!({"policyTypes": ["ingress"]}),
            "spec.policyTypes[0]: Unsupported value: \"ingress\": supported values: \"Ingress\", \"Egress\"",
        );
        check(
            port(json!({"port": 0})),
            "spec.ingress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        );
        check(
            port(json!({"port": 90, "endPort": 80})),
            "spec.ingress[0].ports[0].endPort: Invalid value: 90: must be greater than or equal to `port`",
        );
        check(
            port(json!({"endPort": 80})),
            "spec.ingress[0].ports[0].endPort: Invalid value: 80: may not be specified when `port` is not specified",
        );
        check(
            port(json!({"port": "http", "endPort": 80})),
            "spec.ingress[0].ports[0].endPort: Invalid value: 80: may not be specified when `port` is non-numeric",
        );
        check(
            port(json!({"protocol": "ICMP"})),
            "spec.ingress[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"TCP\", \"UDP\", \"SCTP\"",
        );
        check(peer(json!({})), "spec.egress[0].to[0]: Required value: must specify a peer");
        check(
            peer(json!({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}})),
            "spec.egress[0].to[0]: Forbidden: may not specify both ipBlock and another peer",
        );
        check(
            peer(json!({"ipBlock": {"cidr": "10.0.0"}})),
            "spec.egress[0].to[0].ipBlock.cidr: Invalid value: \"10.0.0\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        );
        check(
            peer(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}})),
            "spec.egress[0].to[0].ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
        );
        check(
            peer(json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}})),
            "spec.egress[0].to[0].podSelector.matchExpressions[0].operator: Invalid value: \"Is\": not a valid selector operator",
        );
    }

    #[test]
    fn names_are_judged_at_the_door() {
        let refused = admit(json!({"policyTypes": ["Ingress"]}), Some("a.example")).expect_err("refused");
        assert!(refused.ends_with(
            "metadata.annotations[coracle.dev/egress-names]: Invalid value: \"a.example\": may only be specified when `policyTypes` has 'Egress'"
        ));
        let refused = admit(json!({}), Some("a.example:http")).expect_err("refused");
        assert!(refused.ends_with("\"a.example:http\": the port must be between 1 and 65535, inclusive"), "{refused}");
    }

    #[test]
    fn a_row_tells_which_pods_are_meant() {
        let row = |spec| {
            NetworkPolicies.cells(&admit(spec, None).expect("valid"), "1970-01-01T00:05:03Z".parse().expect("a time"))
        };
        assert_eq!(row(json!({"podSelector": {}})), [json!("p"), json!("<none>"), json!("5m3s")]);
        assert_eq!(row(json!({"podSelector": {"matchLabels": {"app": "db"}}}))[1], json!("app=db"));
    }
}
