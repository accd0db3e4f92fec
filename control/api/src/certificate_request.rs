//! What a request for a certificate asks for: the names in it, and whether a signer of the cluster's own may sign them.
//!
//! [`parse`] faces strangers, as a pure function of bytes. Nothing here signs, and nothing here approves.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

/// The names that a certificate is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The common name of the subject: the user.
    pub common_name: String,
    /// The organisations of the subject: the groups.
    pub organizations: Vec<String>,
    /// Names of servers.
    pub dns_names: Vec<String>,
    /// Addresses of servers.
    pub addresses: Vec<IpAddr>,
    /// Names of people.
    pub emails: Vec<String>,
    /// Names of anything.
    pub uris: Vec<String>,
}

/// Bytes that are not a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not PEM, or of something else.
    #[error("PEM block type must be CERTIFICATE REQUEST")]
    Pem,
    /// Not what PEM says that it is.
    #[error("asn1: structure error: malformed certificate request")]
    Der,
}

/// Who asks with a certificate: users.
pub const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Who asks with a certificate: nodes.
pub const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Who answers with a certificate: nodes.
pub const NODE_SERVER: &str = "kubernetes.io/kubelet-serving";

const NODES: &str = "system:nodes";
const NODE_USER: &str = "system:node:";

/// What a request in PEM asks for.
pub fn parse(pem: &[u8]) -> Result<Wanted, Malformed> {
    let der = der(pem).ok_or(Malformed::Pem)?;
    let (rest, request) = X509CertificationRequest::from_der(&der).map_err(|_| Malformed::Der)?;
    if !rest.is_empty() {
        return Err(Malformed::Der);
    }
    let subject = &request.certification_request_info.subject;
    let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().ok().map(String::from);
    let mut wanted = Wanted {
        common_name: subject.iter_common_name().find_map(text).unwrap_or_default(),
        organizations: subject.iter_organization().filter_map(text).collect(),
        ..Wanted::default()
    };
    for extension in request.requested_extensions().into_iter().flatten() {
        if let ParsedExtension::SubjectAlternativeName(names) = extension {
            names.general_names.iter().for_each(|name| wanted.note(name));
        }
    }
    Ok(wanted)
}

/// The bytes of the first block, if it is one of a request.
fn der(pem: &[u8]) -> Option<Vec<u8>> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE REQUEST-----";
    const END: &str = "-----END CERTIFICATE REQUEST-----";
    let text = std::str::from_utf8(pem).ok()?;
    let block = text.get(text.find("-----BEGIN ")?..)?.strip_prefix(BEGIN)?;
    let body: String = block.get(..block.find(END)?)?.split_whitespace().collect();
    BASE64.decode(body).ok()
}

/// Why a signer of the cluster's own does not sign a request for these usages; none if it does, or if it is not one of those.
pub fn refusal(signer: &str, wanted: &Wanted, usages: &[String]) -> Option<String> {
    let refused = match signer {
        CLIENT => usages_are(usages, &["client auth"], &["digital signature", "key encipherment"]),
        NODE_CLIENT => of_node(wanted)
            .or_else(|| wanted.has_no_names(&["dns", "email", "ip", "uri"]))
            .or_else(|| usages_are(usages, &["client auth", "digital signature"], &["key encipherment"])),
        NODE_SERVER => of_node(wanted)
            .or_else(|| {
                let nameless = wanted.dns_names.is_empty() && wanted.addresses.is_empty();
                nameless.then_some("DNS or IP subjectAltName is required")
            })
            .or_else(|| wanted.has_no_names(&["email", "uri"]))
            .or_else(|| usages_are(usages, &["server auth", "digital signature"], &["key encipherment"])),
        _ => None,
    };
    refused.map(str::to_owned)
}

fn of_node(wanted: &Wanted) -> Option<&'static str> {
    if wanted.organizations != [NODES] {
        return Some("subject organization is not system:nodes");
    }
    (!wanted.common_name.starts_with(NODE_USER)).then_some("subject common name does not begin with system:node:")
}

