//! When something recurs: the five fields of cron, or a name such as `@daily`.
//!
//! A schedule is read once, at the door, and what is wrong with it is told in the words of the parser that Kubernetes uses.

mod next;

use std::str::FromStr;

use jiff::SignedDuration;

pub use next::Missed;

/// The times at which something recurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Minutes that a clock shows.
    Calendar(Calendar),
    /// Again and again after so long.
    Every(SignedDuration),
}

/// The minutes at which something recurs: for each field, a bit for every number that it allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// 0 to 59.
    pub minutes: u64,
    /// 0 to 23.
    pub hours: u64,
    /// 1 to 31.
    pub days: u64,
    /// 1 to 12.
    pub months: u64,
    /// 0 (Sunday) to 6.
    pub weekdays: u64,
    /// Whether the day of the month was left open, so that the weekday alone decides.
    pub any_day: bool,
    /// Whether the weekday was left open, so that the day of the month alone decides.
    pub any_weekday: bool,
}

/// Text that is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotASchedule(String);

/// The numbers of a field, and the names that some of them have.
struct Bounds {
    first: u32,
    last: u32,
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { first: 0, last: 59, names: &[] };
const HOURS: Bounds = Bounds { first: 0, last: 23, names: &[] };
const DAYS: Bounds = Bounds { first: 1, last: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    first: 1,
    last: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds = Bounds { first: 0, last: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// Schedules that have a name.
const NAMED: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

// === impl Schedule ===

impl FromStr for Schedule {
    type Err = NotASchedule;

    fn from_str(text: &str) -> Result<Self, NotASchedule> {
        if text.is_empty() {
            return Err(NotASchedule("empty spec string".into()));
        }
        if let Some(span) = text.strip_prefix("@every ") {
            return every(text, span);
        }
        let text = match NAMED.iter().find(|(name, _)| *name == text) {
            Some((_, meaning)) => meaning,
            None if text.starts_with('@') => return Err(NotASchedule(format!("unrecognized descriptor: {text}"))),
            None => text,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            let told = format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" "));
            return Err(NotASchedule(told));
        };
        Ok(Self::Calendar(Calendar {
            minutes: MINUTES.field(minutes)?,
            hours: HOURS.field(hours)?,
            days: DAYS.field(days)?,
            months: MONTHS.field(months)?,
            weekdays: WEEKDAYS.field(weekdays)?,
            any_day: is_open(days),
            any_weekday: is_open(weekdays),
        }))
    }
}

/// Whole seconds, and at least one.
fn every(text: &str, span: &str) -> Result<Schedule, NotASchedule> {
    let told = || NotASchedule(format!("failed to parse duration {text}: time: invalid duration {span:?}"));
    let span = crate::cel::text::duration(span).ok_or_else(told)?;
    Ok(Schedule::Every(SignedDuration::from_secs(span.as_secs().max(1))))
}

/// Whether a field says that it does not matter.
fn is_open(field: &str) -> bool {
    field.split(',').any(|range| matches!(range, "*" | "?" | "*/1" | "?/1"))
}

// === impl Bounds ===

impl Bounds {
    fn field(&self, field: &str) -> Result<u64, NotASchedule> {
        field.split(',').filter(|range| !range.is_empty()).try_fold(0, |bits, range| Ok(bits | self.range(range)?))
    }

    /// One of `*`, `a`, `a-b`, each perhaps with a `/step`; `a/step` goes on to the last.
    fn range(&self, text: &str) -> Result<u64, NotASchedule> {
        let mut parts = text.split('/');
        let (range, step) = (parts.next().unwrap_or_default(), parts.next());
        let mut ends = range.split('-');
        let (low, high) = (ends.next().unwrap_or_default(), ends.next());
        let is_any = matches!(low, "*" | "?");
        let first = if is_any { self.first } else { self.number(low)? };
        let mut last = match high {
            _ if is_any => self.last,
            None => first,
            Some(_) if ends.next().is_some() => return Err(NotASchedule(format!("too many hyphens: {text}"))),
            Some(high) => self.number(high)?,
        };
        let step = match step {
            None => 1,
            Some(_) if parts.next().is_some() => return Err(NotASchedule(format!("too many slashes: {text}"))),
            Some(step) => {
                if high.is_none() {
                    last = self.last;
                }
                number(step)?
            }
        };
        let problem = if first < self.first {
            format!("beginning of range ({first}) below minimum ({}): {text}", self.first)
        } else if last > self.last {
            format!("end of range ({last}) above maximum ({}): {text}", self.last)
        } else if first > last {
            format!("beginning of range ({first}) beyond end of range ({last}): {text}")
        } else if step == 0 {
            format!("step of range should be a positive number: {text}")
        } else {
            return Ok((first..=last).step_by(step as usize).fold(0, |bits, number| bits | 1 << number));
        };
        Err(NotASchedule(problem))
    }

    fn number(&self, text: &str) -> Result<u32, NotASchedule> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        named.map_or_else(|| number(text), |index| Ok(self.first + index as u32))
    }
}

fn number(text: &str) -> Result<u32, NotASchedule> {
    let number: i64 = text.parse().map_err(|_| {
        NotASchedule(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))
    })?;
    u32::try_from(number).map_err(|_| NotASchedule(format!("negative number ({number}) not allowed: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(text: &str) -> Calendar {
        match text.parse() {
            Ok(Schedule::Calendar(calendar)) => calendar,
            other => panic!("{text} is {other:?}"),
        }
    }

    #[test]
    fn fields_allow_numbers() {
        let check = |text: &str, minutes: &[u32]| {
            let schedule = calendar(&format!("{text} * * * *"));
            assert_eq!(schedule.minutes, minutes.iter().fold(0, |bits, minute| bits | 1 << minute), "{text}");
        };
        check("5", &[5]);
        check("1,3-5", &[1, 3, 4, 5]);
        check("*/20", &[0, 20, 40]);
        check("50/4", &[50, 54, 58]);
        check("10-20/5", &[10, 15, 20]);
        let weekly = calendar("0 0 * JAN-mar sun");
        assert_eq!((weekly.months, weekly.weekdays, weekly.any_day, weekly.any_weekday), (0b1110, 1, true, false));
        assert_eq!("@daily".parse::<Schedule>(), "0 0 * * *".parse());
    }

    #[test]
    fn what_is_no_schedule_is_told() {
        let check = |text: &str, expect: &str| {
            assert_eq!(text.parse::<Schedule>().expect_err("refused").to_string(), expect);
        };
        check("", "empty spec string");
        check("* * * *", "expected exactly 5 fields, found 4: [* * * *]");
        check("@every soon", "failed to parse duration @every soon: time: invalid duration \"soon\"");
        check("@often", "unrecognized descriptor: @often");
        check("60 * * * *", "end of range (60) above maximum (59): 60");
        check("* * 0 * *", "beginning of range (0) below minimum (1): 0");
        check("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1");
        check("*/0 * * * *", "step of range should be a positive number: */0");
        check("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax");
        check("1-2-3 * * * *", "too many hyphens: 1-2-3");
        check("1/2/3 * * * *", "too many slashes: 1/2/3");
    }
}
