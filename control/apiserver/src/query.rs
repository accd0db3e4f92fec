//! What the query of a request asks for.
//!
//! Read leniently where Kubernetes is lenient (a leading `&`, unknown names), strictly where a wrong value would change what
//! is done.

use api::{Cause, FieldValidation, Names, Reason, Revision, Scope, StatusError};

/// The parameters of a query, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

/// Which objects a list or a watch is about, and how much of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListOptions {
    /// The label selector's text.
    pub(crate) labels: String,
    /// The field selector's text.
    pub(crate) fields: String,
    /// At most so many objects; 0 is no limit.
    pub(crate) limit: usize,
    /// Where the page before this one ended.
    pub(crate) continuation: Option<String>,
    /// The revision the client knows, as it says it.
    pub(crate) revision: String,
    /// How the revision is meant.
    pub(crate) matching: Option<Matching>,
    /// Whether changes are wanted instead of a list.
    pub(crate) watch: bool,
    /// Whether a watch may say how far it is.
    pub(crate) bookmarks: bool,
    /// Whether a watch begins with all there is.
    pub(crate) initial_events: Option<bool>,
    /// How long a watch lasts.
    pub(crate) timeout_seconds: Option<u64>,
    /// What of the object a table's row carries.
    pub(crate) include: Include,
}

/// How a list's revision is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Matching {
    /// That revision and no other.
    Exact,
    /// That or a newer one.
    NotOlderThan,
    /// Nothing that there is.
    Other(String),
}

/// What of an object a table's row carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

/// How a write is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WriteOptions {
    /// Whether to do everything but store it.
    pub(crate) dry_run: bool,
    /// What becomes of unknown fields.
    pub(crate) validation: FieldValidation,
}

// === impl Query ===

impl Query {
    /// Reads the part of a URI behind the `?`.
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.filter(|(name, _)| !name.is_empty()).map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// The first value of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Every value of this name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().into()
    }

    fn flag(&self, name: &str) -> bool {
        // As Kubernetes reads them: present and neither false nor 0 is true.
        self.get(name).is_some_and(|value| !matches!(value, "false" | "0" | "False" | "FALSE"))
    }

    fn number(&self, name: &str) -> Result<Option<i64>, StatusError> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(text) => {
                text.parse().map(Some).map_err(|why| StatusError::bad_request(not_a_number("ParseInt", text, &why)))
            }
        }
    }

    /// What a list or watch asks for.
    pub(crate) fn list_options(&self) -> Result<ListOptions, StatusError> {
        let options = ListOptions {
            labels: self.text("labelSelector"),
            fields: self.text("fieldSelector"),
            limit: self.number("limit")?.map_or(0, |limit| usize::try_from(limit).unwrap_or(0)),
            continuation: self.get("continue").filter(|token| !token.is_empty()).map(Into::into),
            revision: self.text("resourceVersion"),
            matching: match self.get("resourceVersionMatch") {
                None | Some("") => None,
                Some("Exact") => Some(Matching::Exact),
                Some("NotOlderThan") => Some(Matching::NotOlderThan),
                Some(other) => Some(Matching::Other(other.into())),
            },
            watch: self.flag("watch"),
            bookmarks: self.flag("allowWatchBookmarks"),
            initial_events: self.get("sendInitialEvents").map(|_| self.flag("sendInitialEvents")),
            timeout_seconds: self.number("timeoutSeconds")?.map(|seconds| u64::try_from(seconds).unwrap_or(0)),
            include: match self.get("includeObject") {
                None | Some("" | "Metadata") => Include::Metadata,
                Some("None") => Include::None,
                Some("Object") => Include::Object,
                Some(other) => {
                    return Err(StatusError::bad_request(format!("unrecognized includeObject value: {other:?}")));
                }
            },
        };
        options.check()?;
        Ok(options)
    }

    /// How a write is to be done; `options` is what Kubernetes calls what this kind of write can be told.
    pub(crate) fn write_options(&self, options: &'static str) -> Result<WriteOptions, StatusError> {
        let validation = match self.get("fieldValidation") {
            None | Some("" | "Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                return Err(invalid_in(options, Cause::unsupported("fieldValidation", other, &supported)));
            }
        };
        let manager = self.get("fieldManager").unwrap_or_default();
        if manager.len() > FIELD_MANAGER_BYTES_MAX {
            let message = format!("Too long: may not be more than {FIELD_MANAGER_BYTES_MAX} bytes");
            let cause = Cause { reason: "FieldValueTooLong", message, field: "fieldManager".into() };
            return Err(invalid_in(options, cause));
        }
        if let Some((at, unseen)) = manager.char_indices().find(|(_, letter)| letter.is_control()) {
            let why = format!("invalid character U+{:04X} (at position {at})", u32::from(unseen));
            return Err(invalid_in(options, Cause::invalid("fieldManager", manager, &why)));
        }
        Ok(WriteOptions { dry_run: dry_run(options, self.get("dryRun").into_iter())?, validation })
    }

    /// Whether an apply takes over what others manage. It has to say who applies.
    pub(crate) fn apply_options(&self) -> Result<bool, StatusError> {
        if self.get("fieldManager").unwrap_or_default().is_empty() {
            return Err(invalid_in("PatchOptions", Cause::required("fieldManager", "is required for apply patch")));
        }
        Ok(self.flag("force"))
    }

    /// Other patches have nothing to force.
    pub(crate) fn demand_no_force(&self) -> Result<(), StatusError> {
        match self.get("force") {
            None | Some("") => Ok(()),
            Some(_) => {
                Err(invalid_in("PatchOptions", Cause::forbidden("force", "may not be specified for non-apply patch")))
            }
        }
    }
}

