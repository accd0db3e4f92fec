//! Telling what happened, as Kubernetes' Event objects, so that `kubectl describe` tells the story.
//!
//! An event's name follows from what it says of whom: saying it again finds the first telling and counts it up.

use api::{Key, Object, kinds};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use state::{Guard, Snapshot, Txn, Write};

use crate::Look;
use crate::edit::{edited, written};

/// What is told.
#[derive(Clone, Debug)]
pub(crate) struct Tale<'a> {
    /// Who tells it, such as `deployment-controller`.
    pub(crate) by: &'static str,
    /// Whether someone should worry.
    pub(crate) tone: Tone,
    /// One CamelCase word.
    pub(crate) reason: &'a str,
    /// A sentence.
    pub(crate) message: &'a str,
}

/// Whether someone should worry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// The cluster's daily life.
    Normal,
    /// Something a person should look at.
    Warning,
}

/// Tells it of `about`. In a namespace that is absent or on its way out nothing can be told.
pub(crate) fn told(view: &Snapshot, look: Look<'_>, about: &Object, tale: &Tale<'_>) -> Txn {
    let key = key(about, tale);
    let home = kinds::NAMESPACE.cluster_key(key.namespace());
    if view.get(&home).is_none_or(|namespace| namespace.meta().is_terminating()) {
        return Txn::default();
    }
    let event = match view.get(&key).and_then(|known| known.decode::<Event>().ok()) {
        Some(known) => again(&known, look),
        None => first(about, tale, &key, look),
    };
    let put = |event| Txn::default().guard(Guard::Alive(home)).put(event);
    written(kinds::EVENT, &event).map_or_else(Txn::default, put)
}

/// Tells each of these of `about`, as a transaction of its own. Where the same is told of many (a set that creates a thousand
/// pods), the first are told one by one, and from then on all others are one event that counts them: as Kubernetes has it.
pub(crate) fn told_of_many(view: &Snapshot, look: Look<'_>, about: &Object, tales: &[Tale<'_>]) -> Vec<Txn> {
    let mut single = SINGLE_MAX.saturating_sub(similar(view, look, about, tales.first()));
    let mut combined = 0;
    let mut txns: Vec<Txn> = Vec::with_capacity(tales.len());
    for tale in tales {
        let is_known = view.get(&key(about, tale)).is_some();
        let is_single = is_known || single > 0;
        single -= usize::from(is_single && !is_known);
        combined += usize::from(!is_single);
        txns.push(if is_single { told(view, look, about, tale) } else { Txn::default() });
    }
    if let Some((last, tale)) = txns.last_mut().zip(tales.last()).filter(|_| combined > 0) {
        *last = std::mem::take(last).and(told_together(view, look, about, tale, combined));
    }
    txns
}

/// How many events of a time tell the same of many before all others are one.
const SINGLE_MAX: usize = 10;
/// Events that are older are of another time.
const SIMILAR_FOR: SignedDuration = SignedDuration::from_mins(10);
/// How the event begins that stands for many.
const COMBINED: &str = "(combined from similar events)";

/// How many events have told of `about` lately what `tale` tells, in whatever words.
fn similar(view: &Snapshot, look: Look<'_>, about: &Object, tale: Option<&Tale<'_>>) -> usize {
    let Some(tale) = tale else { return 0 };
    let (place, start) = (key(about, tale).namespace().to_owned(), format!("{}.", about.key().name()));
    let near = view.list_after(kinds::EVENT, &place, &start);
    let near = near.take_while(|event| event.key().namespace() == place && event.key().name().starts_with(&start));
    let is_similar = |event: &Event| {
        event.reason.as_deref() == Some(tale.reason)
            && event.reporting_component.as_deref() == Some(tale.by)
            && event.involved_object.uid.as_deref() == Some(&*about.meta().uid)
            && event.last_timestamp.as_ref().is_some_and(|last| look.now.duration_since(last.0) < SIMILAR_FOR)
    };
    near.filter(|event| event.decode::<Event>().is_ok_and(|event| is_similar(&event))).count()
}