fn usages_are(usages: &[String], needed: &[&str], allowed: &[&str]) -> Option<&'static str> {
    let is_known = |usage: &String| needed.contains(&usage.as_str()) || allowed.contains(&usage.as_str());
    let all = needed.iter().all(|needed| usages.iter().any(|usage| usage == needed));
    (!all || !usages.iter().all(is_known)).then_some("usages did not match the signer's")
}

// === impl Wanted ===

impl Wanted {
    fn note(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).into()),
            GeneralName::RFC822Name(name) => self.emails.push((*name).into()),
            GeneralName::URI(name) => self.uris.push((*name).into()),
            GeneralName::IPAddress(bytes) => {
                let address = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                self.addresses.extend(address.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)));
            }
            _ => {}
        }
    }

    fn has_no_names(&self, kinds: &[&str]) -> Option<&'static str> {
        let found = [
            ("dns", self.dns_names.is_empty(), "DNS subjectAltNames are not allowed"),
            ("email", self.emails.is_empty(), "email subjectAltNames are not allowed"),
            ("ip", self.addresses.is_empty(), "IP subjectAltNames are not allowed"),
            ("uri", self.uris.is_empty(), "URI subjectAltNames are not allowed"),
        ];
        found.into_iter().find(|(kind, none, _)| kinds.contains(kind) && !none).map(|(_, _, why)| why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made with `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /O=system:nodes/CN=system:node:n1
    /// -addext subjectAltName=DNS:n1,IP:192.0.2.1`.
    const NODE: &str = include_str!("certificate_request/node.csr");

    #[test]
    fn names_are_read() {
        let expect = Wanted {
            common_name: "system:node:n1".into(),
            organizations: vec!["system:nodes".into()],
            dns_names: vec!["n1".into()],
            addresses: vec![[192, 0, 2, 1].into()],
            ..Wanted::default()
        };
        assert_eq!(parse(NODE.as_bytes()), Ok(expect));
        assert_eq!(parse(b"nonsense"), Err(Malformed::Pem));
        assert_eq!(parse(NODE.replace("REQUEST", "").as_bytes()), Err(Malformed::Pem));
        let empty = "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n";
        assert_eq!(parse(empty.as_bytes()), Err(Malformed::Der));
    }

    fn check(signer: &str, change: impl FnOnce(&mut Wanted), usages: &[&str], expect: Option<&str>) {
        let mut wanted = parse(NODE.as_bytes()).expect("a request");
        change(&mut wanted);
        let usages: Vec<String> = usages.iter().map(ToString::to_string).collect();
        assert_eq!(refusal(signer, &wanted, &usages).as_deref(), expect, "{signer}");
    }

    #[test]
    fn each_signer_has_its_rules() {
        let (client, server) = (["digital signature", "client auth"], ["digital signature", "server auth"]);
        let nameless = |wanted: &mut Wanted| {
            wanted.dns_names.clear();
            wanted.addresses.clear();
        };
        check(NODE_CLIENT, nameless, &client, None);
        check(NODE_CLIENT, |_| {}, &client, Some("DNS subjectAltNames are not allowed"));
        check(NODE_CLIENT, nameless, &server, Some("usages did not match the signer's"));
        check(NODE_SERVER, |_| {}, &server, None);
        check(NODE_SERVER, nameless, &server, Some("DNS or IP subjectAltName is required"));
        let other = |wanted: &mut Wanted| wanted.organizations = vec!["system:masters".into()];
        check(NODE_SERVER, other, &server, Some("subject organization is not system:nodes"));
        let user = |wanted: &mut Wanted| wanted.common_name = "eve".into();
        check(NODE_SERVER, user, &server, Some("subject common name does not begin with system:node:"));
        check(CLIENT, |_| {}, &["client auth"], None);
        check(CLIENT, |_| {}, &["client auth", "server auth"], Some("usages did not match the signer's"));
        check("example.com/own", |_| {}, &[], None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let body = BASE64.encode(&bytes);
            let _ = parse(format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----").as_bytes());
        }
    }
}
