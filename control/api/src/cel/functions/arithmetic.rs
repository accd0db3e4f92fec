//! The operators.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::SignedDuration;

use crate::cel::budget::Fault;
use crate::cel::evaluate::Machine;
use crate::cel::signature::Kind::{A, B, Bool, Bytes, Double, Duration, Dyn, Int, List, Map, String, Timestamp, Uint};
use crate::cel::signature::{Answer, Overload, function};
use crate::cel::value::{Key, Value, within};

pub(crate) static TABLE: &[Overload] = &[
    function("_==_", &[A, A], Bool, equal),
    function("_!=_", &[A, A], Bool, different),
    function("_<_", &[Bool, Bool], Bool, less),
    function("_<_", &[Int, Int], Bool, less),
    function("_<_", &[Int, Uint], Bool, less),
    function("_<_", &[Int, Double], Bool, less),
    function("_<_", &[Uint, Int], Bool, less),
    function("_<_", &[Uint, Uint], Bool, less),
    function("_<_", &[Uint, Double], Bool, less),
    function("_<_", &[Double, Int], Bool, less),
    function("_<_", &[Double, Uint], Bool, less),
    function("_<_", &[Double, Double], Bool, less),
    function("_<_", &[String, String], Bool, less),
    function("_<_", &[Bytes, Bytes], Bool, less),
    function("_<_", &[Timestamp, Timestamp], Bool, less),
    function("_<_", &[Duration, Duration], Bool, less),
    function("_<=_", &[Bool, Bool], Bool, at_most),
    function("_<=_", &[Int, Int], Bool, at_most),
    function("_<=_", &[Int, Uint], Bool, at_most),
    function("_<=_", &[Int, Double], Bool, at_most),
    function("_<=_", &[Uint, Int], Bool, at_most),
    function("_<=_", &[Uint, Uint], Bool, at_most),
    function("_<=_", &[Uint, Double], Bool, at_most),
    function("_<=_", &[Double, Int], Bool, at_most),
    function("_<=_", &[Double, Uint], Bool, at_most),
    function("_<=_", &[Double, Double], Bool, at_most),
    function("_<=_", &[String, String], Bool, at_most),
    function("_<=_", &[Bytes, Bytes], Bool, at_most),
    function("_<=_", &[Timestamp, Timestamp], Bool, at_most),
    function("_<=_", &[Duration, Duration], Bool, at_most),
    function("_>_", &[Bool, Bool], Bool, greater),
    function("_>_", &[Int, Int], Bool, greater),
    function("_>_", &[Int, Uint], Bool, greater),
    function("_>_", &[Int, Double], Bool, greater),
    function("_>_", &[Uint, Int], Bool, greater),
    function("_>_", &[Uint, Uint], Bool, greater),
    function("_>_", &[Uint, Double], Bool, greater),
    function("_>_", &[Double, Int], Bool, greater),
    function("_>_", &[Double, Uint], Bool, greater),
    function("_>_", &[Double, Double], Bool, greater),
    function("_>_", &[String, String], Bool, greater),
    function("_>_", &[Bytes, Bytes], Bool, greater),
    function("_>_", &[Timestamp, Timestamp], Bool, greater),
    function("_>_", &[Duration, Duration], Bool, greater),
    function("_>=_", &[Bool, Bool], Bool, at_least),
    function("_>=_", &[Int, Int], Bool, at_least),
    function("_>=_", &[Int, Uint], Bool, at_least),
    function("_>=_", &[Int, Double], Bool, at_least),
    function("_>=_", &[Uint, Int], Bool, at_least),
    function("_>=_", &[Uint, Uint], Bool, at_least),
    function("_>=_", &[Uint, Double], Bool, at_least),
    function("_>=_", &[Double, Int], Bool, at_least),
    function("_>=_", &[Double, Uint], Bool, at_least),
    function("_>=_", &[Double, Double], Bool, at_least),
    function("_>=_", &[String, String], Bool, at_least),
    function("_>=_", &[Bytes, Bytes], Bool, at_least),
    function("_>=_", &[Timestamp, Timestamp], Bool, at_least),
    function("_>=_", &[Duration, Duration], Bool, at_least),
    function("@in", &[A, List(&A)], Bool, within_list),
    function("@in", &[A, Map(&A, &B)], Bool, within_map),
    function("!_", &[Bool], Bool, not),
    function("-_", &[Int], Int, negative),
    function("-_", &[Double], Double, negative),
    function("_+_", &[Int, Int], Int, sum),
    function("_+_", &[Uint, Uint], Uint, sum),
    function("_+_", &[Double, Double], Double, sum),
    function("_+_", &[String, String], String, joined),
    function("_+_", &[Bytes, Bytes], Bytes, joined_bytes),
    function("_+_", &[List(&A), List(&A)], List(&A), joined_lists),
    function("_+_", &[Timestamp, Duration], Timestamp, later),
    function("_+_", &[Duration, Timestamp], Timestamp, later),
    function("_+_", &[Duration, Duration], Duration, sum),
    function("_-_", &[Int, Int], Int, difference),
    function("_-_", &[Uint, Uint], Uint, difference),
    function("_-_", &[Double, Double], Double, difference),
    function("_-_", &[Timestamp, Timestamp], Duration, between),
    function("_-_", &[Timestamp, Duration], Timestamp, earlier),
    function("_-_", &[Duration, Duration], Duration, difference),
    function("_*_", &[Int, Int], Int, product),
    function("_*_", &[Uint, Uint], Uint, product),
    function("_*_", &[Double, Double], Double, product),
    function("_/_", &[Int, Int], Int, quotient),
    function("_/_", &[Uint, Uint], Uint, quotient),
    function("_/_", &[Double, Double], Double, quotient),
    function("_%_", &[Int, Int], Int, remainder),
    function("_%_", &[Uint, Uint], Uint, remainder),
    function("size", &[Dyn], Int, size),
    crate::cel::signature::member("size", &[Dyn], Int, size),
];

