//! Who is served when not everybody can be: seats for requests, and fair queues in front of them.
//!
//! One layer between authentication and authorization. A request takes seats for what it costs, in time of the processor and in memory; while a
//! level has seats nobody waits, and when it has none its users take turns ([`scheduler`]). One client's storm of lists makes that
//! client wait; others find seats. Nothing here looks at what is asked beyond its class ([`class`]).

mod class;
mod scheduler;
mod seat;
mod seated;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use http::header::{CONTENT_LENGTH, RETRY_AFTER, TRANSFER_ENCODING};
use http::{HeaderValue, Method, StatusCode};

use crate::Door;
use crate::answer::{self, Answer, Long};
use crate::body::BODY_BYTES_MAX;
use crate::identity::Identity;
use class::Level;
use scheduler::Limits;
use seat::Seats;
use seated::Seated;

/// The seats of every level.
pub(crate) struct Fairness {
    node_high: Arc<Seats>,
    system: Arc<Seats>,
    leader_election: Arc<Seats>,
    workload: Arc<Seats>,
    catch_all: Arc<Seats>,
}

/// Requests of one client that may wait in a level: those of a client with many hands, not those of one that does not look at
/// its answers.
const FLOW_QUEUE_MAX: usize = 512;
/// Requests that may wait in a level: a few kilobytes each.
const QUEUE_MAX: usize = 4096;
/// As Kubernetes has it: a quarter of the minute that a request may take.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// Processors that the seats of a level are meant for; a machine with more has more.
const PROCESSORS: u32 = 2;
/// A node's word that it lives is small, and waits for the disk longer than it keeps a processor: five thousand nodes renew five hundred
/// leases a second, and in time even if each takes half of one.
const NODE_SEATS: u32 = 256;
/// What is shorter lies in the connection's buffer at once, and keeps no seat.
const SHORT_BYTES: u64 = 16 * 1024;

/// Answers a request when it is its turn.
pub(crate) async fn in_turn(
    State(door): State<Arc<Door>>,
    Extension(identity): Extension<Identity>,
    request: Request,
    next: Next,
) -> Answer {
    if identity.is_master() {
        return next.run(request).await;
    }
    let class = {
        let (method, uri, surface) = (request.method(), request.uri(), door.surface());
        let count = |kind| door.store.snapshot().count(kind);
        class::class(&surface.kinds, &identity, method, uri.path(), uri.query(), body_bytes(&request), count)
    };
    let Some(seats) = door.fairness.seats(class.level) else { return next.run(request).await };
    let Ok(seat) = seats.take(class.flow, class.seats).await else { return too_many() };
    let answer = next.run(request).await;
    let is_short = answer.body().size_hint().exact().is_some_and(|length| length <= SHORT_BYTES);
    if class.is_long_running || is_short {
        return answer;
    }
    let is_long = answer.extensions().get::<Long>().is_some();
    answer.map(|body| Body::new(if is_long { Seated::long(body, seat) } else { Seated::new(body, seat) }))
}

/// How long a request's body may become: as long as it says, or as long as it may be where it does not say.
fn body_bytes(request: &Request) -> usize {
    let headers = request.headers();
    let said = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()).and_then(|text| text.parse().ok());
    let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let is_open = headers.contains_key(TRANSFER_ENCODING) || !request.body().is_end_stream();
    let unsaid = if is_open && !is_reading { BODY_BYTES_MAX } else { 0 };
    said.unwrap_or(unsaid).min(BODY_BYTES_MAX)
}

/// In Kubernetes' words, which are no object there either.
fn too_many() -> Answer {
    let words = "Too many requests, please try again later.\n";
    let mut answer = answer::text(StatusCode::TOO_MANY_REQUESTS, words);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

// === impl Fairness ===

impl Fairness {
    /// Nobody has a seat, on a machine with so many processors.
    pub(crate) fn new(processors: usize) -> Self {
        let times = u32::try_from(processors).unwrap_or(PROCESSORS).div_ceil(PROCESSORS);
        let level = |seats: u32| {
            let limits = Limits { seats: seats * times, flow_queue_max: FLOW_QUEUE_MAX, queue_max: QUEUE_MAX };
            Seats::new(limits, WAIT_MAX)
        };
        Self {
            node_high: level(NODE_SEATS),
            system: level(64),
            leader_election: level(16),
            workload: level(160),
            catch_all: level(8),
        }
    }

    fn seats(&self, level: Level) -> Option<&Arc<Seats>> {
        match level {
            Level::Exempt => None,
            Level::NodeHigh => Some(&self.node_high),
            Level::System => Some(&self.system),
            Level::LeaderElection => Some(&self.leader_election),
            Level::Workload => Some(&self.workload),
            Level::CatchAll => Some(&self.catch_all),
        }
    }
}
