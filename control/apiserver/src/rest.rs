//! The resources: every verb over every kind of the catalog.
//!
//! One anatomy for all: the path becomes a target, the method a verb; then a read presents what a snapshot
//! has, or a write decides on one snapshot and proposes, and looks again when somebody was faster.

mod admitted;
mod change;
mod charge;
mod create;
mod delete;
mod managed;
mod parts;
mod permit;
mod read;

pub(crate) use change::Part;
pub(crate) use read::unreadable;

use std::sync::Arc;

use api::{Reason, StatusError, Subresource};
use axum::extract::{Extension, Request, State};
use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use serde_json::json;

use crate::answer::{self, Answer, Refusal};
use crate::audit::Trail;
use crate::identity::Identity;
use crate::metrics::Asked;
use crate::negotiate::{Form, Offer, form};
use crate::present::Presenter;
use crate::query::{Include, Query, WriteOptions};
use crate::target::{Place, Target};
use crate::verb::Verb;
use crate::{Door, admission, body, connect};

/// One request, understood.
pub(crate) struct Ask {
    door: Arc<Door>,
    identity: Identity,
    target: Target,
    verb: Verb,
    query: Query,
    headers: HeaderMap,
    /// What the audit log is told of it besides.
    trail: Trail,
    /// What the client said; read only once it is known that it may.
    body: Bytes,
}

