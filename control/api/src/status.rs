//! How the API says no: Kubernetes' `Status`, with a reason, causes and field paths.
//!
//! Wording is part of the contract: clients print the message, and scripts match the reason. The forms follow
//! <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/>.

use serde::Serialize;
use serde_json::Value;

use crate::kind::Names;

/// A refusal or a fault, as the API states it.
#[derive(Clone, Debug, PartialEq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct StatusError {
    /// The class of refusal; it decides the HTTP code.
    pub reason: Reason,
    /// What clients print.
    pub message: String,
    /// Which object, and what about it.
    pub details: Option<Box<Details>>,
}

/// Kubernetes' machine-readable reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
pub enum Reason {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    AlreadyExists,
    Conflict,
    Expired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    Invalid,
    TooManyRequests,
    InternalError,
    /// A fault that Kubernetes gives no reason for.
    Unknown,
    ServiceUnavailable,
    Timeout,
    /// What a webhook says, with a code that is not its reason's own; the name is empty if it is nobody's.
    Told {
        code: u16,
        name: &'static str,
    },
}

/// Which object a status speaks of, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The object's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The plural resource for most reasons, the kind for `Invalid`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The object's uid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Each thing that is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
    /// Where a list whose snapshot is gone can go on, in a newer one; told in the status' metadata.
    #[serde(skip)]
    pub continuation: Option<String>,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cause {
    /// Such as `FieldValueRequired`; empty where words are all there is.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: &'static str,
    /// What is wrong, without the field's path.
    pub message: String,
    /// The path of the field, such as `spec.template.spec.containers[0].image`; empty where it is about none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

// === impl StatusError ===

impl StatusError {
    /// A refusal that speaks of no object.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), details: None }
    }

    /// The request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// Something on our side failed.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::new(Reason::InternalError, format!("Internal error occurred: {error}"))
    }

    /// There is no such object.
    pub fn not_found(names: &Names, name: &str) -> Self {
        Self::about(Reason::NotFound, names, name, format!("{} \"{name}\" not found", names.resource()))
    }

    /// The name is taken.
    pub fn already_exists(names: &Names, name: &str) -> Self {
        Self::about(Reason::AlreadyExists, names, name, format!("{} \"{name}\" already exists", names.resource()))
    }

    /// The object is not what the caller took it to be.
    pub fn conflict(names: &Names, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", names.resource());
        Self::about(Reason::Conflict, names, name, message)
    }

    /// The caller may not do this to the object.
    pub fn forbidden(names: &Names, name: &str, why: &str) -> Self {
        let message = match name {
            "" => format!("{} is forbidden: {why}", names.resource()),
            name => format!("{} \"{name}\" is forbidden: {why}", names.resource()),
        };
        Self::about(Reason::Forbidden, names, name, message)
    }

    /// The object breaks rules of its kind; `causes` says each of them.
    pub fn invalid(names: &Names, name: &str, causes: Vec<Cause>) -> Self {
        let mut told: Vec<String> = Vec::new();
        for cause in &causes {
            let words = format!("{}: {}", cause.field, cause.message);
            // What is said twice is told once.
            if !told.contains(&words) {
                told.push(words);
            }
        }
        let told = match told.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        Self {
            reason: Reason::Invalid,
            message: format!("{} \"{name}\" is invalid: {told}", names.qualified_kind()),
            details: Some(Box::new(Details {
                name: name.into(),
                group: names.group.into(),
                kind: names.kind.into(),
                causes,
                ..Details::default()
            })),
        }
    }

    /// The question about a kind's objects breaks a rule, before any object comes into it.
    pub fn invalid_resource(names: &Names, cause: Cause) -> Self {
        let message = format!("{} \"\" is invalid: {}: {}", names.resource(), cause.field, cause.message);
        let details =
            Details { group: names.group.into(), kind: names.plural.into(), causes: vec![cause], ..Details::default() };
        Self { reason: Reason::Invalid, message, details: Some(Box::new(details)) }
    }

    fn about(reason: Reason, names: &Names, name: &str, message: String) -> Self {
        let details =
            Details { name: name.into(), group: names.group.into(), kind: names.plural.into(), ..Details::default() };
        Self { reason, message, details: Some(Box::new(details)) }
    }

    /// The HTTP status code of the reason.
    pub const fn code(&self) -> u16 {
        self.reason.code()
    }

    /// The `Status` object that clients receive.
    pub fn to_value(&self) -> serde_json::Value {
        let mut status = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code(),
        });
        if self.reason.name().is_empty()
            && let Some(members) = status.as_object_mut()
        {
            members.remove("reason");
        }
        if let Some(details) = &self.details {
            match &details.continuation {
                None => status["details"] = serde_json::json!(details),
                Some(token) => status["metadata"]["continue"] = token.as_str().into(),
            }
        }
        status
    }
}

