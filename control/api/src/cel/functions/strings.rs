//! Text: the language's own functions, and the extension that Kubernetes adds. Places count characters.

use crate::cel::budget::Fault;
use crate::cel::evaluate::Machine;
use crate::cel::signature::Kind::{Bool, Int, List, String};
use crate::cel::signature::{Answer, Overload, function, member};
use crate::cel::text;
use crate::cel::value::Value;

pub(crate) static TABLE: &[Overload] = &[
    member("contains", &[String, String], Bool, contains),
    member("startsWith", &[String, String], Bool, starts_with),
    member("endsWith", &[String, String], Bool, ends_with),
    member("charAt", &[String, Int], String, char_at),
    member("indexOf", &[String, String], Int, index_of),
    member("indexOf", &[String, String, Int], Int, index_of),
    member("lastIndexOf", &[String, String], Int, last_index_of),
    member("lastIndexOf", &[String, String, Int], Int, last_index_of),
    member("join", &[List(&String)], String, join),
    member("join", &[List(&String), String], String, join),
    member("lowerAscii", &[String], String, lower),
    member("upperAscii", &[String], String, upper),
    member("replace", &[String, String, String], String, replace),
    member("replace", &[String, String, String, Int], String, replace),
    member("split", &[String, String], List(&String), split),
    member("split", &[String, String, Int], List(&String), split),
    member("substring", &[String, Int], String, substring),
    member("substring", &[String, Int, Int], String, substring),
    member("trim", &[String], String, trim),
    member("reverse", &[String], String, reverse),
    function("strings.quote", &[String], String, quote),
];

/// The text at a place among the arguments, its length charged.
fn said<'v>(machine: &mut Machine<'_, '_>, given: &'v [Value<'_>], place: usize) -> Result<&'v str, Fault> {
    let text = given.get(place).and_then(Value::as_str).ok_or_else(Fault::no_overload)?;
    machine.spend_bytes(text.len())?;
    Ok(text)
}

fn number(given: &[Value<'_>], place: usize) -> Option<i64> {
    match given.get(place) {
        Some(Value::Int(number)) => Some(*number),
        _ => None,
    }
}

fn out_of_range(place: i64) -> Fault {
    Fault::error(format!("index out of range: {place}"))
}

/// A place in a text of so many characters; one past the last is one too.
fn place_in(place: i64, length: usize) -> Result<usize, Fault> {
    usize::try_from(place).ok().filter(|place| *place <= length).ok_or_else(|| out_of_range(place))
}

/// Where the character at `place` begins.
fn offset(text: &str, place: usize) -> usize {
    text.char_indices().nth(place).map_or(text.len(), |(offset, _)| offset)
}

fn contains<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let (text, part) = (said(machine, given, 0)?, said(machine, given, 1)?);
    Ok(Value::Bool(text.contains(part)))
}

fn starts_with<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let part = said(machine, given, 1)?;
    Ok(Value::Bool(given[0].as_str().is_some_and(|text| text.starts_with(part))))
}

fn ends_with<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let part = said(machine, given, 1)?;
    Ok(Value::Bool(given[0].as_str().is_some_and(|text| text.ends_with(part))))
}

fn char_at<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let text = said(machine, given, 0)?;
    let place = place_in(number(given, 1).unwrap_or(-1), text.chars().count())?;
    Ok(Value::text(text.chars().nth(place).map(std::string::String::from).unwrap_or_default()))
}

fn index_of<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let (text, part) = (said(machine, given, 0)?, said(machine, given, 1)?);
    let from = place_in(number(given, 2).unwrap_or(0), text.chars().count())?;
    if part.is_empty() {
        return Ok(Value::Int(from as i64));
    }
    let start = offset(text, from);
    let found = text[start..].find(part).map(|found| text[..start + found].chars().count());
    Ok(Value::Int(found.map_or(-1, |found| found as i64)))
}

fn last_index_of<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let (text, part) = (said(machine, given, 0)?, said(machine, given, 1)?);
    let length = text.chars().count();
    let last = place_in(number(given, 2).unwrap_or(length as i64), length)?;
    if part.is_empty() {
        return Ok(Value::Int(last as i64));
    }
    // What is found may begin at the last place, and end beyond it.
    let end = offset(text, last.saturating_add(part.chars().count()));
    let found = text[..end].rfind(part).map(|found| text[..found].chars().count());
    Ok(Value::Int(found.map_or(-1, |found| found as i64)))
}

fn join<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let between = given.get(1).and_then(Value::as_str).unwrap_or_default();
    let mut joined = std::string::String::new();
    for (place, element) in given[0].elements().into_iter().flatten().enumerate() {
        let part = element.as_str().ok_or_else(Fault::no_overload)?;
        machine.spend_bytes(part.len() + between.len())?;
        if place > 0 {
            joined.push_str(between);
        }
        joined.push_str(part);
    }
    Ok(Value::text(joined))
}

fn lower<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::text(said(machine, given, 0)?.to_ascii_lowercase()))
}

fn upper<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::text(said(machine, given, 0)?.to_ascii_uppercase()))
}

fn replace<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let (text, old, new) = (said(machine, given, 0)?, said(machine, given, 1)?, said(machine, given, 2)?);
    let most = number(given, 3).unwrap_or(-1);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    // Before anything is made: a little text can become much.
    let found = text.matches(old).count().min(most);
    machine.spend_bytes(text.len().saturating_add(found.saturating_mul(new.len())))?;
    Ok(Value::text(text.replacen(old, new, most)))
}

fn split<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let (text, by) = (said(machine, given, 0)?, said(machine, given, 1)?);
    let most = number(given, 2).unwrap_or(-1);
    let count = if by.is_empty() { text.chars().count() } else { text.matches(by).count() + 1 };
    machine.spend(count as u64)?;
    let most = match usize::try_from(most) {
        Ok(0) => return Ok(Value::list(Vec::new())),
        Ok(most) => most,
        Err(_) => usize::MAX,
    };
    let parts: Vec<Value<'a>> = if by.is_empty() {
        let last = count.min(most).saturating_sub(1);
        let cut = offset(text, last);
        let letters = text[..cut].chars().map(|letter| Value::text(letter.to_string()));
        letters.chain((cut < text.len()).then(|| Value::text(&text[cut..]))).collect()
    } else {
        text.splitn(most, by).map(Value::text).collect()
    };
    Ok(Value::list(parts))
}

fn substring<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let text = said(machine, given, 0)?;
    let length = text.chars().count();
    let start = number(given, 1).unwrap_or(-1);
    let end = number(given, 2).unwrap_or(length as i64);
    if start > end {
        return Err(Fault::error(format!("invalid substring range. start: {start}, end: {end}")));
    }
    let (start, end) = (place_in(start, length)?, place_in(end, length)?);
    Ok(Value::text(&text[offset(text, start)..offset(text, end)]))
}

fn trim<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::text(said(machine, given, 0)?.trim()))
}

fn reverse<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::text(said(machine, given, 0)?.chars().rev().collect::<std::string::String>()))
}

fn quote<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::text(text::quoted(said(machine, given, 0)?)))
}