/// Tells what `tale` tells, and as often as `times` what is like it.
fn told_together(view: &Snapshot, look: Look<'_>, about: &Object, tale: &Tale<'_>, times: usize) -> Txn {
    let whole = Tale { message: COMBINED, ..tale.clone() };
    let more = i32::try_from(times).unwrap_or(i32::MAX).saturating_sub(1);
    let told = told(view, look, about, &whole);
    let counted = |event: &Object| {
        edited::<Event>(event, |event| {
            event.count = Some(event.count.unwrap_or(1).saturating_add(more));
            event.message = Some(format!("{COMBINED}: {}", tale.message));
        })
    };
    let writes = told.writes.into_iter().map(|write| match write {
        Write::Put(event) => Write::Put(counted(&event).unwrap_or(event)),
        Write::Delete(key) => Write::Delete(key),
    });
    Txn { guards: told.guards, writes: writes.collect() }
}

/// Tells it of `about`, unless that is known. What was told is forgotten after a while and then told again.
pub(crate) fn told_once(view: &Snapshot, look: Look<'_>, about: &Object, tale: &Tale<'_>) -> Txn {
    if view.get(&key(about, tale)).is_some() { Txn::default() } else { told(view, look, about, tale) }
}

/// Whether it has been told of `about` at `moment` or later.
pub(crate) fn told_since(view: &Snapshot, about: &Object, tale: &Tale<'_>, moment: Timestamp) -> bool {
    let known = view.get(&key(about, tale)).and_then(|known| known.decode::<Event>().ok());
    known.and_then(|known| Some(known.last_timestamp.as_ref()?.0)).is_some_and(|last| last >= moment)
}

/// Where it is told: in the namespace of what it is about.
fn key(about: &Object, tale: &Tale<'_>) -> Key {
    let place = match about.key().namespace() {
        "" => "default",
        namespace => namespace,
    };
    kinds::EVENT.key(place, &format!("{}.{}", about.key().name(), fingerprint(about, tale)))
}

fn again(known: &Event, look: Look<'_>) -> Event {
    let count = known.count.unwrap_or(1).saturating_add(1);
    Event { count: Some(count), last_timestamp: Some(look.time()), ..known.clone() }
}

fn first(about: &Object, tale: &Tale<'_>, key: &Key, look: Look<'_>) -> Event {
    let (place, name) = (key.namespace(), key.name());
    let uid = look.uid(&format!("event {place}/{name}"));
    let tone = match tale.tone {
        Tone::Normal => "Normal",
        Tone::Warning => "Warning",
    };
    Event {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some(place.into()),
            uid: Some(uid),
            creation_timestamp: Some(look.time()),
            ..ObjectMeta::default()
        },
        involved_object: reference(about),
        reason: Some(tale.reason.into()),
        message: Some(tale.message.into()),
        type_: Some(tone.into()),
        count: Some(1),
        first_timestamp: Some(look.time()),
        last_timestamp: Some(look.time()),
        source: Some(EventSource { component: Some(tale.by.into()), host: None }),
        reporting_component: Some(tale.by.into()),
        reporting_instance: Some(String::new()),
        ..Event::default()
    }
}

/// A reference to an object as it was read.
pub(crate) fn reference(object: &Object) -> ObjectReference {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Versioned {
        api_version: String,
    }
    let version = serde_json::from_slice::<Versioned>(object.body()).ok();
    let namespace = object.key().namespace();
    ObjectReference {
        api_version: version.map(|it| it.api_version),
        kind: Some(object.key().kind().kind.into()),
        name: Some(object.key().name().into()),
        namespace: (!namespace.is_empty()).then(|| namespace.into()),
        uid: Some(object.meta().uid.to_string()),
        resource_version: Some(object.revision().to_string()),
        field_path: None,
    }
}

fn fingerprint(about: &Object, tale: &Tale<'_>) -> String {
    let words = [&*about.meta().uid, tale.by, tale.reason, tale.message];
    hex::encode(&Sha256::digest(words.join("\0"))[..8])
}