const INT: &str = "integer overflow";
const UINT: &str = "unsigned integer overflow";
const DURATION: &str = "duration overflow";
const TIMESTAMP: &str = "timestamp overflow";

fn whole<'a>(value: Option<i64>) -> Answer<'a> {
    value.map(Value::Int).ok_or_else(|| Fault::error(INT))
}

fn natural<'a>(value: Option<u64>) -> Answer<'a> {
    value.map(Value::Uint).ok_or_else(|| Fault::error(UINT))
}

/// The language's durations fit 64 bits of nanoseconds, as Go's do.
fn span<'a>(value: Option<SignedDuration>) -> Answer<'a> {
    value
        .filter(|span| i64::try_from(span.as_nanos()).is_ok())
        .map(Value::Duration)
        .ok_or_else(|| Fault::error(DURATION))
}

fn equal<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    machine.equal(&given[0], &given[1]).map(Value::Bool)
}

fn different<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    machine.equal(&given[0], &given[1]).map(|same| Value::Bool(!same))
}

fn ordered<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>], fits: fn(Ordering) -> bool) -> Answer<'a> {
    if let (Some(one), Some(two)) = (given[0].as_str(), given[1].as_str()) {
        machine.spend_bytes(one.len().min(two.len()))?;
    }
    // What is not a number stands in no order to any number.
    Ok(Value::Bool(given[0].compared(&given[1]).is_some_and(fits)))
}

fn less<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    ordered(machine, given, Ordering::is_lt)
}

fn at_most<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    ordered(machine, given, Ordering::is_le)
}

fn greater<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    ordered(machine, given, Ordering::is_gt)
}

fn at_least<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    ordered(machine, given, Ordering::is_ge)
}

fn within_list<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    for element in given[1].elements().into_iter().flatten() {
        if machine.equal(&given[0], &element)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn within_map<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    machine.spend_key(&given[0])?;
    Ok(Value::Bool(Key::of(&given[0]).is_some() && given[1].entry(&given[0]).is_some()))
}

fn not<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    match given {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => Err(Fault::no_overload()),
    }
}

fn negative<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    match given {
        [Value::Int(value)] => whole(value.checked_neg()),
        [Value::Double(value)] => Ok(Value::Double(-value)),
        _ => Err(Fault::no_overload()),
    }
}

