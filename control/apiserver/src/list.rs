//! Lists: which snapshot, which page of it.
//!
//! A `continue` token names the revision of the first page and where the page before ended; every page comes from the
//! snapshot of that revision, so that together they are one consistent list. Once that snapshot is no longer kept, the refusal
//! carries a token that names no revision: with it a client that takes an inconsistent list goes on in the newest snapshot.

mod gathering;

use api::{Cause, Details, Object, Reason, Revision, StatusError};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::{DecodeError, Engine};
use serde::{Deserialize, Serialize};

use crate::query::{ListOptions, Matching};

pub(crate) use gathering::Gathering;

/// One page of a list.
#[derive(Debug)]
pub(crate) struct Page {
    /// The objects, by namespace and name.
    pub(crate) objects: Vec<Object>,
    /// The revision of the whole list.
    pub(crate) revision: Revision,
    /// Asks for the next page; none on the last.
    pub(crate) continuation: Option<String>,
    /// How many objects are on the pages to come, where that is known.
    pub(crate) remaining: Option<usize>,
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Continue {
    #[serde(rename = "v", default)]
    version: String,
    /// The revision of the list, or [`ANY`].
    #[serde(rename = "rv", default)]
    revision: i64,
    #[serde(default)]
    start: String,
}

/// The snapshot a list is to be taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The newest there is anywhere.
    Newest,
    /// Whatever is at hand.
    AtHand,
    /// One that is at least so new.
    NotOlderThan(Revision),
    /// That one.
    Exactly(Revision),
    /// The one an earlier page came from.
    Continued(Revision),
}

const VERSION: &str = "meta.k8s.io/v1";
/// As Kubernetes has it: the page may come from another snapshot than those before it. Zero would be a token without a revision.
const ANY: i64 = -1;
/// The smallest name behind another one.
const AFTER: char = '\0';

/// Where a list is to be taken from.
pub(crate) fn source(options: &ListOptions, token: Option<&Continue>) -> Result<Source, StatusError> {
    let invalid = |cause: Cause| {
        StatusError::bad_request(format!("invalid resource version: {}: {}", cause.field, cause.message))
    };
    let revision = options.revision().map_err(invalid)?;
    Ok(match (token, revision, &options.matching) {
        (Some(_), Some(revision), _) if revision != Revision::ZERO => {
            return Err(StatusError::bad_request("specifying resource version is not allowed when using continue"));
        }
        (Some(token), _, _) => token.revision().map_or(Source::Newest, Source::Continued),
        (None, None, _) => Source::Newest,
        (None, Some(Revision::ZERO), _) => Source::AtHand,
        (None, Some(revision), Some(Matching::Exact)) => Source::Exactly(revision),
        // The old rule, from before the match could be told.
        (None, Some(revision), None) if options.limit > 0 => Source::Exactly(revision),
        (None, Some(revision), _) => Source::NotOlderThan(revision),
    })
}

/// The snapshot of that revision is no longer kept. Whoever was in the middle of a list is told how to go on all the same.
pub(crate) fn expired(token: Option<&Continue>) -> StatusError {
    let Some(token) = token else {
        return StatusError::new(Reason::Expired, "The resourceVersion for the provided list is too old.");
    };
    let message = "The provided continue parameter is too old to display a consistent list result. You can start a new list \
        without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
        Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted \
        between the time the first chunk was returned and now may show up in the list.";
    let continuation = Some(Continue { revision: ANY, ..token.clone() }.encode());
    StatusError {
        reason: Reason::Expired,
        message: message.into(),
        details: Some(Box::new(Details { continuation, ..Details::default() })),
    }
}

/// A revision that did not come in time.
pub(crate) fn too_large(wanted: Revision, current: Revision) -> StatusError {
    let cause =
        Cause { reason: "ResourceVersionTooLarge", message: "Too large resource version".into(), field: String::new() };
    StatusError {
        reason: Reason::Timeout,
        message: format!("Timeout: Too large resource version: {wanted}, current: {current}"),
        details: Some(Box::new(Details { causes: vec![cause], retry_after_seconds: Some(1), ..Details::default() })),
    }
}

// === impl Continue ===

