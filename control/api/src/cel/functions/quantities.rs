//! Amounts: `quantity('100Mi')`.

use std::cmp::Ordering;

use crate::cel::budget::Fault;
use crate::cel::evaluate::Machine;
use crate::cel::signature::Kind::{Bool, Double, Int, Opaque, String};
use crate::cel::signature::{Answer, Overload, function, member};
use crate::cel::value::Value;
use crate::quantity::Quantity;

const QUANTITY: crate::cel::signature::Kind = Opaque("kubernetes.Quantity");

pub(crate) static TABLE: &[Overload] = &[
    function("quantity", &[String], QUANTITY, quantity),
    function("isQuantity", &[String], Bool, is_quantity),
    member("sign", &[QUANTITY], Int, sign),
    member("isInteger", &[QUANTITY], Bool, is_integer),
    member("asInteger", &[QUANTITY], Int, as_integer),
    member("asApproximateFloat", &[QUANTITY], Double, as_float),
    member("compareTo", &[QUANTITY, QUANTITY], Int, compare_to),
    member("isGreaterThan", &[QUANTITY, QUANTITY], Bool, is_greater),
    member("isLessThan", &[QUANTITY, QUANTITY], Bool, is_less),
    member("add", &[QUANTITY, QUANTITY], QUANTITY, add),
    member("add", &[QUANTITY, Int], QUANTITY, add),
    member("sub", &[QUANTITY, QUANTITY], QUANTITY, sub),
    member("sub", &[QUANTITY, Int], QUANTITY, sub),
];

/// The two amounts of a call; a number is one too.
fn amounts(given: &[Value<'_>]) -> Result<(Quantity, Quantity), Fault> {
    match given {
        [Value::Quantity(one), Value::Quantity(two)] => Ok((*one, *two)),
        [Value::Quantity(one), Value::Int(two)] => Ok((*one, Quantity::units(*two))),
        _ => Err(Fault::no_overload()),
    }
}

fn amount(given: &[Value<'_>]) -> Result<Quantity, Fault> {
    match given {
        [Value::Quantity(amount)] => Ok(*amount),
        _ => Err(Fault::no_overload()),
    }
}

fn quantity<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    const WRONG: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    let text = given[0].as_str().ok_or_else(Fault::no_overload)?;
    machine.spend_bytes(text.len())?;
    text.parse().map(Value::Quantity).map_err(|_| Fault::error(WRONG))
}

fn is_quantity<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let text = given[0].as_str().ok_or_else(Fault::no_overload)?;
    machine.spend_bytes(text.len())?;
    Ok(Value::Bool(text.parse::<Quantity>().is_ok()))
}

fn sign<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::Int(ordered(amount(given)?.cmp(&Quantity::ZERO))))
}

fn ordered(order: Ordering) -> i64 {
    match order {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }
}

fn is_integer<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::Bool(amount(given)?.whole().is_some()))
}

fn as_integer<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    amount(given)?.whole().map(Value::Int).ok_or_else(|| Fault::error("cannot convert value to integer"))
}

fn as_float<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::Double(amount(given)?.approximate()))
}

fn compare_to<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let (one, two) = amounts(given)?;
    Ok(Value::Int(ordered(one.cmp(&two))))
}

fn is_greater<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let (one, two) = amounts(given)?;
    Ok(Value::Bool(one > two))
}

fn is_less<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let (one, two) = amounts(given)?;
    Ok(Value::Bool(one < two))
}

fn add<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let (one, two) = amounts(given)?;
    Ok(Value::Quantity(one + two))
}

fn sub<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let (one, two) = amounts(given)?;
    Ok(Value::Quantity(one - two))
}
