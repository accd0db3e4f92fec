//! Who may do what.
//!
//! Everything that is asked is a [`Question`], and a [`Decision`] is a function of who asks, the question and the snapshot: the
//! masters may do everything; a node may do what its pods need of it ([`node`]); everybody may do what bindings give ([`table`]).
//! Nothing is forbidden: what nobody allows is refused, with the reasons of all who were asked.
//!
//! The door asks once for each request, before anything of it is looked at ([`demand`]). What depends on what is written (rights
//! that are given, nodes that speak for others) is asked again where that is known: see `rest::permit`.

pub(crate) mod defaults;
pub(crate) mod escalation;
mod node;
pub(crate) mod question;
mod request;
pub(crate) mod restriction;
pub(crate) mod rule;
pub(crate) mod table;

use std::sync::Arc;

use api::{Details, Reason, StatusError};
use arc_swap::ArcSwap;
use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::IntoResponse;
use state::Snapshot;

use crate::answer::{Answer, Refusal};
use crate::identity::Identity;
use crate::{Door, audit, registry};
use question::{About, Question};
use table::{SOURCES, Table};

/// What nodes, servers, and machines that want to be one ask; whose that is, is decided where it is answered.
const OF_MACHINES: [&str; 4] = ["/coracle/v1/join", "/coracle/v1/renew", "/coracle/v1/nodes/", registry::CONTENT_PATH];
/// The image registry, which says no in words of its own.
const IMAGES: &str = "/v2";

/// Whether something may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It may, for this reason; the masters need none.
    Allowed(String),
    /// Nobody allows it; perhaps there is more to say.
    Refused(String),
}

/// Decides, on the newest table that the snapshot asks for.
pub(crate) struct Authorizer {
    known: ArcSwap<Known>,
}

/// A table, and the part of a snapshot that it was made of.
#[derive(Default)]
struct Known {
    sources: Snapshot,
    table: Arc<Table>,
}

/// Refuses a request that nobody allows.
pub(crate) async fn demand(
    State(door): State<Arc<Door>>,
    Extension(identity): Extension<Identity>,
    request: Request,
    next: Next,
) -> Answer {
    let path = request.uri().path();
    if path.strip_prefix(IMAGES).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        if let Err(error) = registry::demand(&door, &identity, request.method(), path) {
            return error.answer();
        }
    } else if !OF_MACHINES.iter().any(|own| path.starts_with(own)) {
        for question in request::questions(request.method(), request.uri()) {
            let decision = door.decide(&identity, &question);
            audit::decided(&request, &decision);
            if let Decision::Refused(reason) = decision {
                return Refusal(refusal(&identity, &question, &reason)).into_response();
            }
        }
    }
    next.run(request).await
}

// === impl Authorizer ===

impl Authorizer {
    /// Nothing is known yet.
    pub(crate) fn new() -> Self {
        Self { known: ArcSwap::default() }
    }

    /// What the bindings of this world give. It is made anew when an object that it is made of has changed, by whoever sees that
    /// first: a right counts from the moment that giving it was answered.
    pub(crate) fn table(&self, world: &Snapshot) -> Arc<Table> {
        let known = self.known.load();
        if SOURCES.iter().all(|kind| world.agrees(&known.sources, *kind)) {
            return known.table.clone();
        }
        let table = Arc::new(Table::from(world));
        // Two may do this at once, and the older may be last: then the next one does it again.
        self.known.store(Arc::new(Known { sources: world.part(&SOURCES), table: table.clone() }));
        table
    }

    /// Whether somebody may do something in this world.
    pub(crate) fn decide(&self, world: &Snapshot, who: &Identity, question: &Question) -> Decision {
        if who.is_master() {
            return Decision::Allowed(String::new());
        }
        let as_node = match who.node() {
            None => String::new(),
            Some(name) => match node::decide(name, question, world) {
                Decision::Refused(why) => why,
                allowed @ Decision::Allowed(_) => return allowed,
            },
        };
        let table = self.table(world);
        if let Some(grant) = table.allows(who, question) {
            return Decision::Allowed(format!("RBAC: allowed by {grant}"));
        }
        let missing = table.missing(who, question.namespace());
        let by_role = if missing.is_empty() { missing } else { format!("RBAC: {missing}") };
        let reasons = [as_node, by_role].into_iter().filter(|reason| !reason.is_empty());
        Decision::Refused(reasons.collect::<Vec<_>>().join("\n"))
    }
}

// === impl Decision ===

impl Decision {
    /// Whether it is yes.
    pub(crate) fn is_yes(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

// === impl Door ===

impl Door {
    /// Whether somebody may do something now.
    pub(crate) fn decide(&self, who: &Identity, question: &Question) -> Decision {
        self.authorizer.decide(&self.store.snapshot(), who, question)
    }

    /// Refuses what somebody may not do now.
    pub(crate) fn demand(&self, who: &Identity, question: &Question) -> Result<(), StatusError> {
        match self.decide(who, question) {
            Decision::Allowed(_) => Ok(()),
            Decision::Refused(reason) => Err(refusal(who, question, &reason)),
        }
    }
}

/// How it is told that something may not be done.
pub(crate) fn refusal(who: &Identity, question: &Question, reason: &str) -> StatusError {
    let user = &who.user;
    let verb = &question.verb;
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    match &question.about {
        About::Path(path) => {
            let why = plain(&format!("User {user:?} cannot {verb} path {path:?}"));
            let message = format!("forbidden: {why}{reason}");
            StatusError { reason: Reason::Forbidden, message, details: Some(Box::default()) }
        }
        About::Resource(asked) => {
            let part = if asked.subresource.is_empty() { String::new() } else { format!("/{}", asked.subresource) };
            let resource = format!("{}{part}", asked.plural);
            let place = match asked.namespace.as_str() {
                "" => "at the cluster scope".into(),
                namespace => format!("in the namespace {namespace:?}"),
            };
            let group = &asked.group;
            let why =
                plain(&format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {place}"));
            forbidden(group, &asked.plural, &asked.name, &format!("{why}{reason}"))
        }
    }
}

/// A refusal that speaks of a resource, served or not.
pub(crate) fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> StatusError {
    let qualified = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
    let named = if name.is_empty() { String::new() } else { format!(" {name:?}") };
    let details = Details { name: name.into(), group: group.into(), kind: resource.into(), ..Details::default() };
    let message = format!("{qualified}{named} is forbidden: {why}");
    StatusError { reason: Reason::Forbidden, message, details: Some(Box::new(details)) }
}

/// Text that no browser takes for a page, as Kubernetes has it.
fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
