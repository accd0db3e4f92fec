//! Strategic merge patch: the patch and the schema are walked together.
//!
//! Objects merge member by member, and null removes. Lists are replaced, unless the schema says by which key their items are
//! the same. Members whose names begin with `$` direct the merge and never reach the result.

use serde_json::{Map, Value};

use super::facts::{self, Facts};
use crate::schema::{self, Message, Shape, Type};
use crate::{Reason, StatusError};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

type Members = Map<String, Value>;

/// What an object in a patch asks to be done with it.
enum Directive {
    Merge,
    Replace,
    Delete,
}

/// Merges `patch` into `live`, an object of type `message`.
pub(super) fn objects(message: Option<&Message>, mut live: Members, patch: &Members) -> Result<Members, StatusError> {
    match directive(patch)? {
        Directive::Merge => {}
        Directive::Delete => return Ok(Members::new()),
        Directive::Replace => return plain(message, patch),
    }
    if let Some(kept) = patch.get(RETAIN_KEYS) {
        retain(&mut live, kept, patch)?;
    }
    for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        if value.is_null() {
            live.remove(name);
            continue;
        }
        let before = live.remove(name);
        let merged = member(message, name, before, value, patch)?;
        live.insert(name.clone(), merged);
    }
    // Directives about lists of which the patch itself holds nothing.
    for (directive, value) in patch {
        let name = directive.strip_prefix(ORDER).or_else(|| directive.strip_prefix(DELETE));
        let Some(name) = name.filter(|name| !patch.contains_key(*name)) else { continue };
        if directive.starts_with(DELETE) && patch.contains_key(&format!("{ORDER}{name}")) {
            continue;
        }
        if !value.is_array() {
            return Err(StatusError::bad_request(format!("{directive} must be a list")));
        }
        if let Some(Value::Array(items)) = live.remove(name) {
            let merged = lists(&Place::of(message, name), items, &[], patch, name)?;
            live.insert(name.into(), Value::Array(merged));
        }
    }
    Ok(live)
}

/// One member of an object, with what was there before.
fn member(
    message: Option<&Message>,
    name: &str,
    before: Option<Value>,
    patch: &Value,
    directives: &Members,
) -> Result<Value, StatusError> {
    let place = Place::of(message, name);
    match (before, patch) {
        (before, Value::Object(patch)) => {
            let replaced = place.facts.is_some_and(|facts| facts.replaces());
            match before {
                Some(Value::Object(before)) if !replaced => objects(place.inside, before, patch),
                _ => objects(place.inside, Members::new(), patch),
            }
            .map(Value::Object)
        }
        (before, Value::Array(patch)) => {
            let before = match before {
                Some(Value::Array(before)) => before,
                _ => Vec::new(),
            };
            lists(&place, before, patch, directives, name).map(Value::Array)
        }
        (_, scalar) => Ok(scalar.clone()),
    }
}

/// What the schema says about a member.
struct Place<'a> {
    facts: Option<Facts>,
    /// The type of the member, or of its items.
    inside: Option<&'a Message>,
}

// === impl Place ===

impl<'a> Place<'a> {
    fn of(message: Option<&'a Message>, name: &str) -> Self {
        let field = message.and_then(|message| message.member(name));
        let inside = field.filter(|field| field.shape != Shape::Map).and_then(|field| match field.of {
            Type::Message(inner) => schema::message(inner),
            _ => None,
        });
        Self { facts: message.zip(field).and_then(|(message, field)| facts::of(message, field)), inside }
    }
}

fn lists(
    place: &Place<'_>,
    live: Vec<Value>,
    patch: &[Value],
    directives: &Members,
    name: &str,
) -> Result<Vec<Value>, StatusError> {
    let list = |prefix: &str| directives.get(&format!("{prefix}{name}")).and_then(Value::as_array).map(Vec::as_slice);
    let order = list(ORDER);
    match place.facts.filter(Facts::merges) {
        None => patch.iter().map(|item| fresh(place.inside, item)).collect(),
        Some(facts) if facts.merge_key.is_empty() => {
            let removed = list(DELETE).unwrap_or_default();
            let before = live.clone();
            let mut merged: Vec<Value> = live.into_iter().filter(|item| !removed.contains(item)).collect();
            for item in patch {
                if !merged.contains(item) {
                    merged.push(item.clone());
                }
            }
            Ok(match order {
                None => merged,
                Some(order) => ordered(merged, &before, order, |item| Some(item.clone())),
            })
        }
        Some(facts) => {
            let before = live.clone();
            let merged = keyed(place, facts.merge_key, live, patch, order)?;
            Ok(match order {
                None => merged,
                Some(order) => ordered(merged, &before, order, |item| item.get(facts.merge_key).cloned()),
            })
        }
    }
}