/// Answers a request for a resource.
pub(crate) async fn handle(
    State(door): State<Arc<Door>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Answer {
    let mut asked = None;
    let answered = async {
        let target = Target::find(&door.surface().kinds, request.uri().path())?;
        if connect::part(&target).is_some() {
            let trail = request.extensions().get::<Trail>().cloned().unwrap_or_default();
            admission::connect(&door, &identity, &target, request.uri().query(), &trail).await?;
            return connect::answer(door, target, request).await;
        }
        let (parts, body) = request.into_parts();
        let mut ask = Ask::new(door, identity, target, parts)?;
        asked = Some(Asked::of(ask.verb, &ask.target));
        if !matches!(ask.verb, Verb::Get | Verb::List | Verb::Watch) {
            ask.body = body::read(body).await?;
        }
        ask.answer().await
    };
    let mut answer = answered.await.unwrap_or_else(|error| Refusal(error).into_response());
    if let Some(asked) = asked {
        answer.extensions_mut().insert(asked);
    }
    answer
}

/// The verb that a method means at a place.
fn verb(method: &Method, target: &Target, query: &Query) -> Result<Verb, StatusError> {
    let watches = || query.list_options().map(|options| options.watch);
    Ok(match (method, &target.place) {
        (&Method::GET, Place::Collection) if watches()? => Verb::Watch,
        (&Method::GET, Place::Collection) => Verb::List,
        (&Method::POST, Place::Collection) => Verb::Create,
        (&Method::DELETE, Place::Collection) => Verb::DeleteCollection,
        (&Method::GET, Place::Object(_)) => Verb::Get,
        (&Method::PUT, Place::Object(_)) => Verb::Update,
        (&Method::PATCH, Place::Object(_)) => Verb::Patch,
        (&Method::DELETE, Place::Object(_)) => Verb::Delete,
        (method, Place::Part(_, part)) => return part_verb(method, *part).ok_or_else(|| not_allowed(method, target)),
        (method, _) => return Err(not_allowed(method, target)),
    })
}

fn part_verb(method: &Method, part: Subresource) -> Option<Verb> {
    match (part, method) {
        (Subresource::Log, &Method::GET) => Some(Verb::Get),
        (Subresource::Finalize, &Method::PUT) => Some(Verb::Update),
        (
            Subresource::Status
            | Subresource::Scale
            | Subresource::Approval
            | Subresource::EphemeralContainers
            | Subresource::Resize,
            method,
        ) => match *method {
            Method::GET => Some(Verb::Get),
            Method::PUT => Some(Verb::Update),
            Method::PATCH => Some(Verb::Patch),
            _ => None,
        },
        (Subresource::Binding | Subresource::Eviction | Subresource::Token, &Method::POST) => Some(Verb::Create),
        _ => None,
    }
}

fn not_allowed(method: &Method, target: &Target) -> StatusError {
    let word = match *method {
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "the server does not allow this method; it",
    };
    let message = format!("{word} is not supported on resources of kind {:?}", target.resource());
    StatusError::new(Reason::MethodNotAllowed, message)
}

// === impl Ask ===

impl Ask {
    fn new(door: Arc<Door>, identity: Identity, target: Target, parts: Parts) -> Result<Self, StatusError> {
        let query = Query::parse(parts.uri.query());
        let verb = verb(&parts.method, &target, &query)?;
        if api::measured::is_measured(&*target.kind) && !matches!(verb, Verb::Get | Verb::List) {
            return Err(not_allowed(&parts.method, &target));
        }
        let trail = parts.extensions.get::<Trail>().cloned().unwrap_or_default();
        Ok(Self { door, identity, target, verb, query, headers: parts.headers, trail, body: Bytes::new() })
    }

    async fn answer(self) -> Result<Answer, StatusError> {
        // Before anything is done: what cannot be answered is not to happen. A log is text, whatever is asked for.
        if !matches!(self.target.place, Place::Part(_, Subresource::Log)) {
            self.form()?;
        }
        let deprecation: Vec<String> = self.target.kind.deprecation().map(Into::into).into_iter().collect();
        let answer = self.answered().await?;
        Ok(answer::with_warnings(answer, &deprecation))
    }

    async fn answered(self) -> Result<Answer, StatusError> {
        match (&self.target.place, self.verb) {
            (Place::Part(..), _) => self.part().await,
            (_, Verb::Get) => self.get().await,
            (_, Verb::List) => self.list().await,
            (_, Verb::Watch) => self.watch().await,
            (_, Verb::Create) => self.create().await,
            (_, Verb::Update) => self.update().await,
            (_, Verb::Patch) => self.patch().await,
            (_, Verb::Delete) => self.delete().await,
            (_, Verb::DeleteCollection) => self.delete_collection().await,
        }
    }

    fn header(&self, name: http::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn content_type(&self) -> Option<&str> {
        self.header(CONTENT_TYPE)
    }

    /// How a write is to be done.
    fn write_options(&self) -> Result<WriteOptions, StatusError> {
        self.query.write_options(match self.verb {
            Verb::Update => "UpdateOptions",
            Verb::Patch => "PatchOptions",
            _ => "CreateOptions",
        })
    }

    fn form(&self) -> Result<Form, StatusError> {
        form(self.header(ACCEPT), Offer::Objects)
    }

    fn presenter(&self, include: Include) -> Result<Presenter, StatusError> {
        Ok(Presenter { kind: self.target.kind.clone(), form: self.form()?, include, now: (self.door.clock)() })
    }

    fn key(&self) -> api::Key {
        self.target.kind.group_kind().key(&self.target.namespace, self.target.name())
    }

    fn not_found(&self) -> StatusError {
        StatusError::not_found(self.target.names(), self.target.name())
    }

    /// One object, in the form asked for.
    fn present(&self, code: StatusCode, object: &api::Object) -> Result<Answer, StatusError> {
        let include = self.query.list_options().map(|options| options.include).unwrap_or_default();
        Ok(answer::json(code, self.presenter(include)?.one(object)?))
    }

    /// That it is done, and to what.
    fn success(&self, code: StatusCode, uid: &str) -> Answer {
        let names = self.target.names();
        let mut details = json!({"name": self.target.name(), "kind": names.plural, "uid": uid});
        if !names.group.is_empty() {
            details["group"] = names.group.into();
        }
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
        answer::value(code, &status)
    }
}
