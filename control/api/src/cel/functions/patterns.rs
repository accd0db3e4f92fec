//! Regular expressions. They take time in proportion to the text, and may be no larger than a limit.

use regex::{Regex, RegexBuilder};

use crate::cel::budget::Fault;
use crate::cel::evaluate::Machine;
use crate::cel::signature::Kind::{Bool, Int, List, String};
use crate::cel::signature::{Answer, Overload, function, member};
use crate::cel::value::Value;

pub(crate) static TABLE: &[Overload] = &[
    member("matches", &[String, String], Bool, matches),
    function("matches", &[String, String], Bool, matches),
    member("find", &[String, String], String, find),
    member("findAll", &[String, String], List(&String), find_all),
    member("findAll", &[String, String, Int], List(&String), find_all),
];

/// A compiled expression of this many bytes is read in about a millisecond.
const COMPILED_BYTES_MAX: usize = 256 * 1024;
/// As deep as an expression may nest: reading it recurses.
const NEST_MAX: u32 = 50;
/// Reading a pattern takes about a millisecond if it is one of the largest, however short it is.
const PATTERN_COST: u64 = 1000;

/// Reads an expression.
pub(crate) fn compiled(pattern: &str) -> Result<Regex, Fault> {
    RegexBuilder::new(&translated(pattern))
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .nest_limit(NEST_MAX)
        .build()
        .map_err(|error| Fault::error(format!("error parsing regexp: {}: `{pattern}`", why(&error))))
}

/// The expression as this library reads what Go means: `\d`, `\w`, `\s` and `\b` are of ASCII, and within brackets nothing but
/// the brackets' end, a dash and a backslash says more than itself.
fn translated(pattern: &str) -> std::string::String {
    let mut out = std::string::String::with_capacity(pattern.len());
    let mut letters = pattern.chars().peekable();
    // How many letters of a bracket have been read; its first may be what would end it.
    let mut bracket: Option<usize> = None;
    while let Some(letter) = letters.next() {
        let within = bracket.is_some();
        let is_first = bracket == Some(0);
        bracket = bracket.map(|count| count + 1);
        match letter {
            '\\' => {
                let Some(escaped) = letters.next() else {
                    out.push('\\');
                    break;
                };
                match (escaped, within) {
                    ('d', false) => out.push_str("[0-9]"),
                    ('d', true) => out.push_str("0-9"),
                    ('D', _) => out.push_str("[^0-9]"),
                    ('w', false) => out.push_str("[0-9A-Za-z_]"),
                    ('w', true) => out.push_str("0-9A-Za-z_"),
                    ('W', _) => out.push_str("[^0-9A-Za-z_]"),
                    ('s', false) => out.push_str(r"[\t\n\f\r ]"),
                    ('s', true) => out.push_str(r"\t\n\f\r "),
                    ('S', _) => out.push_str(r"[^\t\n\f\r ]"),
                    ('b', false) => out.push_str(r"(?-u:\b)"),
                    (escaped, _) => out.extend(['\\', escaped]),
                }
            }
            '[' if !within => {
                out.push('[');
                bracket = Some(0);
                if letters.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            '[' if letters.peek() == Some(&':') => {
                // A class by its name, such as `[:alpha:]`.
                out.push('[');
                for named in letters.by_ref() {
                    out.push(named);
                    if named == ']' {
                        break;
                    }
                }
            }
            ']' if within && !is_first => {
                out.push(']');
                bracket = None;
            }
            '[' | ']' | '&' | '~' if within => out.extend(['\\', letter]),
            letter => out.push(letter),
        }
    }
    out
}

/// The last line of what the library says: it draws the pattern above it.
fn why(error: &regex::Error) -> std::string::String {
    let told = error.to_string();
    let last = told.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// The text and the expression to go through it with.
fn read<'v>(machine: &mut Machine<'_, '_>, given: &'v [Value<'_>]) -> Result<(&'v str, Regex), Fault> {
    let (Some(text), Some(pattern)) = (given[0].as_str(), given[1].as_str()) else { return Err(Fault::no_overload()) };
    let known = machine.pattern.take();
    let bytes = text.len().saturating_add(1).saturating_mul(pattern.len().div_ceil(4).max(1));
    machine.spend_bytes(bytes)?;
    let regex = match known {
        Some(known) => known,
        None => {
            machine.spend(PATTERN_COST + pattern.len() as u64)?;
            compiled(pattern)?
        }
    };
    Ok((text, regex))
}

fn matches<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let (text, regex) = read(machine, given)?;
    Ok(Value::Bool(regex.is_match(text)))
}

fn find<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let (text, regex) = read(machine, given)?;
    Ok(Value::text(regex.find(text).map(|found| found.as_str()).unwrap_or_default()))
}

fn find_all<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let (text, regex) = read(machine, given)?;
    let most = match given.get(2) {
        Some(Value::Int(most)) => usize::try_from(*most).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    // No more matches than characters, and one at the end.
    machine.spend(text.len() as u64 / 10 + 1)?;
    let mut found = Vec::new();
    for one in regex.find_iter(text).take(most) {
        machine.spend(1)?;
        found.push(Value::text(one.as_str()));
    }
    Ok(Value::list(found))
}