/// Merges lists of objects whose key tells which are the same.
fn keyed(
    place: &Place<'_>,
    key: &str,
    mut live: Vec<Value>,
    patch: &[Value],
    order: Option<&[Value]>,
) -> Result<Vec<Value>, StatusError> {
    let replaces =
        patch.iter().filter_map(Value::as_object).any(|item| item.get(PATCH).is_some_and(|it| it == "replace"));
    if replaces {
        let items = patch.iter().filter(|item| item.get(PATCH).is_none());
        return items.map(|item| fresh(place.inside, item)).collect();
    }
    for item in patch {
        let Value::Object(item) = item else {
            return Err(StatusError::bad_request(format!("expected an object with the key {key}, found {item}")));
        };
        let Some(named) = item.get(key).filter(|named| !named.is_null()) else {
            return Err(StatusError::new(
                Reason::Invalid,
                format!("map: {} does not contain declared merge key: {key}", go_print(&Value::Object(item.clone()))),
            ));
        };
        if matches!(directive(item)?, Directive::Delete) {
            live.retain(|one| one.get(key) != Some(named));
            continue;
        }
        if order.is_some_and(|order| !order.iter().any(|one| one.get(key) == Some(named))) {
            return Err(StatusError::bad_request(format!(
                "the list of the patch holds {}, which its order list does not",
                go_print(named)
            )));
        }
        match live.iter_mut().find(|one| one.get(key) == Some(named)) {
            Some(Value::Object(one)) => *one = objects(place.inside, std::mem::take(one), item)?,
            _ => live.push(fresh(place.inside, &Value::Object(item.clone()))?),
        }
    }
    Ok(live)
}

/// The items in the order asked for; what is not asked for keeps its place among what was there before.
fn ordered(items: Vec<Value>, before: &[Value], order: &[Value], key: impl Fn(&Value) -> Option<Value>) -> Vec<Value> {
    let wanted: Vec<Option<Value>> = order.iter().map(&key).collect();
    let was: Vec<Option<Value>> = before.iter().map(&key).collect();
    let rank = |item: &Value| wanted.iter().position(|one| *one == key(item));
    let place = |item: &Value| was.iter().position(|one| *one == key(item));
    let (mut asked, others): (Vec<Value>, Vec<Value>) = items.into_iter().partition(|item| rank(item).is_some());
    asked.sort_by_key(|item| rank(item));
    let mut merged = Vec::with_capacity(asked.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in asked {
        let is_before =
            |other: &Value| matches!((place(other), place(&item)), (Some(other), Some(item)) if other < item);
        while let Some(other) = others.next_if(is_before) {
            merged.push(other);
        }
        merged.push(item);
    }
    merged.extend(others);
    merged
}

/// A value of the patch where nothing was before: the same without directives and nulls.
fn fresh(message: Option<&Message>, value: &Value) -> Result<Value, StatusError> {
    match value {
        Value::Object(members) => objects(message, Members::new(), members).map(Value::Object),
        Value::Array(items) => items.iter().map(|item| fresh(None, item)).collect::<Result<_, _>>().map(Value::Array),
        scalar => Ok(scalar.clone()),
    }
}

/// The object of a patch that replaces what was there.
fn plain(message: Option<&Message>, patch: &Members) -> Result<Members, StatusError> {
    let rest =
        patch.iter().filter(|(name, _)| *name != PATCH).map(|(name, value)| (name.clone(), value.clone())).collect();
    objects(message, Members::new(), &rest)
}

fn directive(patch: &Members) -> Result<Directive, StatusError> {
    match patch.get(PATCH).map(Value::as_str) {
        None | Some(Some("merge")) => Ok(Directive::Merge),
        Some(Some("replace")) => Ok(Directive::Replace),
        Some(Some("delete")) => Ok(Directive::Delete),
        Some(_) => {
            let told = patch.get(PATCH).map(go_print).unwrap_or_default();
            let map = go_print(&Value::Object(patch.clone()));
            Err(StatusError::bad_request(format!("unknown patch type: {told} in map: {map}")))
        }
    }
}

/// Drops what the patch does not keep; everything the patch sets must be kept.
fn retain(live: &mut Members, kept: &Value, patch: &Members) -> Result<(), StatusError> {
    let kept = kept.as_array().ok_or_else(|| StatusError::bad_request("$retainKeys must be a list"))?;
    let is_kept = |name: &str| kept.iter().any(|one| one == name);
    let set = patch.iter().filter(|(name, value)| !name.starts_with('$') && !value.is_null());
    if let Some((name, _)) = set.into_iter().find(|(name, _)| !is_kept(name)) {
        let kept: Vec<String> = kept.iter().map(go_print).collect();
        return Err(StatusError::bad_request(format!(
            "$retainKeys directive [{}] does not keep {name}, which the patch sets",
            kept.join(" ")
        )));
    }
    live.retain(|name, _| is_kept(name));
    Ok(())
}

/// A value as Go prints it.
fn go_print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_print).collect::<Vec<_>>().join(" ")),
        Value::Object(members) => {
            let pairs: Vec<String> =
                members.iter().map(|(name, value)| format!("{name}:{}", go_print(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests;