// === impl Reason ===

impl Reason {
    const ALL: [Self; 16] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::AlreadyExists,
        Self::Conflict,
        Self::Expired,
        Self::RequestEntityTooLarge,
        Self::UnsupportedMediaType,
        Self::Invalid,
        Self::TooManyRequests,
        Self::InternalError,
        Self::ServiceUnavailable,
        Self::Timeout,
    ];

    /// What somebody else says the reason is, with the code that goes with it.
    pub fn told(name: &str, code: u16) -> Self {
        let known = Self::ALL.into_iter().find(|reason| reason.name() == name);
        match known {
            Some(known) if known.code() == code => known,
            known => Self::Told { code, name: known.map_or("", Self::name) },
        }
    }

    /// The reason as clients read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Expired => "Expired",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::Invalid => "Invalid",
            Self::TooManyRequests => "TooManyRequests",
            Self::InternalError => "InternalError",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Timeout => "Timeout",
            Self::Unknown => "",
            Self::Told { name, .. } => name,
        }
    }

    /// The HTTP status code.
    pub const fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Expired => 410,
            Self::RequestEntityTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::InternalError | Self::Unknown => 500,
            Self::ServiceUnavailable => 503,
            Self::Timeout => 504,
            Self::Told { code, .. } => code,
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

// === impl Cause ===

impl Cause {
    /// A field that must be there is not; `detail` may be empty.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        Self { reason: "FieldValueRequired", message: with_detail("Required value", detail), field: field.into() }
    }

    /// A value that breaks a rule.
    pub fn invalid(field: impl Into<String>, value: impl Serialize, detail: &str) -> Self {
        let message = with_detail(&format!("Invalid value: {}", quoted(&value)), detail);
        Self { reason: "FieldValueInvalid", message, field: field.into() }
    }

    /// A value that appears twice.
    pub fn duplicate(field: impl Into<String>, value: impl Serialize) -> Self {
        let message = format!("Duplicate value: {}", quoted(&value));
        Self { reason: "FieldValueDuplicate", message, field: field.into() }
    }

    /// A value outside a fixed set.
    pub fn unsupported(field: impl Into<String>, value: impl Serialize, supported: &[&str]) -> Self {
        let known: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
        let message = format!("Unsupported value: {}: supported values: {}", quoted(&value), known.join(", "));
        Self { reason: "FieldValueNotSupported", message, field: field.into() }
    }

    /// A field that may not be set, or not changed.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self { reason: "FieldValueForbidden", message: with_detail("Forbidden", detail), field: field.into() }
    }
}

fn with_detail(what: &str, detail: &str) -> String {
    if detail.is_empty() { what.into() } else { format!("{what}: {detail}") }
}

/// The value as Go prints it: lists of texts have a type there.
fn quoted(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::Array(items)) if items.iter().all(Value::is_string) => {
            let items: Vec<String> = items.iter().filter_map(Value::as_str).map(go_quoted).collect();
            format!("[]string{{{}}}", items.join(", "))
        }
        Ok(Value::String(text)) => go_quoted(&text),
        Ok(value) => value.to_string(),
        Err(_) => "null".into(),
    }
}

/// Text between quotes, with what cannot be seen written as Go writes it.
fn go_quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\t' => quoted.push_str("\\t"),
            '\n' => quoted.push_str("\\n"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            '\r' => quoted.push_str("\\r"),
            letter if letter.is_ascii_control() => quoted.extend(format!("\\x{:02x}", u32::from(letter)).chars()),
            letter if letter.is_control() => quoted.extend(format!("\\u{:04x}", u32::from(letter)).chars()),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_printed_as_go_prints_them() {
        let check = |value: Value, expect: &str| assert_eq!(quoted(&value), expect);
        check("a\"b\\c\u{7}\u{1}\n\u{e9}\u{9e}".into(), "\"a\\\"b\\\\c\\a\\x01\\n\u{e9}\\u009e\"");
        check(serde_json::json!(["a", "b"]), "[]string{\"a\", \"b\"}");
        check(5.into(), "5");
        check(true.into(), "true");
        check(Value::Null, "null");
    }
}
