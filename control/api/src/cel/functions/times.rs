//! Parts of times and of amounts of time. Times are told in UTC unless a zone is named.

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp as Time, Zoned};

use crate::cel::budget::Fault;
use crate::cel::evaluate::Machine;
use crate::cel::signature::Kind::{Duration, Int, String, Timestamp};
use crate::cel::signature::{Answer, Overload, member};
use crate::cel::value::Value;

pub(crate) static TABLE: &[Overload] = &[
    member("getFullYear", &[Timestamp], Int, year),
    member("getFullYear", &[Timestamp, String], Int, year),
    member("getMonth", &[Timestamp], Int, month),
    member("getMonth", &[Timestamp, String], Int, month),
    member("getDate", &[Timestamp], Int, date),
    member("getDate", &[Timestamp, String], Int, date),
    member("getDayOfMonth", &[Timestamp], Int, day_of_month),
    member("getDayOfMonth", &[Timestamp, String], Int, day_of_month),
    member("getDayOfWeek", &[Timestamp], Int, day_of_week),
    member("getDayOfWeek", &[Timestamp, String], Int, day_of_week),
    member("getDayOfYear", &[Timestamp], Int, day_of_year),
    member("getDayOfYear", &[Timestamp, String], Int, day_of_year),
    member("getHours", &[Timestamp], Int, hours),
    member("getHours", &[Timestamp, String], Int, hours),
    member("getHours", &[Duration], Int, hours),
    member("getMinutes", &[Timestamp], Int, minutes),
    member("getMinutes", &[Timestamp, String], Int, minutes),
    member("getMinutes", &[Duration], Int, minutes),
    member("getSeconds", &[Timestamp], Int, seconds),
    member("getSeconds", &[Timestamp, String], Int, seconds),
    member("getSeconds", &[Duration], Int, seconds),
    member("getMilliseconds", &[Timestamp], Int, milliseconds),
    member("getMilliseconds", &[Timestamp, String], Int, milliseconds),
    member("getMilliseconds", &[Duration], Int, milliseconds),
];

/// A zone is looked up in the machine's own database.
const ZONE_COST: u64 = 100;

/// Part of a time, or of an amount of time.
fn part<'a>(
    machine: &mut Machine<'_, 'a>,
    given: &[Value<'a>],
    of_time: fn(&Zoned) -> i64,
    of_span: fn(SignedDuration) -> i64,
) -> Answer<'a> {
    match given {
        [Value::Timestamp(time)] => Ok(Value::Int(of_time(&time.to_zoned(TimeZone::UTC)))),
        [Value::Timestamp(time), Value::String(zone)] => {
            machine.spend(ZONE_COST)?;
            Ok(Value::Int(of_time(&in_zone(*time, zone)?)))
        }
        [Value::Duration(span)] => Ok(Value::Int(of_span(*span))),
        _ => Err(Fault::no_overload()),
    }
}

/// The time where a zone of this name, or of this offset, is.
fn in_zone(time: Time, zone: &str) -> Result<Zoned, Fault> {
    let unknown = || Fault::error(format!("unknown time zone {zone}"));
    let zone = match zone.split_once(':') {
        None => TimeZone::get(zone).map_err(|_| unknown())?,
        Some((hours, minutes)) => {
            let sign = if hours.starts_with('-') { -1 } else { 1 };
            let hours: i32 = hours.trim_start_matches(['-', '+']).parse().map_err(|_| unknown())?;
            let minutes: i32 = minutes.parse().map_err(|_| unknown())?;
            if !(0..24).contains(&hours) || !(0..60).contains(&minutes) {
                return Err(unknown());
            }
            let offset = Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).map_err(|_| unknown())?;
            TimeZone::fixed(offset)
        }
    };
    Ok(time.to_zoned(zone))
}

fn year<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    part(machine, given, |time| i64::from(time.year()), |_| 0)
}

fn month<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    part(machine, given, |time| i64::from(time.month()) - 1, |_| 0)
}

fn date<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    part(machine, given, |time| i64::from(time.day()), |_| 0)
}

fn day_of_month<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    part(machine, given, |time| i64::from(time.day()) - 1, |_| 0)
}

fn day_of_week<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    part(machine, given, |time| i64::from(time.weekday().to_sunday_zero_offset()), |_| 0)
}

fn day_of_year<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    part(machine, given, |time| i64::from(time.day_of_year()) - 1, |_| 0)
}

fn hours<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    part(machine, given, |time| i64::from(time.hour()), |span| span.as_secs() / 3600)
}

fn minutes<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    part(machine, given, |time| i64::from(time.minute()), |span| span.as_secs() / 60)
}

fn seconds<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    part(machine, given, |time| i64::from(time.second()), |span| span.as_secs())
}

fn milliseconds<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    part(
        machine,
        given,
        |time| i64::from(time.millisecond()),
        |span| i64::try_from(span.as_millis()).unwrap_or(i64::MAX),
    )
}
