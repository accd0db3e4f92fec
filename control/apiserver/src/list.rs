//! Lists: which snapshot, which page of it.
//!
//! A `continue` token names the revision of the first page and where the page before ended; every page comes from the
//! snapshot of that revision, so that together they are one consistent list.

use api::{Cause, Details, Object, Reason, Revision, StatusError};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use state::Snapshot;

use crate::query::{ListOptions, Matching};
use crate::selection::Selection;

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
    #[serde(rename = "v")]
    version: String,
    /// The revision of the list.
    #[serde(rename = "rv")]
    pub(crate) revision: Revision,
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
/// The smallest name behind another one.
const AFTER: char = '\0';

/// Where a list is to be taken from.
pub(crate) fn source(options: &ListOptions, token: Option<&Continue>) -> Source {
    match (token, options.revision, options.matching) {
        (Some(token), _, _) => Source::Continued(token.revision),
        (None, None, _) => Source::Newest,
        (None, Some(Revision::ZERO), _) => Source::AtHand,
        (None, Some(revision), Some(Matching::Exact)) => Source::Exactly(revision),
        (None, Some(revision), Some(Matching::NotOlderThan)) => Source::NotOlderThan(revision),
        // The old rule, from before the match could be told.
        (None, Some(revision), None) if options.limit > 0 => Source::Exactly(revision),
        (None, Some(revision), None) => Source::NotOlderThan(revision),
    }
}

/// One page of what is selected.
pub(crate) fn page(world: &Snapshot, selection: &Selection, options: &ListOptions, token: Option<&Continue>) -> Page {
    // Reflectors list at revision 0 and want everything, whatever limit they send.
    let limit = match options.limit {
        0 => usize::MAX,
        _ if options.revision == Some(Revision::ZERO) && token.is_none() => usize::MAX,
        limit => limit,
    };
    let start = token.map_or(("", ""), Continue::place);
    let mut rest = selection.after(world, start);
    let objects: Vec<Object> = rest.by_ref().take(limit).cloned().collect();
    let left = rest.count();
    let continuation = objects.last().filter(|_| left > 0).map(|last| Continue::after(world.revision(), last).encode());
    let remaining = continuation.as_ref().filter(|_| !selection.is_narrow()).map(|_| left);
    Page { objects, revision: world.revision(), continuation, remaining }
}

/// The snapshot of that revision is no longer kept.
pub(crate) fn expired(source: Source) -> StatusError {
    StatusError::new(
        Reason::Expired,
        match source {
            Source::Continued(_) => {
                "The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter."
            }
            _ => "The resourceVersion for the provided list is too old.",
        },
    )
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
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let token: Option<Self> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let token = token.filter(|token| token.version == VERSION && token.start.contains('/'));
        token.ok_or_else(|| StatusError::bad_request("continue key is not valid"))
    }

    fn after(revision: Revision, last: &Object) -> Self {
        let start = format!("{}/{}{AFTER}", last.key().namespace(), last.key().name());
        Self { version: VERSION.into(), revision, start }
    }

    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::json!(self).to_string())
    }

    fn place(&self) -> (&str, &str) {
        let (namespace, name) = self.start.split_once('/').unwrap_or_default();
        (namespace, name.trim_end_matches(AFTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Target;
    use api::kinds;
    use serde_json::json;

    fn world(names: &[&str]) -> Snapshot {
        let objects = names.iter().zip(1..).map(|(name, revision)| {
            let (namespace, name) = name.split_once('/').expect("namespace/name");
            let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace, "labels": {"first": name[..1]}}});
            Object::from_value(kinds::CONFIG_MAP, &value).expect("an object").at(Revision(revision))
        });
        Snapshot::load(Revision::ZERO, objects)
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
        let at = |revision, matching, limit| {
            source(&ListOptions { limit, revision, matching, ..ListOptions::default() }, None)
        };
        assert_eq!(at(None, None, 500), Source::Newest);
        assert_eq!(at(Some(Revision::ZERO), None, 500), Source::AtHand);
        assert_eq!(at(Some(Revision(7)), None, 0), Source::NotOlderThan(Revision(7)));
        assert_eq!(at(Some(Revision(7)), None, 500), Source::Exactly(Revision(7)));
        assert_eq!(at(Some(Revision(7)), Some(Matching::Exact), 0), Source::Exactly(Revision(7)));
    }

    #[test]
    fn a_token_somebody_made_up_is_refused() {
        assert_eq!(Continue::decode("nonsense").expect_err("no token").message, "continue key is not valid");
    }
}
