//! Following one request from its beginning to its end, and telling of it what the policy wants told.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use api::StatusError;
use axum::body::{Body, HttpBody};
use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::Value;

use super::event::{Event, Outcome};
use super::policy::{Level, Policy, Stage, Verdict};
use super::subject::Subject;
use super::{Made, Recorder};
use crate::answer::{Answer, JSON, Refusal};
use crate::authorization::Decision;
use crate::envelope::AuditId;
use crate::identity::Identity;
use crate::serve::Peer;
use crate::{Clock, Door, body, negotiate};

/// What others have to say about a request while it is answered. It goes along in the request's extensions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail(Arc<Mutex<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    impersonated: Option<Identity>,
    annotations: BTreeMap<String, String>,
}

/// One request that is told of.
struct Followed {
    trail: Trail,
    recorder: Recorder,
    clock: Clock,
    verdict: Verdict,
    subject: Subject,
    id: String,
    uri: String,
    who: Identity,
    from: Option<IpAddr>,
    user_agent: String,
    received: Timestamp,
    done: bool,
}

/// Where lines go, and what is told.
pub(crate) struct Diary {
    pub(crate) policy: Policy,
    pub(crate) recorder: Recorder,
}

/// What whoever authorises says; until it does, the answer tells.
const DECISION: &str = "authorization.k8s.io/decision";
const REASON: &str = "authorization.k8s.io/reason";

/// Follows a request whose sender is known.
pub(crate) async fn follow(
    State(door): State<Arc<Door>>,
    Extension(who): Extension<Identity>,
    mut request: Request,
    next: Next,
) -> Answer {
    let Some(mut followed) = Followed::begin(&door, who, &request) else { return next.run(request).await };
    request.extensions_mut().insert(followed.trail.clone());
    followed.tell(Stage::RequestReceived, &Outcome::default());
    let mut outcome = Outcome::default();
    if followed.tells(Level::Request) && followed.subject.verb != "get" && !followed.subject.is_long() {
        let (parts, said) = request.into_parts();
        match body::read(said).await {
            Ok(bytes) => {
                outcome.said = followed.object(&parts, &bytes);
                request = Request::from_parts(parts, Body::from(bytes));
            }
            Err(error) => {
                let answer = Refusal(error).into_response();
                followed.end(Outcome { code: Some(answer.status()), ..Outcome::default() });
                return answer;
            }
        }
    }
    let answer = next.run(request).await;
    outcome.code = Some(answer.status());
    outcome.made = answer.extensions().get::<Made>().map(|Made(name)| name.clone());
    let refused = answer.extensions().get::<Arc<StatusError>>();
    outcome.refused = refused.map(|error| (format!("{:?}", error.reason), error.message.clone()));
    if followed.subject.is_long() && answer.status().is_success() | answer.status().is_informational() {
        followed.tell(Stage::ResponseStarted, &outcome);
        return lasting(answer, followed, outcome);
    }
    let (answer, answered) = if followed.tells(Level::RequestResponse) { read(answer).await } else { (answer, None) };
    outcome.answered = answered.map(|object| followed.trimmed(object));
    followed.end(outcome);
    answer
}

/// Tells of a request whose sender showed something that does not hold.
pub(crate) fn refused(door: &Door, request: &Request, answer: &Answer) {
    let Some(mut followed) = Followed::begin(door, Identity::default(), request) else { return };
    let refused = Some(("Unauthorized".to_owned(), "Authentication failed, attempted: bearer".to_owned()));
    followed.trail.annotate(DECISION, "forbid");
    followed.end(Outcome { code: Some(answer.status()), refused, ..Outcome::default() });
}

/// Notes what was decided about a request.
pub(crate) fn decided(request: &Request, decision: &Decision) {
    let Some(trail) = request.extensions().get::<Trail>() else { return };
    let (word, reason) = match decision {
        Decision::Allowed(reason) => ("allow", reason),
        Decision::Refused(reason) => ("forbid", reason),
    };
    trail.annotate(DECISION, word);
    trail.annotate(REASON, reason);
}

/// Notes on whose behalf a request is answered.
pub(crate) fn impersonated(request: &Request, who: &Identity) {
    if let Some(trail) = request.extensions().get::<Trail>() {
        trail.speaks_for(who);
    }
}

/// The answer, which tells of its end when it ends.
fn lasting(answer: Answer, followed: Followed, outcome: Outcome) -> Answer {
    struct Last(Followed, Outcome);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.end(std::mem::take(&mut self.1));
        }
    }
    let last = Last(followed, outcome);
    answer.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _ = &last;
            frame
        }))
    })
}

