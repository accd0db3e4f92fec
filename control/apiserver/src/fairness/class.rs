//! What a request is to the others: how much it matters, whose it is, and what it costs.
//!
//! As Kubernetes has it by default, in fewer words: administrators and the looks after the server's own health never wait; what
//! keeps nodes alive and leaders elected does not wait for the work of others; everybody else has a queue among everybody else.

use std::sync::Arc;

use api::{GroupKind, Kinds, Subresource, kinds};
use http::Method;

use crate::identity::{Identity, NODES};
use crate::query::Query;
use crate::target::{Place, Target};

/// How much a request matters. Levels share nothing: a full one leaves the others alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Never waits.
    Exempt,
    /// Nodes that say they are alive.
    NodeHigh,
    /// All else that nodes do.
    System,
    /// Leases: who leads must be able to say so.
    LeaderElection,
    /// Everybody who is somebody.
    Workload,
    /// Nobody vouches for these.
    CatchAll,
}

/// A request among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    /// How much it matters.
    pub(super) level: Level,
    /// Whose it is.
    pub(super) flow: Arc<str>,
    /// How many seats it takes.
    pub(super) seats: u32,
    /// Whether it goes on after its answer has begun, and no longer takes a seat then: a watch, a log, a stream.
    pub(super) is_long_running: bool,
}

/// As Kubernetes has it: a list of so many objects is the work of one seat.
const OBJECTS_PER_SEAT: usize = 100;
/// What a body may hold while it is being sent; a seat is worth so much memory.
const BODY_BYTES_PER_SEAT: usize = 64 * 1024;

/// Images come and go as streams of any length, and lie on the disk.
const IMAGES: &str = "/v2";
/// Whoever looks after the server must be able to.
const HEALTH: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// The class of a request: `kinds` are those that are served, `count` tells how many objects there are of one, `body` how long
/// the request's body may become.
pub(super) fn class(
    kinds: &Kinds,
    identity: &Identity,
    method: &Method,
    path: &str,
    query: Option<&str>,
    body: usize,
    count: impl Fn(GroupKind) -> usize,
) -> Class {
    let target = Target::find(kinds, path).ok();
    let query = Query::parse(query);
    let level = level(identity, path, target.as_ref());
    let is_watch = query.list_options().is_ok_and(|options| options.watch);
    let is_long_running = match target.as_ref().map(|target| &target.place) {
        Some(Place::Collection) => *method == Method::GET && is_watch,
        Some(Place::Part(_, part)) => is_stream(*part),
        _ => false,
    };
    let objects = match &target {
        Some(target) if target.place == Place::Collection && !is_watch => read(method, target, &query, count),
        _ => 0,
    };
    let seats = 1 + objects / OBJECTS_PER_SEAT + body / BODY_BYTES_PER_SEAT;
    Class {
        level,
        flow: identity.user.as_str().into(),
        seats: u32::try_from(seats).unwrap_or(u32::MAX),
        is_long_running,
    }
}

fn level(identity: &Identity, path: &str, target: Option<&Target>) -> Level {
    let is_about = |kind: GroupKind| target.is_some_and(|target| target.kind.group_kind() == kind);
    let is_image = path.strip_prefix(IMAGES).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if identity.is_master() || is_image || HEALTH.contains(&path) {
        Level::Exempt
    } else if identity.is_anonymous() {
        Level::CatchAll
    } else if identity.is_in(NODES) && (is_about(kinds::NODE) || is_about(kinds::LEASE)) {
        Level::NodeHigh
    } else if identity.is_in(NODES) {
        Level::System
    } else if is_about(kinds::LEASE) {
        Level::LeaderElection
    } else {
        Level::Workload
    }
}

/// How many objects a request for a collection looks at.
fn read(method: &Method, target: &Target, query: &Query, count: impl Fn(GroupKind) -> usize) -> usize {
    let Ok(options) = query.list_options() else { return 0 };
    let all = count(target.kind.group_kind());
    match (*method == Method::GET, options.limit) {
        (true, limit) if limit > 0 => all.min(limit),
        (true, _) => all,
        (false, _) if *method == Method::DELETE => all,
        (false, _) => 0,
    }
}

fn is_stream(part: Subresource) -> bool {
    !matches!(
        part,
        Subresource::Status | Subresource::Scale | Subresource::Binding | Subresource::Eviction | Subresource::Finalize
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{MASTERS, NODE_USER};

    fn who(user: &str) -> Identity {
        match user {
            "" => Identity::anonymous(),
            "admin" => Identity::known(user, [MASTERS.to_owned()]),
            user if user.starts_with(NODE_USER) => Identity::known(user, [NODES.to_owned()]),
            user => Identity::known(user, []),
        }
    }

    /// `Workload 3 long` for what somebody asks while there are a thousand of everything.
    fn check(user: &str, asked: &str, body: usize, expect: &str) {
        let (method, path) = asked.split_once(' ').expect("a method and a path");
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let method = method.parse().expect("a method");
        let found = class(&Kinds::default(), &who(user), &method, path, query, body, |_| 1_000);
        let long = if found.is_long_running { " long" } else { "" };
        assert_eq!(format!("{:?} {}{long}", found.level, found.seats), expect, "{user} {asked}");
        assert_eq!(&*found.flow, who(user).user);
    }

    #[test]
    fn who_asks_for_what_decides_how_much_it_matters() {
        check("admin", "GET /api/v1/pods", 0, "Exempt 11");
        check("system:node:n1", "PATCH /api/v1/nodes/n1/status", 100, "NodeHigh 1");
        check(
            "system:node:n1",
            "PUT /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1",
            0,
            "NodeHigh 1",
        );
        check("system:node:n1", "PATCH /api/v1/namespaces/shop/pods/web/status", 0, "System 1");
        check("eve", "PUT /apis/coordination.k8s.io/v1/namespaces/shop/leases/leader", 0, "LeaderElection 1");
        check("eve", "GET /api/v1/namespaces/shop/pods/web", 0, "Workload 1");
        check("eve", "GET /apis", 0, "Workload 1");
        check("", "GET /api/v1/pods", 0, "CatchAll 11");
        check("", "GET /version", 0, "CatchAll 1");
        check("", "GET /readyz", 0, "Exempt 1");
        check("eve", "GET /v2/hello/manifests/v1", 0, "Exempt 1");
    }

    #[test]
    fn what_is_read_and_what_is_sent_costs_seats() {
        check("eve", "GET /api/v1/namespaces/shop/pods", 0, "Workload 11");
        check("eve", "GET /api/v1/pods?limit=500", 0, "Workload 6");
        check("eve", "DELETE /api/v1/namespaces/shop/pods", 0, "Workload 11");
        check("eve", "POST /api/v1/namespaces/shop/pods", 4_000, "Workload 1");
        check("eve", "POST /api/v1/namespaces/shop/configmaps", 1 << 20, "Workload 17");
    }

    #[test]
    fn what_goes_on_takes_a_seat_only_to_begin() {
        check("eve", "GET /api/v1/pods?watch=true", 0, "Workload 1 long");
        check("eve", "GET /api/v1/namespaces/shop/pods/web/log?follow=true", 0, "Workload 1 long");
        check("eve", "GET /api/v1/namespaces/shop/pods/web/status", 0, "Workload 1");
    }
}