fn sum<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    plus(&given[0], &given[1])
}

/// The sum of two amounts of one type.
pub(super) fn plus<'a>(one: &Value<'a>, two: &Value<'a>) -> Answer<'a> {
    match (one, two) {
        (Value::Int(one), Value::Int(two)) => whole(one.checked_add(*two)),
        (Value::Uint(one), Value::Uint(two)) => natural(one.checked_add(*two)),
        (Value::Double(one), Value::Double(two)) => Ok(Value::Double(one + two)),
        (Value::Duration(one), Value::Duration(two)) => span(one.checked_add(*two)),
        _ => Err(Fault::no_overload()),
    }
}

fn difference<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    match given {
        [Value::Int(one), Value::Int(two)] => whole(one.checked_sub(*two)),
        [Value::Uint(one), Value::Uint(two)] => natural(one.checked_sub(*two)),
        [Value::Double(one), Value::Double(two)] => Ok(Value::Double(one - two)),
        [Value::Duration(one), Value::Duration(two)] => span(one.checked_sub(*two)),
        _ => Err(Fault::no_overload()),
    }
}

fn product<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    match given {
        [Value::Int(one), Value::Int(two)] => whole(one.checked_mul(*two)),
        [Value::Uint(one), Value::Uint(two)] => natural(one.checked_mul(*two)),
        [Value::Double(one), Value::Double(two)] => Ok(Value::Double(one * two)),
        _ => Err(Fault::no_overload()),
    }
}

fn quotient<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    match given {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => Err(Fault::error("division by zero")),
        [Value::Int(one), Value::Int(two)] => whole(one.checked_div(*two)),
        [Value::Uint(one), Value::Uint(two)] => natural(one.checked_div(*two)),
        [Value::Double(one), Value::Double(two)] => Ok(Value::Double(one / two)),
        _ => Err(Fault::no_overload()),
    }
}

fn remainder<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    match given {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => Err(Fault::error("modulus by zero")),
        [Value::Int(one), Value::Int(two)] => whole(one.checked_rem(*two)),
        [Value::Uint(one), Value::Uint(two)] => natural(one.checked_rem(*two)),
        _ => Err(Fault::no_overload()),
    }
}

fn joined<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    match (given[0].as_str(), given[1].as_str()) {
        (Some(one), Some(two)) => {
            machine.spend_bytes(one.len() + two.len())?;
            Ok(Value::text([one, two].concat()))
        }
        _ => Err(Fault::no_overload()),
    }
}

fn joined_bytes<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    match given {
        [Value::Bytes(one), Value::Bytes(two)] => {
            machine.spend_bytes(one.len() + two.len())?;
            Ok(Value::Bytes(Arc::from([&one[..], &two[..]].concat())))
        }
        _ => Err(Fault::no_overload()),
    }
}

fn joined_lists<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    // Unlike Kubernetes', these lists are copied, and what is copied is charged.
    machine.spend(given.iter().filter_map(Value::size).sum::<usize>() as u64)?;
    Ok(Value::list(given.iter().filter_map(Value::elements).flatten().collect()))
}

fn moved<'a>(given: &[Value<'a>], is_later: bool) -> Answer<'a> {
    let (time, span) = match given {
        [Value::Timestamp(time), Value::Duration(span)] | [Value::Duration(span), Value::Timestamp(time)] => {
            (*time, *span)
        }
        _ => return Err(Fault::no_overload()),
    };
    let moved = if is_later { time.checked_add(span) } else { time.checked_sub(span) };
    moved.ok().and_then(within).map(Value::Timestamp).ok_or_else(|| Fault::error(TIMESTAMP))
}

fn later<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    moved(given, true)
}

fn earlier<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    moved(given, false)
}

fn between<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    match given {
        [Value::Timestamp(one), Value::Timestamp(two)] => span(Some(one.duration_since(*two))),
        _ => Err(Fault::no_overload()),
    }
}

fn size<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    if let Some(text) = given[0].as_str() {
        machine.spend_bytes(text.len())?;
    }
    given[0].size().map(|size| Value::Int(size as i64)).ok_or_else(Fault::no_overload)
}
