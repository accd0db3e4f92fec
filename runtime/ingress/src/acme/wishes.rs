//! Which certificates are wanted, and when.
//!
//! Ingresses are taken oldest first. Those of one namespace that name the same secret share a certificate for the hosts of
//! all of them, proved as the oldest wants it. A host that cannot be had is left out, and the Ingress told so.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api::{Key, Object, kinds};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::{Ingress, IngressTLS};
use state::Snapshot;

use super::leaf::Leaf;
use super::{CERT_MANAGER_ANNOTATION, Challenge, DIRECTORY_ANNOTATION, LABEL};
use crate::notices::{Notice, REFUSED};
use crate::routes::ours;
use crate::terms::{Acme, Terms};

/// A certificate that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Where it is to be kept.
    pub secret: Key,
    /// Who asks for it, the oldest Ingress first.
    pub ingresses: Vec<Key>,
    /// For whom, in lower case; never nobody.
    pub hosts: BTreeSet<String>,
    /// How it is to be proved that they are ours.
    pub challenge: Challenge,
    /// When it is to be ordered.
    pub due: Due,
}

/// When a certificate is to be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// Now: there is none, or not the right one.
    AtOnce,
    /// When the one that is there grows old.
    At(Timestamp),
}

/// The certificates that are to come from `directory`, a URL.
pub fn wishes(view: &Snapshot, directory: &str) -> Vec<Wish> {
    let survey = Survey::of(view);
    let mut wishes: Vec<Wish> = survey.wishes.into_values().collect();
    for wish in &mut wishes {
        let secret = view.get(&wish.secret).and_then(|object| Some((object, object.decode::<Secret>().ok()?)));
        wish.due = secret.map_or(Due::AtOnce, |(object, secret)| due(object, &secret, &wish.hosts, directory));
    }
    wishes
}

/// What Ingresses ask for that they do not get.
pub(crate) fn refusals(view: &Snapshot) -> Vec<Notice> {
    Survey::of(view).notices
}

/// How an Ingress wants its hosts to be proved, if it asks for a certificate at all.
pub(crate) fn asks(ingress: &Object) -> Option<Challenge> {
    let annotations = &ingress.meta().annotations;
    match Terms::read(annotations).0.acme {
        Some(Acme::By(challenge)) => Some(challenge),
        Some(Acme::Off) => None,
        None => annotations.contains_key(CERT_MANAGER_ANNOTATION).then_some(Challenge::Http01),
    }
}

fn due(object: &Object, secret: &Secret, hosts: &BTreeSet<String>, directory: &str) -> Due {
    let is_from_here = object.meta().annotations.get(DIRECTORY_ANNOTATION).is_some_and(|from| from == directory);
    match Leaf::of(secret).filter(|leaf| is_from_here && leaf.is_for(hosts)) {
        Some(leaf) => Due::At(leaf.renewal()),
        None => Due::AtOnce,
    }
}

/// What the Ingresses of a snapshot ask for, and what they are told instead.
#[derive(Default)]
struct Survey {
    wishes: BTreeMap<Key, Wish>,
    notices: Vec<Notice>,
    /// The oldest Ingress that names a host.
    owners: HashMap<String, Key>,
}

// === impl Survey ===

impl Survey {
    fn of(view: &Snapshot) -> Self {
        let mut survey = Self::default();
        for (object, ingress) in ours(view) {
            survey.own(object.key(), &ingress);
            if let Some(challenge) = asks(object).filter(|_| !object.meta().is_terminating()) {
                survey.take(view, object.key(), &ingress, challenge);
            }
        }
        survey
    }

    fn own(&mut self, key: &Key, ingress: &Ingress) {
        let entries = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
        let named = entries.flat_map(|tls| tls.hosts.iter().flatten()).map(String::as_str);
        for host in rule_hosts(ingress).into_iter().chain(named) {
            self.owners.entry(host.to_ascii_lowercase()).or_insert_with(|| key.clone());
        }
    }

    fn take(&mut self, view: &Snapshot, key: &Key, ingress: &Ingress, challenge: Challenge) {
        let entries: Vec<&IngressTLS> = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten()).collect();
        if entries.is_empty() {
            self.refuse(key, "spec.tls: names no hosts to get a certificate for, and no secret to keep it in".into());
        }
        for (number, tls) in entries.into_iter().enumerate() {
            let Some(name) = tls.secret_name.as_deref().filter(|name| !name.is_empty()) else {
                self.refuse(key, format!("spec.tls[{number}].secretName: names no secret to keep the certificate in"));
                continue;
            };
            let secret = kinds::SECRET.key(key.namespace(), name);
            let is_foreign = view.get(&secret).is_some_and(|secret| !is_ours(secret));
            if is_foreign {
                self.refuse(
                    key,
                    format!("secret {name} was not made here (it has no label {LABEL}); it is left as it is"),
                );
                continue;
            }
            let named: Vec<&str> = tls.hosts.iter().flatten().map(String::as_str).collect();
            let hosts = if named.is_empty() { rule_hosts(ingress) } else { named };
            let hosts: BTreeSet<String> =
                hosts.iter().map(|host| host.to_ascii_lowercase()).filter(|host| self.may_have(key, host)).collect();
            if !hosts.is_empty() {
                self.wish(key, secret, hosts, challenge);
            }
        }
    }

    /// Whether an Ingress may have a certificate for a host; if not, it is told why.
    fn may_have(&mut self, key: &Key, host: &str) -> bool {
        if host.starts_with("*.") {
            self.refuse(key, format!("{host}: a wildcard is proved by DNS-01 alone, which is not spoken here"));
            return false;
        }
        match self.owners.get(host).filter(|owner| owner.namespace() != key.namespace()) {
            Some(owner) => {
                let owner = format!("{}/{}", owner.namespace(), owner.name());
                self.refuse(key, format!("{host} belongs to the older ingress {owner} of another namespace"));
                false
            }
            None => true,
        }
    }

    fn wish(&mut self, key: &Key, secret: Key, hosts: BTreeSet<String>, challenge: Challenge) {
        let wish = self.wishes.entry(secret).or_insert_with_key(|secret| {
            let (secret, ingresses, hosts) = (secret.clone(), Vec::new(), BTreeSet::new());
            Wish { secret, ingresses, hosts, challenge, due: Due::AtOnce }
        });
        wish.hosts.extend(hosts);
        if !wish.ingresses.contains(key) {
            wish.ingresses.push(key.clone());
        }
    }

    fn refuse(&mut self, key: &Key, message: String) {
        self.notices.push(Notice { ingress: key.clone(), reason: REFUSED, message });
    }
}

/// Whether a secret is kept here.
fn is_ours(secret: &Object) -> bool {
    secret.meta().labels.get(LABEL).is_some_and(|value| value == "true")
}

fn rule_hosts(ingress: &Ingress) -> Vec<&str> {
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    rules.filter_map(|rule| rule.host.as_deref()).filter(|host| !host.is_empty()).collect()
}

#[cfg(test)]
mod tests;
