//! `authorizer` in expressions: it asks who decides about requests, too.

use api::cel::{Authorizer, Decision, Question};
use state::Snapshot;

use crate::authorization::question::{self, Resource};
use crate::authorization::{self, Authorizer as Decider};
use crate::identity::Identity;

/// What whoever made the request may do, and what service accounts may.
pub(super) struct Permissions<'a> {
    pub(super) authorizer: &'a Decider,
    pub(super) world: &'a Snapshot,
    pub(super) identity: &'a Identity,
}

// === impl Permissions ===

impl Authorizer for Permissions<'_> {
    fn decide(&self, asked: &Question) -> Decision {
        let account = asked.service_account.as_ref().map(|(namespace, name)| account(namespace, name));
        let who = account.as_ref().unwrap_or(self.identity);
        let question = match &asked.path {
            Some(path) => question::Question::of_path(&asked.verb, path),
            None => {
                let resource = Resource::new(&asked.group, &asked.resource)
                    .within(&asked.namespace)
                    .named(&asked.name)
                    .part(&asked.subresource);
                question::Question::of_resource(&asked.verb, resource)
            }
        };
        match self.authorizer.decide(self.world, who, &question) {
            authorization::Decision::Allowed(reason) => Decision { is_allowed: true, reason, error: None },
            authorization::Decision::Refused(reason) => Decision { is_allowed: false, reason, error: None },
        }
    }
}

fn account(namespace: &str, name: &str) -> Identity {
    let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    Identity::known(format!("system:serviceaccount:{namespace}:{name}"), groups)
}
