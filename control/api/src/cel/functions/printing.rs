//! `'%s is %d'.format([…])`.

use std::fmt::Write as _;

use crate::cel::budget::Fault;
use crate::cel::evaluate::Machine;
use crate::cel::signature::Kind::{Dyn, List, String as Text};
use crate::cel::signature::{Answer, Overload, member};
use crate::cel::text;
use crate::cel::value::Value;

pub(crate) static TABLE: &[Overload] = &[member("format", &[Text, List(&Dyn)], Text, format_text)];

/// More digits than a double has are noise, and what is asked for is made: it needs a limit.
const PRECISION_MAX: usize = 100;
/// Values inside values are printed no deeper than this.
const DEPTH_MAX: usize = 400;

fn format_text<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let pattern = given[0].as_str().ok_or_else(Fault::no_overload)?;
    machine.spend_bytes(pattern.len())?;
    let mut arguments = given[1].elements().into_iter().flatten().enumerate();
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let mut precision = None;
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let wanted: usize = after[..end].parse().map_err(|_| {
                Fault::error("error while parsing precision: error while converting precision to integer")
            })?;
            precision = Some(wanted.min(PRECISION_MAX));
            rest = &after[end..];
        }
        let Some(clause) = rest.chars().next() else {
            return Err(Fault::error("could not parse formatting clause: unexpected end of string"));
        };
        rest = &rest[clause.len_utf8()..];
        let Some((place, value)) = arguments.next() else {
            let known = given[1].size().unwrap_or(0);
            return Err(Fault::error(format!("index {known} out of range")));
        };
        let before = out.len();
        write_clause(machine, clause, precision, &value, &mut out)
            .map_err(|fault| if fault.is_final() { fault } else { told(place, &fault) })?;
        machine.spend_bytes(out.len() - before)?;
    }
    out.push_str(rest);
    Ok(Value::text(out))
}

fn told(_place: usize, fault: &Fault) -> Fault {
    Fault::error(format!("error during formatting: {fault}"))
}

fn write_clause(
    machine: &mut Machine<'_, '_>,
    clause: char,
    precision: Option<usize>,
    value: &Value<'_>,
    out: &mut String,
) -> Result<(), Fault> {
    let digits = precision.unwrap_or(6);
    let _ = match (clause, value) {
        ('s', value) => return write_value(machine, value, out, 0),
        ('d', Value::Int(value)) => write!(out, "{value}"),
        ('d', Value::Uint(value)) => write!(out, "{value}"),
        ('d', Value::Double(value)) if !value.is_finite() => write!(out, "{}", not_finite(*value)),
        ('f' | 'e', Value::Double(value)) if !value.is_finite() => write!(out, "{}", not_finite(*value)),
        ('f', Value::Double(value)) => write!(out, "{value:.digits$}"),
        ('f', Value::Int(value)) => write!(out, "{:.digits$}", *value as f64),
        ('f', Value::Uint(value)) => write!(out, "{:.digits$}", *value as f64),
        ('e', Value::Double(value)) => {
            let text = format!("{value:.digits$e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            write!(out, "{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
        }
        ('b', Value::Bool(value)) => write!(out, "{}", u8::from(*value)),
        ('b' | 'o' | 'x' | 'X', Value::Int(value)) => {
            out.push_str(if *value < 0 { "-" } else { "" });
            return write_radix(clause, value.unsigned_abs(), out);
        }
        ('b' | 'o' | 'x' | 'X', Value::Uint(value)) => return write_radix(clause, *value, out),
        ('x', Value::String(text)) => return write_hex(machine, text.as_bytes(), false, out),
        ('X', Value::String(text)) => return write_hex(machine, text.as_bytes(), true, out),
        ('x', Value::Bytes(bytes)) => return write_hex(machine, bytes, false, out),
        ('X', Value::Bytes(bytes)) => return write_hex(machine, bytes, true, out),
        ('d' | 'f' | 'e' | 'b' | 'o' | 'x' | 'X', value) => {
            let what = match clause {
                'd' => "decimal clause can only be used on integers",
                'f' => "fixed-point clause can only be used on doubles",
                'e' => "scientific clause can only be used on doubles",
                'b' => "only integers and bools can be formatted as binary",
                'o' => "octal clause can only be used on integers",
                _ => "only integers, byte buffers, and strings can be formatted as hex",
            };
            return Err(Fault::error(format!("{what}, was given {}", value.type_name())));
        }
        (clause, _) => {
            return Err(Fault::error(format!(
                "could not parse formatting clause: unrecognized formatting clause {clause:?}"
            )));
        }
    };
    Ok(())
}

fn not_finite(value: f64) -> &'static str {
    match value {
        value if value.is_nan() => "NaN",
        value if value > 0.0 => "Infinity",
        _ => "-Infinity",
    }
}

fn write_radix(clause: char, value: u64, out: &mut String) -> Result<(), Fault> {
    let _ = match clause {
        'b' => write!(out, "{value:b}"),
        'o' => write!(out, "{value:o}"),
        'x' => write!(out, "{value:x}"),
        _ => write!(out, "{value:X}"),
    };
    Ok(())
}

fn write_hex(machine: &mut Machine<'_, '_>, bytes: &[u8], is_upper: bool, out: &mut String) -> Result<(), Fault> {
    machine.spend_bytes(bytes.len())?;
    for byte in bytes {
        let _ = if is_upper { write!(out, "{byte:02X}") } else { write!(out, "{byte:02x}") };
    }
    Ok(())
}

fn write_value(machine: &mut Machine<'_, '_>, value: &Value<'_>, out: &mut String, depth: usize) -> Result<(), Fault> {
    machine.spend(1)?;
    if depth > DEPTH_MAX {
        return Err(Fault::error("values are nested too deeply to be printed"));
    }
    if let Some(elements) = value.elements() {
        out.push('[');
        for (place, element) in elements.enumerate() {
            out.push_str(if place > 0 { ", " } else { "" });
            write_value(machine, &element, out, depth + 1)?;
        }
        out.push(']');
        return Ok(());
    }
    if let Some(keys) = value.keys() {
        out.push('{');
        for (place, key) in keys.into_iter().enumerate() {
            out.push_str(if place > 0 { ", " } else { "" });
            write_value(machine, &key, out, depth + 1)?;
            out.push_str(": ");
            write_value(machine, &value.entry(&key).unwrap_or(Value::Null), out, depth + 1)?;
        }
        out.push('}');
        return Ok(());
    }
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => drop(write!(out, "{value}")),
        Value::Uint(value) => drop(write!(out, "{value}")),
        Value::Double(value) if !value.is_finite() => out.push_str(not_finite(*value)),
        Value::Double(value) => out.push_str(&text::double(*value)),
        Value::String(said) | Value::Type(said) => {
            machine.spend_bytes(said.len())?;
            out.push_str(said);
        }
        Value::Bytes(bytes) => {
            machine.spend_bytes(bytes.len())?;
            out.push_str(&String::from_utf8_lossy(bytes));
        }
        Value::Timestamp(time) => drop(write!(out, "{time}")),
        Value::Duration(span) => out.push_str(&text::duration_text(*span)),
        other => {
            return Err(Fault::error(format!(
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given {}",
                other.type_name()
            )));
        }
    }
    Ok(())
}
