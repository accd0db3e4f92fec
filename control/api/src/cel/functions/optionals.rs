//! What may not be there.

use crate::cel::budget::Fault;
use crate::cel::evaluate::Machine;
use crate::cel::signature::Kind::{A, Bool, Optional};
use crate::cel::signature::{Answer, Overload, function, member};
use crate::cel::value::Value;

pub(crate) static TABLE: &[Overload] = &[
    function("optional.of", &[A], Optional(&A), of),
    function("optional.ofNonZeroValue", &[A], Optional(&A), of_non_zero),
    function("optional.none", &[], Optional(&A), none),
    member("hasValue", &[Optional(&A)], Bool, has_value),
    member("value", &[Optional(&A)], A, value),
    member("or", &[Optional(&A), Optional(&A)], Optional(&A), or),
    member("orValue", &[Optional(&A), A], A, or_value),
];

fn of<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::some(given[0].clone()))
}

fn of_non_zero<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let is_zero = match &given[0] {
        Value::Null | Value::Bool(false) | Value::Int(0) | Value::Uint(0) | Value::Optional(None) => true,
        Value::Double(value) => *value == 0.0,
        Value::Duration(span) => span.is_zero(),
        other => other.size() == Some(0),
    };
    Ok(if is_zero { Value::NONE } else { Value::some(given[0].clone()) })
}

fn none<'a>(_: &mut Machine<'_, 'a>, _: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::NONE)
}

fn has_value<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::Bool(matches!(given[0], Value::Optional(Some(_)))))
}

fn value<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    match &given[0] {
        Value::Optional(Some(held)) => Ok(Value::clone(held)),
        _ => Err(Fault::error("optional.none() dereference")),
    }
}

fn or<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    Ok(given.iter().find(|one| !matches!(one, Value::Optional(None))).cloned().unwrap_or(Value::NONE))
}

fn or_value<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    match &given[0] {
        Value::Optional(Some(held)) => Ok(Value::clone(held)),
        _ => Ok(given[1].clone()),
    }
}
