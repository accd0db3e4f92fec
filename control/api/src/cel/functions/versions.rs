//! Semantic versions: `semver('1.2.3')`.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::cel::budget::Fault;
use crate::cel::evaluate::Machine;
use crate::cel::signature::Kind::{Bool, Int, Opaque, String};
use crate::cel::signature::{Answer, Overload, function, member};
use crate::cel::value::Value;

const SEMVER: crate::cel::signature::Kind = Opaque("kubernetes.Semver");

pub(crate) static TABLE: &[Overload] = &[
    function("semver", &[String], SEMVER, semver),
    function("semver", &[String, Bool], SEMVER, semver),
    function("isSemver", &[String], Bool, is_semver),
    function("isSemver", &[String, Bool], Bool, is_semver),
    member("major", &[SEMVER], Int, |_, given| part(given, 0)),
    member("minor", &[SEMVER], Int, |_, given| part(given, 1)),
    member("patch", &[SEMVER], Int, |_, given| part(given, 2)),
    member("compareTo", &[SEMVER, SEMVER], Int, |_, given| Ok(Value::Int(order(given)? as i64))),
    member("isLessThan", &[SEMVER, SEMVER], Bool, |_, given| Ok(Value::Bool(order(given)?.is_lt()))),
    member("isGreaterThan", &[SEMVER, SEMVER], Bool, |_, given| Ok(Value::Bool(order(given)?.is_gt()))),
];

/// A version; what is built of it is not compared.
#[derive(Clone, Debug)]
pub struct Version {
    numbers: [u64; 3],
    before: Vec<Identifier>,
}

/// A part of what comes before a release: numbers come before words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Word(std::string::String),
}

// === impl Version ===

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
        let (numbers, before) = text.split_once('-').map_or((text, None), |(text, before)| (text, Some(before)));
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        if build.is_some_and(|build| !build.split('.').all(is_word)) {
            return None;
        }
        let mut parts = numbers.split('.').map(number);
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        if parts.next().is_some() {
            return None;
        }
        let before = before.map_or(Some(Vec::new()), |before| {
            before.split('.').map(|word| identifier(word).filter(|_| is_word(word))).collect()
        })?;
        Some(Self { numbers, before })
    }

    /// Forgives a `v`, missing parts and leading zeros.
    fn forgiving(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let end = text.find(['-', '+']).unwrap_or(text.len());
        let (numbers, rest) = text.split_at(end);
        let mut numbers: Vec<&str> = numbers
            .split('.')
            .map(|part| match part.trim_start_matches('0') {
                "" if !part.is_empty() => "0",
                trimmed => trimmed,
            })
            .collect();
        numbers.resize(numbers.len().max(3), "0");
        Self::parse(&format!("{}{rest}", numbers.join(".")))
    }
}

fn number(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    (is_plain && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok())?
}

fn identifier(word: &str) -> Option<Identifier> {
    if word.bytes().all(|c| c.is_ascii_digit()) {
        return number(word).map(Identifier::Number);
    }
    Some(Identifier::Word(word.into()))
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.before.is_empty(), other.before.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => self.before.cmp(&other.before),
        })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

fn read(machine: &mut Machine<'_, '_>, given: &[Value<'_>]) -> Result<Option<Version>, Fault> {
    let text = given[0].as_str().ok_or_else(Fault::no_overload)?;
    machine.spend_bytes(text.len())?;
    let forgives = given.get(1).and_then(Value::as_bool).unwrap_or(false);
    Ok(if forgives { Version::forgiving(text) } else { Version::parse(text) })
}

fn semver<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let found = read(machine, given)?;
    let wrong = || Fault::error("No Major.Minor.Patch elements found");
    found.map(|version| Value::Version(Arc::new(version))).ok_or_else(wrong)
}

fn is_semver<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::Bool(read(machine, given)?.is_some()))
}

fn part<'a>(given: &[Value<'a>], place: usize) -> Answer<'a> {
    match given {
        [Value::Version(version)] => Ok(Value::Int(i64::try_from(version.numbers[place]).unwrap_or(i64::MAX))),
        _ => Err(Fault::no_overload()),
    }
}

fn order(given: &[Value<'_>]) -> Result<Ordering, Fault> {
    match given {
        [Value::Version(one), Value::Version(two)] => Ok(one.cmp(two)),
        _ => Err(Fault::no_overload()),
    }
}
