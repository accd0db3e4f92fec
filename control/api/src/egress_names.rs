//! Names outside the cluster that a NetworkPolicy lets its pods reach: the annotation `coracle.dev/egress-names`.
//!
//! `api.example.com,*.example.org:443` counts as one more egress rule of the policy that bears it: the pods it selects may
//! also reach the addresses of `api.example.com` at every port, and those of every name below `example.org`, however deep, at
//! port 443. A rule is matched on the name that the pod asked for, and holds for the very addresses that were the answer it
//! got: another name for the same address opens nothing, and neither does another answer to somebody else. What no pod may
//! reach (the node itself, the control plane, link-local addresses) stays closed whatever a name resolves to.

use std::str::FromStr;

use crate::rules::NameRule;

/// The annotation of NetworkPolicies.
pub const ANNOTATION: &str = "coracle.dev/egress-names";

/// Enough for what a program depends on, few enough to be looked through at each look-up.
const NAMES_MAX: usize = 64;

/// The names of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressNames(Vec<EgressName>);

/// A name, or all names below one; at one port or at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressName {
    /// Lower case, without the `*.` and without a dot at its end.
    domain: String,
    /// Whether the names below are meant, rather than the name itself.
    below: bool,
    /// The port; none means every port.
    pub port: Option<u16>,
}

/// A text that is not a list of names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotEgressNames(String);

// === impl EgressNames ===

impl EgressNames {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &EgressName> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for EgressNames {
    type Err = NotEgressNames;

    fn from_str(text: &str) -> Result<Self, NotEgressNames> {
        let names: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        match names.len() {
            0 => Err(NotEgressNames("must name at least one host".into())),
            found if found > NAMES_MAX => Err(NotEgressNames(format!("must name at most {NAMES_MAX} hosts"))),
            _ => names.into_iter().map(str::parse).collect::<Result<_, _>>().map(Self),
        }
    }
}

// === impl EgressName ===

impl EgressName {
    /// Whether `name` is meant, whatever its case and with or without a dot at its end.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        let Some(start) = name.len().checked_sub(self.domain.len()) else { return false };
        let Some((head, tail)) = name.split_at_checked(start) else { return false };
        let as_wanted = if self.below { head.len() > 1 && head.ends_with('.') } else { head.is_empty() };
        as_wanted && tail.eq_ignore_ascii_case(&self.domain)
    }
}

impl FromStr for EgressName {
    type Err = NotEgressNames;

    fn from_str(text: &str) -> Result<Self, NotEgressNames> {
        let (name, port) = match text.rsplit_once(':') {
            None => (text, None),
            Some((name, port)) => {
                let number = port.parse().ok().filter(|port| *port != 0);
                let wrong = || NotEgressNames(format!("{text:?}: the port must be between 1 and 65535, inclusive"));
                (name, Some(number.ok_or_else(wrong)?))
            }
        };
        let (below, domain) = name.strip_prefix("*.").map_or((false, name), |domain| (true, domain));
        let domain = domain.strip_suffix('.').unwrap_or(domain).to_ascii_lowercase();
        // The last label of a name is not a number: what ends in one is read as an address by somebody, in some base.
        let last = domain.rsplit('.').next().unwrap_or_default();
        if last.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(NotEgressNames(format!("{text:?}: must be a DNS name, not an IP address; use ipBlock")));
        }
        match NameRule::Subdomain.problems(&domain).first() {
            Some(problem) => Err(NotEgressNames(format!("{text:?}: {problem}"))),
            None => Ok(Self { domain, below, port }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether one entry of the annotation means a name.
    fn check(entry: &str, name: &str, expected: bool) {
        let parsed: EgressName = entry.parse().expect("an entry");
        assert_eq!(parsed.matches(name), expected, "{entry} and {name}");
    }

    #[test]
    fn a_name_means_itself_and_a_wildcard_what_is_below() {
        check("api.example.com", "api.example.com", true);
        check("api.example.com", "API.Example.com.", true);
        check("api.example.com", "www.api.example.com", false);
        check("api.example.com", "xapi.example.com", false);
        check("api.example.com", "api.example.com.evil.net", false);
        check("*.example.org", "a.example.org", true);
        check("*.example.org:443", "a.b.example.org", true);
        check("*.example.org", "example.org", false);
        check("*.example.org", ".example.org", false);
        check("*.example.org", "evilexample.org", false);
        check("*.example.org", "ü.example.org", true);
        check("example.org", "", false);
    }

    #[test]
    fn what_is_no_list_of_names_is_refused() {
        let refused = |text: &str| text.parse::<EgressNames>().expect_err(text).to_string();
        assert_eq!(refused(" , "), "must name at least one host");
        assert_eq!(refused("a.b:0"), "\"a.b:0\": the port must be between 1 and 65535, inclusive");
        assert!(refused("a.b, *.*.c").starts_with("\"*.*.c\": a lowercase RFC 1123 subdomain"));
        for address in ["10.0.0.1", "a.0x7f", "::1", "*.1"] {
            refused(address);
        }
        assert_eq!(refused("10.0.0.1"), "\"10.0.0.1\": must be a DNS name, not an IP address; use ipBlock");
        refused(&vec!["a.b"; 65].join(","));
        let names: EgressNames = "api.example.com, *.example.org:443".parse().expect("names");
        assert_eq!(names.iter().map(|name| name.port).collect::<Vec<_>>(), [None, Some(443)]);
    }
}
