//! Lists, as Kubernetes adds to them.

use std::cmp::Ordering;

use super::arithmetic;
use crate::cel::budget::Fault;
use crate::cel::evaluate::Machine;
use crate::cel::signature::Kind::{A, Bool, Int, List};
use crate::cel::signature::{Answer, Overload, member};
use crate::cel::value::Value;

pub(crate) static TABLE: &[Overload] = &[
    member("isSorted", &[List(&A)], Bool, is_sorted),
    member("sum", &[List(&A)], A, sum),
    member("min", &[List(&A)], A, least),
    member("max", &[List(&A)], A, greatest),
    member("indexOf", &[List(&A), A], Int, index_of),
    member("lastIndexOf", &[List(&A), A], Int, last_index_of),
];

/// How two elements stand to each other, if that is a question.
fn order(machine: &mut Machine<'_, '_>, one: &Value<'_>, two: &Value<'_>) -> Result<Option<Ordering>, Fault> {
    machine.spend_key(one)?;
    match one.compared(two) {
        Some(order) => Ok(Some(order)),
        None if one.is_number() && two.is_number() => Ok(None),
        None => Err(Fault::no_overload()),
    }
}

fn charged<'s, 'a>(
    machine: &mut Machine<'_, 'a>,
    list: &'s Value<'a>,
) -> Result<impl Iterator<Item = Value<'a>> + use<'s, 'a>, Fault> {
    machine.spend(list.size().unwrap_or(0) as u64)?;
    list.elements().ok_or_else(Fault::no_overload)
}

fn is_sorted<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let mut before: Option<Value<'a>> = None;
    for element in charged(machine, &given[0])? {
        if let Some(before) = &before
            && order(machine, before, &element)? == Some(Ordering::Greater)
        {
            return Ok(Value::Bool(false));
        }
        before = Some(element);
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let mut elements = charged(machine, &given[0])?;
    let Some(first) = elements.next() else { return Ok(Value::Int(0)) };
    if !first.is_number() && !matches!(first, Value::Duration(_)) {
        return Err(Fault::no_overload());
    }
    elements.try_fold(first, |sum, element| arithmetic::plus(&sum, &element))
}

fn extreme<'a>(machine: &mut Machine<'_, 'a>, list: &Value<'a>, name: &str, wanted: Ordering) -> Answer<'a> {
    let mut found: Option<Value<'a>> = None;
    for element in charged(machine, list)? {
        let is_more = match &found {
            None => true,
            Some(found) => order(machine, &element, found)? == Some(wanted),
        };
        if is_more {
            found = Some(element);
        }
    }
    found.ok_or_else(|| Fault::error(format!("{name} called on empty list")))
}

fn least<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    extreme(machine, &given[0], "min", Ordering::Less)
}

fn greatest<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    extreme(machine, &given[0], "max", Ordering::Greater)
}

fn index_of<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    for (place, element) in given[0].elements().into_iter().flatten().enumerate() {
        if machine.equal(&element, &given[1])? {
            return Ok(Value::Int(place as i64));
        }
    }
    Ok(Value::Int(-1))
}

fn last_index_of<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    for place in (0..given[0].size().unwrap_or(0)).rev() {
        if let Some(element) = given[0].element(place)
            && machine.equal(&element, &given[1])?
        {
            return Ok(Value::Int(place as i64));
        }
    }
    Ok(Value::Int(-1))
}
