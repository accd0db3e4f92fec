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
    /// The revision the client knows.
    pub(crate) revision: Option<Revision>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matching {
    /// That revision and no other.
    Exact,
    /// That or a newer one.
    NotOlderThan,
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

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, StatusError> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(text) => match text.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(StatusError::bad_request(format!(
                    "invalid value {text:?} of query parameter {name}: not a number"
                ))),
            },
        }
    }

    /// What a list or watch asks for.
    pub(crate) fn list_options(&self) -> Result<ListOptions, StatusError> {
        let options = ListOptions {
            labels: self.text("labelSelector"),
            fields: self.text("fieldSelector"),
            limit: self.number::<i64>("limit")?.map_or(0, |limit| usize::try_from(limit).unwrap_or(0)),
            continuation: self.get("continue").filter(|token| !token.is_empty()).map(Into::into),
            revision: self.revision()?,
            matching: match self.get("resourceVersionMatch") {
                None | Some("") => None,
                Some("Exact") => Some(Matching::Exact),
                Some("NotOlderThan") => Some(Matching::NotOlderThan),
                Some(other) => {
                    let supported = ["Exact", "NotOlderThan"];
                    return Err(invalid(Cause::unsupported("resourceVersionMatch", other, &supported)));
                }
            },
            watch: self.flag("watch"),
            bookmarks: self.flag("allowWatchBookmarks"),
            initial_events: self.get("sendInitialEvents").map(|_| self.flag("sendInitialEvents")),
            timeout_seconds: self.number("timeoutSeconds")?,
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

    fn revision(&self) -> Result<Option<Revision>, StatusError> {
        let Some(text) = self.get("resourceVersion").filter(|text| !text.is_empty()) else { return Ok(None) };
        let revision = text.parse();
        revision.map(Some).map_err(|_| {
            invalid(Cause::invalid(
                "resourceVersion",
                text,
                "strconv.ParseUint: parsing the resource version: invalid syntax",
            ))
        })
    }

    /// How a write is to be done.
    pub(crate) fn write_options(&self) -> Result<WriteOptions, StatusError> {
        let validation = match self.get("fieldValidation") {
            None | Some("" | "Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let supported = ["Ignore", "Strict", "Warn"];
                return Err(invalid_in("CreateOptions", Cause::unsupported("fieldValidation", other, &supported)));
            }
        };
        let manager = self.get("fieldManager").unwrap_or_default();
        if manager.chars().count() > FIELD_MANAGER_CHARS_MAX {
            let cause = Cause::invalid("fieldManager", manager, "may not be more than 128 bytes");
            return Err(invalid_in("CreateOptions", cause));
        }
        Ok(WriteOptions { dry_run: dry_run(self.get("dryRun").into_iter())?, validation })
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
const FIELD_MANAGER_CHARS_MAX: usize = 128;

/// Whether these values of `dryRun` ask for a dry run; the only value is `All`.
pub(crate) fn dry_run<'a>(values: impl Iterator<Item = &'a str>) -> Result<bool, StatusError> {
    let mut asked = false;
    for value in values.filter(|value| !value.is_empty()) {
        if value != "All" {
            return Err(invalid_in("CreateOptions", Cause::unsupported("dryRun", value, &["All"])));
        }
        asked = true;
    }
    Ok(asked)
}

// === impl ListOptions ===

impl ListOptions {
    fn check(&self) -> Result<(), StatusError> {
        let forbidden = |field, why| Err(invalid(Cause::forbidden(field, why)));
        if self.initial_events.is_some() {
            if !self.watch {
                return forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
            }
            if self.matching != Some(Matching::NotOlderThan) {
                return forbidden(
                    "resourceVersionMatch",
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                );
            }
            return Ok(());
        }
        match self.matching {
            None => Ok(()),
            Some(_) if self.watch => forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ),
            Some(_) if self.continuation.is_some() => {
                forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
            }
            Some(_) if self.revision.is_none() => forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
            Some(Matching::Exact) if self.revision == Some(Revision::ZERO) => forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ),
            Some(_) => Ok(()),
        }
    }
}

fn invalid(cause: Cause) -> StatusError {
    invalid_in("ListOptions", cause)
}

/// The options themselves break a rule.
pub(crate) fn invalid_in(kind: &'static str, cause: Cause) -> StatusError {
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
    let error = StatusError::invalid(&names, "", vec![cause]);
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
                revision: Some(Revision::ZERO),
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
        check(
            "resourceVersionMatch=Exact",
            Err(
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
        );
        check(
            "watch=1&sendInitialEvents=true",
            Err(
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
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
        let options = |query| Query::parse(Some(query)).write_options();
        assert!(options("dryRun=All&fieldManager=kubectl").expect("valid").dry_run);
        assert!(!options("fieldValidation=Strict").expect("valid").dry_run);
        assert_eq!(options("dryRun=Some").expect_err("no such value").code(), 422);
    }
}
