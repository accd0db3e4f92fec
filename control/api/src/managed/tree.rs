//! Values and sets of paths: what a value has, how two differ, how they merge, and what goes when nobody wants it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::shape::{Mismatch, Part, Shape};
use super::{Element, FieldSet};

/// How two values differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

/// What of a value is wanted by whoever says it.
pub(super) fn wanted(shape: Shape<'_>, value: &Value) -> Result<FieldSet, Mismatch> {
    let Some(parts) = shape.parts(value)?.filter(|parts| !parts.is_empty()) else { return Ok(whole(shape)) };
    let mut set = FieldSet::default();
    for part in parts {
        let mut child = wanted(part.shape, part.value).map_err(|mismatch| mismatch.below(&part.element))?;
        if part.is_item {
            child.mark(true);
        }
        set.put(part.element, child);
    }
    Ok(set)
}

/// Every path of a value that can have an owner. What does not fit the schema is one leaf.
pub(super) fn everything(shape: Shape<'_>, value: &Value) -> FieldSet {
    let parts = shape.parts(value).unwrap_or_default();
    let Some(parts) = parts.filter(|parts| !parts.is_empty()) else { return whole(shape) };
    let mut set = FieldSet::default();
    for part in parts {
        let mut child = everything(part.shape, part.value);
        if !part.is_given {
            child.mark(true);
        }
        set.put(part.element, child);
    }
    set
}

/// A value without parts is one path, but nobody owns that an object is there or has metadata.
fn whole(shape: Shape<'_>) -> FieldSet {
    match shape {
        Shape::Root(_) | Shape::CustomRoot(_) | Shape::Metadata(_) => FieldSet::default(),
        _ => FieldSet::leaf(),
    }
}

/// How `after` differs from `before`.
pub(super) fn compare(shape: Shape<'_>, before: &Value, after: &Value) -> Difference {
    let mut found = Difference::default();
    if before == after {
        return found;
    }
    let (Ok(Some(before)), Ok(Some(after))) = (shape.parts(before), shape.parts(after)) else {
        found.modified.mark(true);
        return found;
    };
    let mut before: BTreeMap<Element, Part<'_>> = before.into_iter().map(|part| (part.element.clone(), part)).collect();
    let all = |part: &Part<'_>| {
        let mut set = everything(part.shape, part.value);
        if !part.is_given {
            set.mark(true);
        }
        set
    };
    for part in after {
        match before.remove(&part.element) {
            None => {
                let set = all(&part);
                found.added.put(part.element, set);
            }
            Some(was) => {
                let inner = compare(part.shape, was.value, part.value);
                found.added.put(part.element.clone(), inner.added);
                found.modified.put(part.element.clone(), inner.modified);
                found.removed.put(part.element, inner.removed);
            }
        }
    }
    for (element, part) in before {
        let set = all(&part);
        found.removed.put(element, set);
    }
    found
}

/// What `live` becomes when `config` is merged into it. Of items that both have, the order is that of `config`.
pub(super) fn merge(shape: Shape<'_>, live: Value, config: &Value) -> Value {
    match (shape, live, config) {
        (Shape::Leaf, _, config) => config.clone(),
        (list, Value::Array(live), Value::Array(config)) if list.is_list() => lists(shape, live, config),
        (_, Value::Object(mut live), Value::Object(config)) => {
            for (name, value) in config {
                let before = live.remove(name).unwrap_or_default();
                let merged = merge(shape.member(name).unwrap_or(Shape::Leaf), before, value);
                live.insert(name.clone(), merged);
            }
            Value::Object(live)
        }
        (_, _, config) => config.clone(),
    }
}

fn lists(shape: Shape<'_>, live: Vec<Value>, config: &[Value]) -> Value {
    let elements = |items: &[Value]| -> Option<Vec<Element>> { items.iter().map(|item| shape.step(item)).collect() };
    let (Some(mine), Some(theirs)) = (elements(config), elements(&live)) else { return Value::Array(config.to_vec()) };
    let named: BTreeSet<&Element> = mine.iter().collect();
    let by_element: BTreeMap<&Element, &Value> = theirs.iter().zip(&live).collect();
    let mut merged = Vec::with_capacity(live.len() + config.len());
    let mut done = BTreeSet::new();
    let mut rest = theirs.iter().zip(&live).peekable();
    // What only the live list has keeps its place among what both have.
    let mut keep = |merged: &mut Vec<Value>, done: &BTreeSet<&Element>| {
        while let Some((element, item)) =
            rest.next_if(|(element, _)| !named.contains(element) || done.contains(element))
        {
            if !named.contains(element) {
                merged.push(item.clone());
            }
        }
    };
    for (element, item) in mine.iter().zip(config) {
        keep(&mut merged, &done);
        let before = by_element.get(element).map_or(Value::Null, |item| (*item).clone());
        merged.push(merge(shape.item(), before, item));
        done.insert(element);
    }
    keep(&mut merged, &done);
    Value::Array(merged)
}

/// Removes what is in `last` and owned by nobody.
pub(super) fn prune(shape: Shape<'_>, value: Value, last: &FieldSet, owned: &FieldSet) -> Value {
    prune_below(shape, value, last, owned, &[])
}

fn prune_below(shape: Shape<'_>, value: Value, last: &FieldSet, owned: &FieldSet, keys: &[&str]) -> Value {
    match value {
        Value::Object(members) if !matches!(shape, Shape::Leaf) => {
            let kept = members.into_iter().filter_map(|(name, value)| {
                // The keys of an item that stays stay.
                if keys.contains(&name.as_str()) {
                    return Some((name, value));
                }
                let inner = shape.member(&name).unwrap_or(Shape::Leaf);
                let value = survivor(inner, &Element::Field(name.clone()), value, last, owned, &[])?;
                Some((name, value))
            });
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(items) if shape.is_list() => {
            let keys = shape.keys();
            let kept = items.into_iter().filter_map(|item| match shape.step(&item) {
                Some(element) => survivor(shape.item(), &element, item, last, owned, &keys),
                None => Some(item),
            });
            Value::Array(kept.collect())
        }
        other => other,
    }
}

/// What is left of a part; nothing when it goes.
fn survivor(
    shape: Shape<'_>,
    element: &Element,
    value: Value,
    last: &FieldSet,
    owned: &FieldSet,
    keys: &[&str],
) -> Option<Value> {
    let Some(last) = last.child(element) else { return Some(value) };
    match owned.child(element) {
        Some(owned) => Some(prune_below(shape, value, last, owned, keys)),
        None if last.is_member() => None,
        // Nobody said that it be there: it goes with the last of what was wanted in it.
        None => Some(prune_below(shape, value, last, &FieldSet::default(), keys)).filter(|left| !is_bare(left)),
    }
}

fn is_bare(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
