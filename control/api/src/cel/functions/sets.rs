//! Lists as sets.

use crate::cel::budget::Fault;
use crate::cel::evaluate::Machine;
use crate::cel::signature::Kind::{A, Bool, List};
use crate::cel::signature::{Answer, Overload, function};
use crate::cel::value::Value;

pub(crate) static TABLE: &[Overload] = &[
    function("sets.contains", &[List(&A), List(&A)], Bool, contains),
    function("sets.equivalent", &[List(&A), List(&A)], Bool, equivalent),
    function("sets.intersects", &[List(&A), List(&A)], Bool, intersects),
];

fn holds<'a>(machine: &mut Machine<'_, 'a>, list: &Value<'a>, wanted: &Value<'a>) -> Result<bool, Fault> {
    for element in list.elements().into_iter().flatten() {
        if machine.equal(&element, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn holds_all<'a>(machine: &mut Machine<'_, 'a>, list: &Value<'a>, wanted: &Value<'a>) -> Result<bool, Fault> {
    for element in wanted.elements().into_iter().flatten() {
        if !holds(machine, list, &element)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn contains<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    holds_all(machine, &given[0], &given[1]).map(Value::Bool)
}

fn equivalent<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let one = holds_all(machine, &given[0], &given[1])?;
    Ok(Value::Bool(one && holds_all(machine, &given[1], &given[0])?))
}

fn intersects<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    for element in given[1].elements().into_iter().flatten() {
        if holds(machine, &given[0], &element)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