/// An answer that is one object, and that object.
async fn read(answer: Answer) -> (Answer, Option<Value>) {
    let is_json = answer.headers().get(CONTENT_TYPE).is_some_and(|media| media.as_bytes().starts_with(JSON.as_bytes()));
    if !is_json || answer.body().size_hint().exact().is_none() {
        return (answer, None);
    }
    let (parts, body) = answer.into_parts();
    match body.collect().await {
        Ok(bytes) => {
            let bytes: Bytes = bytes.to_bytes();
            let object = serde_json::from_slice(&bytes).ok();
            (Answer::from_parts(parts, Body::from(bytes)), object)
        }
        Err(error) => (Refusal(StatusError::internal(error)).into_response(), None),
    }
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

// === impl Trail ===

impl Trail {
    /// Notes something about the request; what was noted first stays.
    pub(crate) fn annotate(&self, name: &str, value: &str) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.annotations.entry(name.into()).or_insert_with(|| value.into());
    }

    /// Notes on whose behalf it is answered.
    fn speaks_for(&self, impersonated: &Identity) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).impersonated = Some(impersonated.clone());
    }
}

// === impl Followed ===

impl Followed {
    /// None if nothing is to be told of it.
    fn begin(door: &Door, who: Identity, request: &Request) -> Option<Self> {
        let diary = door.diary.as_ref()?;
        let subject = Subject::of(request.method(), request.uri());
        let verdict = diary.policy.verdict(&subject, Some(&who));
        if verdict.level == Level::None {
            return None;
        }
        Some(Self {
            trail: Trail::default(),
            recorder: diary.recorder.clone(),
            clock: door.clock.clone(),
            verdict,
            subject,
            id: request.extensions().get().map(|AuditId(id)| id.clone()).unwrap_or_default(),
            uri: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            who,
            from: request.extensions().get().map(|Peer(address)| address.ip()),
            user_agent: text(request.headers(), USER_AGENT).unwrap_or_default().to_owned(),
            received: (door.clock)(),
            done: false,
        })
    }

    /// Whether so much is told of it.
    fn tells(&self, level: Level) -> bool {
        self.verdict.level >= level && !self.subject.is_secret()
    }

    fn end(&mut self, outcome: Outcome) {
        let decision = if outcome.code == Some(StatusCode::FORBIDDEN) { "forbid" } else { "allow" };
        self.trail.annotate(DECISION, decision);
        self.trail.annotate(REASON, "");
        self.tell(Stage::ResponseComplete, &outcome);
        self.done = true;
    }

    fn tell(&self, stage: Stage, outcome: &Outcome) {
        if self.verdict.omitted.contains(&stage) {
            return;
        }
        let notes = self.trail.0.lock().unwrap_or_else(PoisonError::into_inner);
        let event = Event {
            id: &self.id,
            level: if self.subject.is_secret() { Level::Metadata } else { self.verdict.level },
            subject: &self.subject,
            uri: &self.uri,
            who: &self.who,
            impersonated: notes.impersonated.as_ref(),
            from: self.from,
            user_agent: &self.user_agent,
            received: self.received,
            annotations: &notes.annotations,
        };
        self.recorder.take(event.line(stage, outcome, (self.clock)()));
    }

    /// The object that a body says.
    fn object(&self, parts: &Parts, bytes: &Bytes) -> Option<Value> {
        if bytes.is_empty() {
            return None;
        }
        // A patch is no object of the API, but JSON all the same.
        let encoding = negotiate::encoding(text(&parts.headers, CONTENT_TYPE)).unwrap_or(negotiate::Encoding::Json);
        body::decode(encoding, bytes, "").ok().map(|parsed| self.trimmed(parsed.value))
    }

    fn trimmed(&self, mut object: Value) -> Value {
        let metadata = object.get_mut("metadata").filter(|_| self.verdict.omit_managed_fields);
        if let Some(members) = metadata.and_then(Value::as_object_mut) {
            members.remove("managedFields");
        }
        object
    }
}

impl Drop for Followed {
    /// A request that nobody answered to its end: whoever did has panicked, or the client is gone.
    fn drop(&mut self) {
        if !self.done && std::thread::panicking() {
            let code = Some(StatusCode::INTERNAL_SERVER_ERROR);
            self.tell(Stage::Panic, &Outcome { code, ..Outcome::default() });
        }
    }
}
