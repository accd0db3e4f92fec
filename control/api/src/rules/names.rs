//! What may be a name.

use super::Causes;

/// What the names of a kind's objects look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// `web-1.example`: an RFC 1123 subdomain, 253 bytes at most.
    Subdomain,
    /// `web-1`: an RFC 1123 label, 63 bytes at most.
    Label,
    /// The same, beginning with a letter: an RFC 1035 label.
    LetterLabel,
    /// `system:node`: whatever can stand between two slashes of a path.
    PathSegment,
}

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const WILDCARD: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LETTER_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const PORT: &str = "must be between 1 and 65535, inclusive";
const ENV: &str = "a valid environment variable name must consist only of printable ASCII characters other than '='";

/// The longest DNS label.
const LABEL_BYTES_MAX: usize = 63;
/// The longest DNS name.
const SUBDOMAIN_BYTES_MAX: usize = 253;
/// The longest name of a port (RFC 6335).
const PORT_NAME_BYTES_MAX: usize = 15;

// === impl NameRule ===

impl NameRule {
    /// What is wrong with `name`, in Kubernetes' words.
    pub fn problems(self, name: &str) -> Vec<String> {
        let (fits, wording, max) = match self {
            Self::Subdomain => (is_subdomain(name), SUBDOMAIN, SUBDOMAIN_BYTES_MAX),
            Self::Label => (is_label(name), LABEL, LABEL_BYTES_MAX),
            Self::LetterLabel => {
                let letter = name.starts_with(|c: char| c.is_ascii_lowercase());
                (letter && is_label(name), LETTER_LABEL, LABEL_BYTES_MAX)
            }
            Self::PathSegment => return path_segment(name),
        };
        let too_long = (name.len() > max).then(|| format!("must be no more than {max} bytes"));
        too_long.into_iter().chain((!fits).then(|| wording.to_owned())).collect()
    }

    /// Adds what is wrong with `name`.
    pub fn check(self, path: &str, name: &str, causes: &mut Causes) {
        for problem in self.problems(name) {
            causes.invalid(path, name, &problem);
        }
    }
}

fn path_segment(name: &str) -> Vec<String> {
    if matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"].into_iter().filter(|part| name.contains(part)).map(|part| format!("may not contain '{part}'")).collect()
}

fn is_label(name: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    !name.is_empty() && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

fn is_subdomain(name: &str) -> bool {
    name.split('.').all(is_label)
}

/// An RFC 1123 label that must be there.
pub fn dns_label(path: &str, name: &str, causes: &mut Causes) {
    match name {
        "" => causes.required(path, ""),
        name => NameRule::Label.check(path, name, causes),
    }
}

/// An RFC 1123 subdomain that must be there.
pub fn dns_name(path: &str, name: &str, causes: &mut Causes) {
    match name {
        "" => causes.required(path, ""),
        name => NameRule::Subdomain.check(path, name, causes),
    }
}

/// `*.example.com`.
pub fn wildcard_dns_name(path: &str, name: &str, causes: &mut Causes) {
    if !name.strip_prefix("*.").is_some_and(is_subdomain) {
        causes.invalid(path, name, WILDCARD);
    }
}

/// An RFC 1035 label that must be there.
pub fn service_label(path: &str, name: &str, causes: &mut Causes) {
    match name {
        "" => causes.required(path, ""),
        name => NameRule::LetterLabel.check(path, name, causes),
    }
}

/// What is wrong with `example.com/path`, in Kubernetes' words.
pub fn domain_prefixed_path(path: &str) -> Vec<String> {
    match path.split_once('/') {
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => NameRule::Subdomain.problems(domain),
        _ => vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".into()],
    }
}

/// A port number.
pub fn port_number(path: &str, port: i32, causes: &mut Causes) {
    if !(1..=65535).contains(&port) {
        causes.invalid(path, port, PORT);
    }
}

/// The name of a port.
pub fn port_name(path: &str, name: &str, causes: &mut Causes) {
    if name.len() > PORT_NAME_BYTES_MAX {
        causes.invalid(path, name, "must be no more than 15 bytes");
    }
    if !name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-') {
        causes.invalid(path, name, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !name.bytes().any(|c| c.is_ascii_lowercase()) {
        causes.invalid(path, name, "must contain at least one letter (a-z)");
    }
    if name.contains("--") {
        causes.invalid(path, name, "must not contain consecutive hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        causes.invalid(path, name, "must not begin or end with a hyphen");
    }
}

/// A port by number or by name.
pub fn port(path: &str, port: &k8s_openapi::apimachinery::pkg::util::intstr::IntOrString, causes: &mut Causes) {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    match port {
        IntOrString::Int(number) => port_number(path, *number, causes),
        IntOrString::String(name) => port_name(path, name, causes),
    }
}

/// The name of an environment variable.
pub fn env_name(path: &str, name: &str, causes: &mut Causes) {
    match name {
        "" => causes.required(path, ""),
        name if name.bytes().any(|c| c == b'=' || !(b' '..=b'~').contains(&c)) => causes.invalid(path, name, ENV),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_rule() {
        let check = |rule: NameRule, name: &str, fits: bool| assert_eq!(rule.problems(name).is_empty(), fits, "{name}");
        check(NameRule::Subdomain, "a.b-c.1", true);
        check(NameRule::Subdomain, "a..b", false);
        check(NameRule::Label, "1a", true);
        check(NameRule::Label, "a.b", false);
        check(NameRule::LetterLabel, "1a", false);
        check(NameRule::LetterLabel, "a1", true);
        check(NameRule::Label, &"a".repeat(64), false);
        check(NameRule::Subdomain, "Web", false);
        check(NameRule::PathSegment, "system:Node_1", true);
        check(NameRule::PathSegment, "a/b", false);
        check(NameRule::PathSegment, "..", false);
    }
}
