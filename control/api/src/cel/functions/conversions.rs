//! From one type to another.

use std::sync::Arc;

use crate::cel::budget::Fault;
use crate::cel::evaluate::Machine;
use crate::cel::signature::Kind::{A, Bool, Bytes, Double, Duration, Dyn, Int, Opaque, String, Timestamp, Type, Uint};
use crate::cel::signature::{Answer, Overload, function};
use crate::cel::text;
use crate::cel::value::{Text, Value, time, within};

pub(crate) static TABLE: &[Overload] = &[
    function("type", &[A], Type, type_of),
    function("dyn", &[A], Dyn, itself),
    function("bool", &[Bool], Bool, itself),
    function("bool", &[String], Bool, bool_of),
    function("int", &[Int], Int, itself),
    function("int", &[Uint], Int, int),
    function("int", &[Double], Int, int),
    function("int", &[String], Int, int),
    function("int", &[Timestamp], Int, int),
    function("int", &[Duration], Int, int),
    function("uint", &[Uint], Uint, itself),
    function("uint", &[Int], Uint, uint),
    function("uint", &[Double], Uint, uint),
    function("uint", &[String], Uint, uint),
    function("double", &[Double], Double, itself),
    function("double", &[Int], Double, double),
    function("double", &[Uint], Double, double),
    function("double", &[String], Double, double),
    function("string", &[String], String, itself),
    function("string", &[Bool], String, string),
    function("string", &[Int], String, string),
    function("string", &[Uint], String, string),
    function("string", &[Double], String, string),
    function("string", &[Bytes], String, string),
    function("string", &[Timestamp], String, string),
    function("string", &[Duration], String, string),
    function("string", &[Opaque("net.IP")], String, string),
    function("string", &[Opaque("net.CIDR")], String, string),
    function("bytes", &[Bytes], Bytes, itself),
    function("bytes", &[String], Bytes, bytes),
    function("timestamp", &[Timestamp], Timestamp, itself),
    function("timestamp", &[Int], Timestamp, timestamp),
    function("timestamp", &[String], Timestamp, timestamp),
    function("duration", &[Duration], Duration, itself),
    function("duration", &[Int], Duration, duration),
    function("duration", &[String], Duration, duration),
];

fn cannot(given: &Value<'_>, to: &str) -> Fault {
    Fault::error(format!("type conversion error from '{}' to '{to}'", given.type_name()))
}

fn type_of<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::Type(Text::Borrowed(given[0].type_name())))
}

fn itself<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    Ok(given[0].clone())
}

fn bool_of<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    match given[0].as_str() {
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Value::Bool(true)),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Value::Bool(false)),
        _ => Err(cannot(&given[0], "bool")),
    }
}

fn int<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    const BEYOND: f64 = 9_223_372_036_854_775_807.0;
    let overflow = || Fault::error("integer overflow");
    match &given[0] {
        Value::Uint(value) => i64::try_from(*value).map(Value::Int).map_err(|_| overflow()),
        Value::Double(value) if *value > -BEYOND && *value < BEYOND => Ok(Value::Int(*value as i64)),
        Value::Double(_) => Err(overflow()),
        Value::String(text) => text.parse().map(Value::Int).map_err(|_| cannot(&given[0], "int")),
        Value::Timestamp(time) => Ok(Value::Int(time.as_second())),
        Value::Duration(span) => i64::try_from(span.as_nanos()).map(Value::Int).map_err(|_| overflow()),
        _ => Err(Fault::no_overload()),
    }
}

fn uint<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    const BEYOND: f64 = 18_446_744_073_709_551_615.0;
    let overflow = || Fault::error("unsigned integer overflow");
    match &given[0] {
        Value::Int(value) => u64::try_from(*value).map(Value::Uint).map_err(|_| overflow()),
        Value::Double(value) if *value >= 0.0 && *value < BEYOND => Ok(Value::Uint(*value as u64)),
        Value::Double(_) => Err(overflow()),
        Value::String(text) => text.parse().map(Value::Uint).map_err(|_| cannot(&given[0], "uint")),
        _ => Err(Fault::no_overload()),
    }
}

fn double<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    match &given[0] {
        Value::Int(value) => Ok(Value::Double(*value as f64)),
        Value::Uint(value) => Ok(Value::Double(*value as f64)),
        Value::String(text) => text.parse().map(Value::Double).map_err(|_| cannot(&given[0], "double")),
        _ => Err(Fault::no_overload()),
    }
}

fn string<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::text(match &given[0] {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => text::double(*value),
        Value::Bytes(bytes) => {
            machine.spend_bytes(bytes.len())?;
            std::string::String::from_utf8(bytes.to_vec())
                .map_err(|_| Fault::error("invalid UTF-8 in bytes, cannot convert to string"))?
        }
        Value::Timestamp(time) => time.to_string(),
        Value::Duration(span) => text::duration_text(*span),
        Value::Ip(address) => address.to_string(),
        Value::Cidr(range) => range.to_string(),
        _ => return Err(Fault::no_overload()),
    }))
}

fn bytes<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let text = given[0].as_str().ok_or_else(Fault::no_overload)?;
    machine.spend_bytes(text.len())?;
    Ok(Value::Bytes(Arc::from(text.as_bytes())))
}

fn timestamp<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let found = match &given[0] {
        Value::Int(seconds) => jiff::Timestamp::from_second(*seconds).ok().and_then(within),
        Value::String(text) => time(text),
        _ => return Err(Fault::no_overload()),
    };
    found.map(Value::Timestamp).ok_or_else(|| cannot(&given[0], "google.protobuf.Timestamp"))
}

fn duration<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    match &given[0] {
        Value::Int(nanos) => Ok(Value::Duration(jiff::SignedDuration::from_nanos(*nanos))),
        Value::String(said) => {
            text::duration(said).map(Value::Duration).ok_or_else(|| cannot(&given[0], "google.protobuf.Duration"))
        }
        _ => Err(Fault::no_overload()),
    }
}