/// As Kubernetes has it.
const FIELD_MANAGER_BYTES_MAX: usize = 128;

/// Whether these values of `dryRun` ask for a dry run; the only value is `All`.
pub(crate) fn dry_run<'a>(options: &'static str, values: impl Iterator<Item = &'a str>) -> Result<bool, StatusError> {
    let values: Vec<&str> = values.filter(|value| !value.is_empty()).collect();
    if values.iter().any(|value| *value != "All") {
        return Err(invalid_in(options, Cause::unsupported("dryRun", &values, &["All"])));
    }
    Ok(!values.is_empty())
}

// === impl ListOptions ===

impl ListOptions {
    /// The same, of this revision.
    #[cfg(test)]
    pub(crate) fn at(self, revision: u64) -> Self {
        Self { revision: revision.to_string(), ..self }
    }

    /// The revision the client knows; none where it says none.
    pub(crate) fn revision(&self) -> Result<Option<Revision>, Cause> {
        match self.revision.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|why: std::num::ParseIntError| {
                Cause::invalid("resourceVersion", text, &not_a_number("ParseUint", text, &why))
            }),
        }
    }

    /// Everything that contradicts itself, in Kubernetes' words and order.
    fn check(&self) -> Result<(), StatusError> {
        let causes = if self.watch { self.wrong_for_watch() } else { self.wrong_for_list() };
        if causes.is_empty() { Ok(()) } else { Err(all_invalid_in("ListOptions", causes)) }
    }

    fn wrong_for_list(&self) -> Vec<Cause> {
        let mut causes = Vec::new();
        let mut forbid = |why| causes.push(Cause::forbidden(MATCH, why));
        if self.matching.is_some() && self.revision.is_empty() {
            forbid("resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if self.matching.is_some() && self.continuation.is_some() {
            forbid("resourceVersionMatch is forbidden when continue is provided");
        }
        match &self.matching {
            Some(Matching::Other(other)) => {
                causes.push(Cause::unsupported(MATCH, other, &["Exact", "NotOlderThan", ""]));
            }
            Some(Matching::Exact) if self.revision == "0" => {
                forbid("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
            }
            _ => {}
        }
        if self.initial_events.is_some() {
            causes.push(Cause::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        causes
    }

    fn wrong_for_watch(&self) -> Vec<Cause> {
        let mut causes = Vec::new();
        let is_newer = self.matching == Some(Matching::NotOlderThan);
        if self.initial_events.is_some() && !is_newer {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            causes.push(Cause::forbidden(MATCH, why));
        }
        let Some(matching) = &self.matching else { return causes };
        if self.initial_events.is_none() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            causes.push(Cause::forbidden(MATCH, why));
        }
        if !is_newer {
            let said = match matching {
                Matching::Other(other) => other,
                Matching::Exact | Matching::NotOlderThan => "Exact",
            };
            causes.push(Cause::unsupported(MATCH, said, &["NotOlderThan"]));
        }
        if self.continuation.is_some() {
            causes.push(Cause::forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided"));
        }
        causes
    }
}

const MATCH: &str = "resourceVersionMatch";

/// As Go has it.
fn not_a_number(parser: &str, text: &str, why: &std::num::ParseIntError) -> String {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    let why = if matches!(why.kind(), PosOverflow | NegOverflow) { "value out of range" } else { "invalid syntax" };
    format!("strconv.{parser}: parsing {text:?}: {why}")
}

/// The options themselves break a rule.
pub(crate) fn invalid_in(kind: &'static str, cause: Cause) -> StatusError {
    all_invalid_in(kind, vec![cause])
}

fn all_invalid_in(kind: &'static str, causes: Vec<Cause>) -> StatusError {
    let names = Names {
        group: "meta.k8s.io",
        version: "v1",
        kind,
        plural: "",
        singular: "",
        short: &[],
        categories: &[],
        scope: Scope::Cluster,
    };
    let error = StatusError::invalid(&names, "", causes);
    debug_assert_eq!(error.reason, Reason::Invalid, "the constructor decides the reason");
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expect: Result<ListOptions, &str>) {
        let found = Query::parse(Some(query)).list_options();
        assert_eq!(found.map_err(|error| error.message), expect.map_err(Into::into), "{query}");
    }

    #[test]
    fn what_clients_send_is_understood() {
        check("", Ok(ListOptions::default()));
        check("&limit=500", Ok(ListOptions { limit: 500, ..ListOptions::default() }));
        check(
            "fieldSelector=metadata.name%3Dweb&resourceVersion=0&watch=true&timeoutSeconds=30&allowWatchBookmarks=true",
            Ok(ListOptions {
                fields: "metadata.name=web".into(),
                revision: "0".into(),
                watch: true,
                bookmarks: true,
                timeout_seconds: Some(30),
                ..ListOptions::default()
            }),
        );
        check("labelSelector=a+in+%28b%29", Ok(ListOptions { labels: "a in (b)".into(), ..ListOptions::default() }));
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |query: &str, causes: &str| {
            let words = format!("ListOptions.meta.k8s.io \"\" is invalid: {causes}");
            check(query, Err(words.as_str()));
        };
        refused(
            "resourceVersionMatch=Exact",
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        );
        refused(
            "resourceVersionMatch=Exact&resourceVersion=0",
            "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        );
        refused(
            "resourceVersionMatch=Newest&resourceVersion=1",
            "resourceVersionMatch: Unsupported value: \"Newest\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
        );
        refused(
            "resourceVersionMatch=NotOlderThan&continue=abc",
            "[resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided, \
             resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided]",
        );
        refused("sendInitialEvents=true", "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list");
        refused(
            "watch=1&sendInitialEvents=true",
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        );
        refused(
            "watch=1&resourceVersion=4&resourceVersionMatch=Exact",
            "[resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided, \
             resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"]",
        );
        check("limit=many", Err("strconv.ParseInt: parsing \"many\": invalid syntax"));
        check(
            "timeoutSeconds=99999999999999999999",
            Err("strconv.ParseInt: parsing \"99999999999999999999\": value out of range"),
        );
    }

    #[test]
    fn only_an_apply_can_be_forced_and_it_says_whose_it_is() {
        let query = |text| Query::parse(Some(text));
        assert_eq!(query("fieldManager=ci&force=true").apply_options(), Ok(true));
        assert_eq!(query("fieldManager=ci&force=false").apply_options(), Ok(false));
        let told = |refused: Result<(), StatusError>| refused.expect_err("refused").message;
        assert_eq!(
            told(query("force=true").apply_options().map(drop)),
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
        );
        assert_eq!(
            told(query("force=true").demand_no_force()),
            "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch"
        );
        assert_eq!(query("").demand_no_force(), Ok(()));
    }

    #[test]
    fn a_dry_run_is_asked_for_with_all() {
        let options = |query| Query::parse(Some(query)).write_options("CreateOptions");
        assert!(options("dryRun=All&fieldManager=kubectl").expect("valid").dry_run);
        assert!(!options("fieldValidation=Strict").expect("valid").dry_run);
        assert_eq!(options("dryRun=Some").expect_err("no such value").code(), 422);
    }
}