impl Continue {
    /// Reads a token.
    pub(crate) fn decode(text: &str) -> Result<Self, StatusError> {
        let refuse =
            |why: &str| StatusError::bad_request(format!("invalid continue token: continue key is not valid{why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|why| refuse(&illegal(text, &why)))?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|why| refuse(&format!(": {why}")))?;
        if token.version != VERSION {
            return Err(refuse(": server does not recognize this encoded version"));
        }
        if token.revision == 0 {
            return Err(refuse(": incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
        }
        match token.start.as_str() {
            "" => Err(refuse(": encoded start key empty (version meta.k8s.io/v1)")),
            start if !start.contains('/') => Err(refuse(&format!(": {start}"))),
            _ => Ok(token),
        }
    }

    /// The revision that the page has to come from; none if it may be any.
    pub(crate) fn revision(&self) -> Option<Revision> {
        u64::try_from(self.revision).ok().map(Revision)
    }

    fn after(revision: Revision, last: &Object) -> Self {
        let start = format!("{}/{}{AFTER}", last.key().namespace(), last.key().name());
        Self { version: VERSION.into(), revision: i64::try_from(revision.0).unwrap_or(i64::MAX), start }
    }

    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::json!(self).to_string())
    }

    fn place(&self) -> (&str, &str) {
        let (namespace, name) = self.start.split_once('/').unwrap_or_default();
        (namespace, name.trim_end_matches(AFTER))
    }
}

/// As Go has it.
fn illegal(text: &str, why: &DecodeError) -> String {
    let at = match why {
        DecodeError::InvalidByte(at, _) => *at,
        DecodeError::InvalidLastSymbol { .. } | DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => {
            text.len()
        }
    };
    format!(": illegal base64 data at input byte {at}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::Selection;
    use crate::target::Target;
    use api::kinds;
    use serde_json::{Value, json};
    use state::Snapshot;

    fn world(names: &[&str]) -> Snapshot {
        let objects = names.iter().zip(1..).map(|(name, revision)| {
            let (namespace, name) = name.split_once('/').expect("namespace/name");
            let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace, "labels": {"first": name[..1]}}});
            Object::from_value(kinds::CONFIG_MAP, &value).expect("an object").at(Revision(revision))
        });
        Snapshot::load(Revision::ZERO, objects)
    }

    fn page(world: &Snapshot, selection: &Selection, options: &ListOptions, token: Option<&Continue>) -> Page {
        let mut gathering = Gathering::new(world, selection, options, token);
        while gathering.step() {}
        gathering.page()
    }

    /// All pages of a list, as `a b | c`.
    fn check(path: &str, labels: &str, limit: usize, expect: &str) {
        let world = world(&["a/x", "a/y", "b/x", "b/y", "b/z", "c/x"]);
        let target = Target::parse(path).expect("a path");
        let mut options = ListOptions { labels: labels.into(), limit, ..ListOptions::default() };
        let selection = Selection::new(&target, &options).expect("selectors");
        let mut pages = Vec::new();
        loop {
            let token = options.continuation.as_deref().map(|token| Continue::decode(token).expect("our own token"));
            let page = page(&world, &selection, &options, token.as_ref());
            let names: Vec<String> =
                page.objects.iter().map(|one| format!("{}/{}", one.key().namespace(), one.key().name())).collect();
            pages.push(names.join(" "));
            options.continuation = page.continuation;
            if options.continuation.is_none() {
                break;
            }
        }
        assert_eq!(pages.join(" | "), expect);
    }

    #[test]
    fn pages_together_are_the_list() {
        check("/api/v1/configmaps", "", 0, "a/x a/y b/x b/y b/z c/x");
        check("/api/v1/configmaps", "", 4, "a/x a/y b/x b/y | b/z c/x");
        check("/api/v1/configmaps", "", 3, "a/x a/y b/x | b/y b/z c/x");
        check("/api/v1/namespaces/b/configmaps", "", 2, "b/x b/y | b/z");
        check("/api/v1/namespaces/b/configmaps", "first!=y", 1, "b/x | b/z");
        check("/api/v1/namespaces/none/configmaps", "", 2, "");
    }

