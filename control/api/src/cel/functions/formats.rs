//! Named formats: `format.dns1123Label().validate(text)`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cel::budget::Fault;
use crate::cel::evaluate::Machine;
use crate::cel::signature::Kind::{List, Opaque, Optional, String};
use crate::cel::signature::{Answer, Overload, function, member};
use crate::cel::value::{Value, time};
use crate::rules::{self, NameRule};

const FORMAT: crate::cel::signature::Kind = Opaque("kubernetes.NamedFormat");

pub(crate) static TABLE: &[Overload] = &[
    function("format.named", &[String], Optional(&FORMAT), named),
    function("format.dns1123Label", &[], FORMAT, |_, _| Ok(Value::Format(Format::Dns1123Label))),
    function("format.dns1123Subdomain", &[], FORMAT, |_, _| Ok(Value::Format(Format::Dns1123Subdomain))),
    function("format.dns1035Label", &[], FORMAT, |_, _| Ok(Value::Format(Format::Dns1035Label))),
    function("format.dns1123LabelPrefix", &[], FORMAT, |_, _| Ok(Value::Format(Format::Dns1123LabelPrefix))),
    function("format.dns1123SubdomainPrefix", &[], FORMAT, |_, _| Ok(Value::Format(Format::Dns1123SubdomainPrefix))),
    function("format.dns1035LabelPrefix", &[], FORMAT, |_, _| Ok(Value::Format(Format::Dns1035LabelPrefix))),
    function("format.qualifiedName", &[], FORMAT, |_, _| Ok(Value::Format(Format::QualifiedName))),
    function("format.labelValue", &[], FORMAT, |_, _| Ok(Value::Format(Format::LabelValue))),
    function("format.uri", &[], FORMAT, |_, _| Ok(Value::Format(Format::Uri))),
    function("format.uuid", &[], FORMAT, |_, _| Ok(Value::Format(Format::Uuid))),
    function("format.byte", &[], FORMAT, |_, _| Ok(Value::Format(Format::Byte))),
    function("format.date", &[], FORMAT, |_, _| Ok(Value::Format(Format::Date))),
    function("format.datetime", &[], FORMAT, |_, _| Ok(Value::Format(Format::DateTime))),
    member("validate", &[FORMAT, String], Optional(&List(&String)), validate),
];

/// What text may have to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
pub enum Format {
    Dns1123Label,
    Dns1123Subdomain,
    Dns1035Label,
    Dns1123LabelPrefix,
    Dns1123SubdomainPrefix,
    Dns1035LabelPrefix,
    QualifiedName,
    LabelValue,
    Uri,
    Uuid,
    Byte,
    Date,
    DateTime,
}

// === impl Format ===

impl Format {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "dns1123Label" => Self::Dns1123Label,
            "dns1123Subdomain" => Self::Dns1123Subdomain,
            "dns1035Label" => Self::Dns1035Label,
            "dns1123LabelPrefix" => Self::Dns1123LabelPrefix,
            "dns1123SubdomainPrefix" => Self::Dns1123SubdomainPrefix,
            "dns1035LabelPrefix" => Self::Dns1035LabelPrefix,
            "qualifiedName" => Self::QualifiedName,
            "labelValue" => Self::LabelValue,
            "uri" => Self::Uri,
            "uuid" => Self::Uuid,
            "byte" => Self::Byte,
            "date" => Self::Date,
            "datetime" => Self::DateTime,
            _ => return None,
        })
    }

    /// Everything wrong with the text.
    fn problems(self, text: &str) -> Vec<std::string::String> {
        // A prefix is judged with its last dash as a letter: something follows it.
        let prefix = |rule: NameRule| match text.strip_suffix('-') {
            Some(stem) => rule.problems(&format!("{stem}a")),
            None => rule.problems(text),
        };
        let unless = |fits: bool, why: &str| if fits { Vec::new() } else { vec![why.to_owned()] };
        match self {
            Self::Dns1123Label => NameRule::Label.problems(text),
            Self::Dns1123Subdomain => NameRule::Subdomain.problems(text),
            Self::Dns1035Label => NameRule::LetterLabel.problems(text),
            Self::Dns1123LabelPrefix => prefix(NameRule::Label),
            Self::Dns1123SubdomainPrefix => prefix(NameRule::Subdomain),
            Self::Dns1035LabelPrefix => prefix(NameRule::LetterLabel),
            Self::QualifiedName => rules::qualified_name(text),
            Self::LabelValue => rules::label_value(text),
            Self::Uri => super::urls::Url::parse(text).err().map(str::to_owned).into_iter().collect(),
            Self::Uuid => unless(is_uuid(text), "does not match the UUID format"),
            Self::Byte => unless(STANDARD.decode(text).is_ok(), "invalid base64"),
            Self::Date => unless(is_date(text), "invalid date"),
            Self::DateTime => unless(time(text).is_some(), "invalid datetime"),
        }
    }
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let joined = parts.concat();
    let shape = match parts.len() {
        1 => true,
        5 => parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]),
        _ => false,
    };
    shape && joined.len() == 32 && joined.bytes().all(|c| c.is_ascii_hexdigit())
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && time(&format!("{text}T00:00:00Z")).is_some()
}

fn named<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let found = given[0].as_str().and_then(Format::of);
    Ok(found.map_or(Value::NONE, |format| Value::some(Value::Format(format))))
}

fn validate<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let [Value::Format(format), Value::String(text)] = given else { return Err(Fault::no_overload()) };
    machine.spend_bytes(text.len().saturating_mul(2))?;
    let problems = format.problems(text);
    if problems.is_empty() {
        return Ok(Value::NONE);
    }
    Ok(Value::some(Value::list(problems.into_iter().map(Value::text).collect())))
}
