//! What the server counts about itself, for Prometheus, under the names that dashboards for Kubernetes know.

use std::fmt;
use std::time::Duration;

use api::{Kinds, Scope};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use state::Snapshot;

use crate::audit::Counts;
use crate::target::{Place, Target, subresource_name};
use crate::verb::Verb;

/// The media type of what [`Metrics::tell`] says.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// As Kubernetes has them: from an answer out of memory to one that nobody waits for any longer.
const DURATION_SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// The counts.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    durations: Family<Asked, Histogram, fn() -> Histogram>,
    in_flight: Family<InFlight, Gauge>,
    long_running: Family<Asked, Gauge>,
    objects: Family<Stored, Gauge>,
    revision: Gauge,
    pub(crate) audit: Counts,
}

/// What was asked, as far as it is counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Asked {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
    component: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    #[prometheus(flatten)]
    asked: Asked,
    code: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InFlight {
    request_kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stored {
    resource: String,
}

/// Something that goes on; it is over when this is dropped.
pub(crate) struct GoingOn(Gauge);

// === impl Metrics ===

impl Metrics {
    /// Nothing counted yet.
    pub(crate) fn new() -> Self {
        let new: fn() -> Histogram = || Histogram::new(DURATION_SECONDS);
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(new),
            in_flight: Family::default(),
            long_running: Family::default(),
            objects: Family::default(),
            revision: Gauge::default(),
            audit: Counts::default(),
        };
        let registry = &mut metrics.registry;
        // The registry ends a counter's name in `_total`.
        registry.register("apiserver_request", "Requests answered", metrics.requests.clone());
        registry.register(
            "apiserver_request_duration_seconds",
            "How long answers took, up to their first byte",
            metrics.durations.clone(),
        );
        registry.register(
            "apiserver_current_inflight_requests",
            "Requests being answered now",
            metrics.in_flight.clone(),
        );
        registry.register(
            "apiserver_longrunning_requests",
            "Watches and streams that go on now",
            metrics.long_running.clone(),
        );
        registry.register("apiserver_storage_objects", "Objects stored", metrics.objects.clone());
        registry.register("coracle_store_revision", "The revision of the newest snapshot", metrics.revision.clone());
        let audit = &metrics.audit;
        registry.register("apiserver_audit_event", "Lines of the audit log", audit.taken.clone());
        registry.register("apiserver_audit_error", "Lines that the audit log lost", audit.lost.clone());
        metrics
    }

    /// A request is being answered.
    pub(crate) fn began(&self, mutates: bool) -> GoingOn {
        let request_kind = if mutates { "mutating" } else { "readOnly" };
        GoingOn::new(self.in_flight.get_or_create(&InFlight { request_kind }).clone())
    }

    /// A request was answered.
    pub(crate) fn answered(&self, asked: Asked, code: u16, after: Duration) {
        self.requests.get_or_create(&Answered { asked, code }).inc();
        if asked.verb != "WATCH" && asked.verb != "CONNECT" {
            self.durations.get_or_create(&asked).observe(after.as_secs_f64());
        }
    }

    /// A watch or a stream goes on.
    pub(crate) fn goes_on(&self, asked: Asked) -> GoingOn {
        GoingOn::new(self.long_running.get_or_create(&asked).clone())
    }

    /// All counts, as text.
    pub(crate) fn tell(&self, world: &Snapshot, kinds: &Kinds) -> Result<String, fmt::Error> {
        self.revision.set(i64::try_from(world.revision().0).unwrap_or(i64::MAX));
        for kind in kinds.all() {
            let count = i64::try_from(world.count(kind.group_kind())).unwrap_or(i64::MAX);
            self.objects.get_or_create(&Stored { resource: kind.names().resource() }).set(count);
        }
        let mut told = String::new();
        text::encode(&mut told, &self.registry)?;
        Ok(told)
    }
}

// === impl Asked ===

impl Asked {
    /// A request for a resource.
    pub(crate) fn of(verb: Verb, target: &Target) -> Self {
        let names = target.names();
        let (subresource, scope) = match &target.place {
            Place::Part(_, part) => (subresource_name(*part), "resource"),
            Place::Object(_) => ("", "resource"),
            Place::Collection if names.scope == Scope::Namespaced && !target.namespace.is_empty() => ("", "namespace"),
            Place::Collection => ("", "cluster"),
        };
        Self {
            verb: word(verb),
            group: names.group,
            version: names.version,
            resource: names.plural,
            subresource,
            scope,
            component: "apiserver",
        }
    }

    /// A request that becomes a connection.
    pub(crate) fn connect(target: &Target) -> Self {
        Self { verb: "CONNECT", ..Self::of(Verb::Create, target) }
    }

    /// A request for anything else.
    pub(crate) fn other(method: &http::Method) -> Self {
        let verb = match *method {
            http::Method::GET => "GET",
            http::Method::HEAD => "HEAD",
            http::Method::POST => "POST",
            http::Method::PUT => "PUT",
            http::Method::PATCH => "PATCH",
            http::Method::DELETE => "DELETE",
            // A client may invent methods without end; they are one here.
            _ => "other",
        };
        Self { verb, group: "", version: "", resource: "", subresource: "", scope: "", component: "apiserver" }
    }
}

fn word(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "GET",
        Verb::List => "LIST",
        Verb::Watch => "WATCH",
        Verb::Create => "POST",
        Verb::Update => "PUT",
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
        Verb::DeleteCollection => "DELETECOLLECTION",
    }
}

// === impl GoingOn ===

impl GoingOn {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for GoingOn {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(told: &str, line: &str) {
        assert!(told.lines().any(|one| one == line), "{line} is missing in\n{told}");
    }

    #[test]
    fn what_is_asked_is_counted_by_what_it_is() {
        let metrics = Metrics::new();
        let target = Target::parse("/apis/apps/v1/namespaces/shop/deployments").expect("a path");
        let asked = Asked::of(Verb::List, &target);
        let labels = r#"verb="LIST",group="apps",version="v1",resource="deployments",subresource="",scope="namespace",component="apiserver""#;
        metrics.answered(asked, 200, Duration::from_millis(30));
        let open = metrics.goes_on(Asked::of(Verb::Watch, &target));
        let told = metrics.tell(&Snapshot::default(), &Kinds::default()).expect("text");
        contains(&told, &format!("apiserver_request_total{{{labels},code=\"200\"}} 1"));
        contains(&told, &format!("apiserver_request_duration_seconds_bucket{{le=\"0.05\",{labels}}} 1"));
        contains(&told, &format!("apiserver_longrunning_requests{{{}}} 1", labels.replace("LIST", "WATCH")));
        contains(&told, "apiserver_storage_objects{resource=\"pods\"} 0");
        contains(&told, "coracle_store_revision 0");
        drop(open);
        let told = metrics.tell(&Snapshot::default(), &Kinds::default()).expect("text");
        contains(&told, &format!("apiserver_longrunning_requests{{{}}} 0", labels.replace("LIST", "WATCH")));
    }
}
