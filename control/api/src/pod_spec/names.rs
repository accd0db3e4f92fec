//! How a pod may have names resolved.

use k8s_openapi::api::core::v1::PodDNSConfig;

use crate::rules::{self, Causes};

/// As resolvers have it.
const SERVERS_MAX: usize = 3;
/// As Kubernetes has it.
const SEARCHES_MAX: usize = 32;
/// All of the search list together.
const SEARCH_CHARS_MAX: usize = 2048;

/// The configuration at `path`, beside this policy.
pub(super) fn validate(path: &str, config: Option<&PodDNSConfig>, policy: Option<&str>, causes: &mut Causes) {
    let servers = config.and_then(|config| config.nameservers.as_deref()).unwrap_or_default();
    if policy == Some("None") {
        if config.is_none() {
            return causes.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return causes.required(format!("{path}.nameservers"), detail);
        }
    }
    let Some(config) = config else { return };
    if servers.len() > SERVERS_MAX {
        let detail = format!("must not have more than {SERVERS_MAX} nameservers");
        causes.invalid(format!("{path}.nameservers"), servers, &detail);
    }
    for (index, server) in servers.iter().enumerate() {
        rules::ip(&format!("{path}.nameservers[{index}]"), server, causes);
    }
    let searches = config.searches.as_deref().unwrap_or_default();
    if searches.len() > SEARCHES_MAX {
        let detail = format!("must not have more than {SEARCHES_MAX} search paths");
        causes.invalid(format!("{path}.searches"), searches, &detail);
    }
    if searches.join(" ").chars().count() > SEARCH_CHARS_MAX {
        let detail =
            format!("must not have more than {SEARCH_CHARS_MAX} characters (including spaces) in the search list");
        causes.invalid(format!("{path}.searches"), searches, &detail);
    }
    for (index, search) in searches.iter().enumerate().filter(|(_, search)| *search != ".") {
        let name = search.strip_suffix('.').unwrap_or(search).replace('_', "-");
        for problem in rules::NameRule::Subdomain.problems(&name) {
            causes.invalid(format!("{path}.searches[{index}]"), search, &problem);
        }
    }
    for (index, option) in config.options.iter().flatten().enumerate() {
        if option.name.as_deref().is_none_or(str::is_empty) {
            causes.required(format!("{path}.options[{index}]"), "must not be empty");
        }
    }
}