    #[test]
    fn what_takes_many_steps_is_one_page() {
        let names: Vec<String> = (0..2_000).map(|n| format!("{}/{n:04}", ["a", "b"][n % 2])).collect();
        let world = world(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let counted = |path: &str, limit: usize| {
            let target = Target::parse(path).expect("a path");
            let options = ListOptions { limit, ..ListOptions::default() };
            let selection = Selection::new(&target, &options).expect("selectors");
            let page = page(&world, &selection, &options, None);
            (page.objects.len(), page.remaining)
        };
        assert_eq!(counted("/api/v1/configmaps", 0), (2_000, None));
        assert_eq!(counted("/api/v1/configmaps", 1_500), (1_500, Some(500)));
        assert_eq!(counted("/api/v1/namespaces/b/configmaps", 0), (1_000, None));
        assert_eq!(counted("/api/v1/namespaces/a/configmaps", 900), (900, Some(100)));
    }

    #[test]
    fn a_page_says_how_many_are_to_come_when_it_knows() {
        let world = world(&["a/x", "a/y", "b/x"]);
        let target = Target::parse("/api/v1/configmaps").expect("a path");
        let mut options = ListOptions { limit: 1, ..ListOptions::default() };
        let remaining = |options: &ListOptions| {
            page(&world, &Selection::new(&target, options).expect("selectors"), options, None).remaining
        };
        assert_eq!(remaining(&options), Some(2));
        options.labels = "first=x".into();
        assert_eq!(remaining(&options), None);
    }

    #[test]
    fn the_revision_decides_the_snapshot() {
        let at = |options: ListOptions| source(&options, None).expect("a source");
        let limited = || ListOptions { limit: 500, ..ListOptions::default() };
        let exact = || ListOptions { matching: Some(Matching::Exact), ..ListOptions::default() };
        let newer = || ListOptions { matching: Some(Matching::NotOlderThan), ..limited() };
        assert_eq!(at(limited()), Source::Newest);
        assert_eq!(at(limited().at(0)), Source::AtHand);
        assert_eq!(at(ListOptions::default().at(7)), Source::NotOlderThan(Revision(7)));
        assert_eq!(at(limited().at(7)), Source::Exactly(Revision(7)));
        assert_eq!(at(newer().at(7)), Source::NotOlderThan(Revision(7)));
        assert_eq!(at(exact().at(7)), Source::Exactly(Revision(7)));
        let text = crate::query::Query::parse(Some("resourceVersion=new")).list_options().expect("readable");
        assert_eq!(
            source(&text, None).expect_err("no number").to_string(),
            "invalid resource version: resourceVersion: Invalid value: \"new\": strconv.ParseUint: parsing \"new\": invalid syntax"
        );
    }

    #[test]
    fn a_list_whose_snapshot_is_gone_can_go_on_in_the_newest() {
        let token = Continue::after(Revision(7), &world(&["a/x"]).list(kinds::CONFIG_MAP).next().expect("one").clone());
        assert_eq!(source(&ListOptions::default(), Some(&token)), Ok(Source::Continued(Revision(7))));
        assert_eq!(source(&ListOptions::default().at(0), Some(&token)), Ok(Source::Continued(Revision(7))));
        let both = source(&ListOptions::default().at(7), Some(&token)).expect_err("contradicts itself");
        assert_eq!(both.to_string(), "specifying resource version is not allowed when using continue");
        let status = expired(Some(&token)).to_value();
        assert_eq!((&status["code"], &status["reason"]), (&json!(410), &json!("Expired")));
        let fresh = Continue::decode(status["metadata"]["continue"].as_str().expect("a token")).expect("readable");
        assert_eq!(source(&ListOptions::default(), Some(&fresh)), Ok(Source::Newest));
        assert_eq!(fresh.place(), token.place());
    }

    #[test]
    fn a_token_somebody_made_up_is_refused() {
        let check = |text: &str, expect: &str| {
            let found = Continue::decode(text).expect_err("no token").message;
            assert_eq!(found, format!("invalid continue token: continue key is not valid: {expect}"));
        };
        let token = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        check("no token", "illegal base64 data at input byte 2");
        check(&token(json!({"v": "v2"})), "server does not recognize this encoded version");
        check(&token(json!({"v": VERSION})), "incorrect encoded start resourceVersion (version meta.k8s.io/v1)");
        check(&token(json!({"v": VERSION, "rv": 1})), "encoded start key empty (version meta.k8s.io/v1)");
        check(&token(json!({"v": VERSION, "rv": 1, "start": "x"})), "x");
    }
}
