//! When a schedule comes next.
//!
//! It is read on the clock of a time zone, as Kubernetes reads it: a time that the clock skips when it goes forward does not
//! come, and one that it shows twice when it goes back comes twice.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{Calendar, Schedule};

/// A schedule that does not come within so long never comes, such as one for the 30th of February.
const YEARS_MAX: i64 = 5;
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

// === impl Schedule ===

impl Schedule {
    /// The first time after `after`, if there ever is one.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Calendar(calendar) => calendar.next(after, zone),
            Self::Every(span) => Timestamp::from_second(after.as_second()).ok()?.checked_add(*span).ok(),
        }
    }

    /// The last time after `after` that is not after `now`, and how many there were, as far as `count_max`.
    pub fn missed(&self, after: Timestamp, now: Timestamp, zone: &TimeZone, count_max: usize) -> Option<Missed> {
        let due = |at: &Timestamp| *at <= now;
        let first = self.next(after, zone).filter(due)?;
        let following = std::iter::successors(Some(first), |at| self.next(*at, zone).filter(due));
        let known: Vec<Timestamp> = following.take(count_max).collect();
        let last = if known.len() < count_max { known.last().copied() } else { self.last(after, now, zone) };
        Some(Missed { last: last.unwrap_or(first), count: known.len() })
    }

    /// The last time after `after` that is not after `now`, found by looking back from `now` further and further.
    fn last(&self, after: Timestamp, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if let Self::Every(span) = self {
            // Counted from where it began, however long ago that was.
            let first = self.next(after, zone)?;
            let spans = now.duration_since(first).as_secs() / span.as_secs().max(1);
            return first.checked_add(SignedDuration::from_secs(spans * span.as_secs())).ok();
        }
        let mut back = MINUTE * 2;
        loop {
            let start = now.checked_sub(back).ok().filter(|start| *start > after).unwrap_or(after);
            let due = |at: &Timestamp| *at <= now;
            if let Some(found) = self.next(start, zone).filter(due) {
                return std::iter::successors(Some(found), |at| self.next(*at, zone).filter(due)).last();
            }
            if start == after {
                return None;
            }
            back = back.saturating_add(back);
        }
    }
}

/// Times that have come and were not seen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The latest of them.
    pub last: Timestamp,
    /// How many there are, or as many as were counted.
    pub count: usize,
}

// === impl Calendar ===

impl Calendar {
    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let end = after.checked_add(SignedDuration::from_hours(YEARS_MAX * 366 * 24)).ok()?;
        let mut at = Timestamp::from_second((after.as_second().div_euclid(60) + 1) * 60).ok()?;
        while at <= end {
            let civil = at.to_zoned(zone.clone()).datetime();
            let date = civil.date();
            if !has(self.months, civil.month()) {
                at = midnight(date.last_of_month().tomorrow().ok()?, zone)?;
            } else if !self.is_day(date) {
                at = midnight(date.tomorrow().ok()?, zone)?;
            } else if !has(self.hours, civil.hour()) {
                at = at.checked_add(MINUTE * i32::from(60 - civil.minute())).ok()?;
            } else if !has(self.minutes, civil.minute()) {
                at = at.checked_add(MINUTE).ok()?;
            } else {
                return Some(at);
            }
        }
        None
    }

    /// Whether it comes on this day: where neither the day of the month nor the weekday is left open, either will do.
    fn is_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        if self.any_day || self.any_weekday { day && weekday } else { day || weekday }
    }
}

fn has(bits: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|number| bits & (1 << number) != 0)
}

/// The first moment of a day.
fn midnight(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    Some(zone.to_ambiguous_zoned(date.to_datetime(jiff::civil::Time::midnight())).compatible().ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time_zone;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn schedule(text: &str) -> Schedule {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The times that follow, in UTC.
    fn check(text: &str, zone: &str, after: &str, expected: &[&str]) {
        let (schedule, zone) = (schedule(text), time_zone::named(zone).expect("a time zone"));
        let times = std::iter::successors(schedule.next(at(after), &zone), |at| schedule.next(*at, &zone));
        let times: Vec<String> = times.take(expected.len()).map(|time| time.to_string()).collect();
        assert_eq!(times, expected, "{text} in {zone:?} after {after}");
    }

    #[test]
    fn it_comes_at_its_minutes() {
        check("*/5 * * * *", "UTC", "2026-11-21T12:00:00Z", &["2026-11-21T12:05:00Z", "2026-11-21T12:10:00Z"]);
        check("0 0 29 2 *", "UTC", "2026-11-21T12:00:00Z", &["2028-02-29T00:00:00Z"]);
        check("0 12 13 * fri", "UTC", "2026-11-11T00:00:00Z", &["2026-11-13T12:00:00Z", "2026-11-20T12:00:00Z"]);
        check(
            "0 12 */2 * fri",
            "UTC",
            "2026-11-11T00:00:00Z",
            &["2026-11-11T12:00:00Z", "2026-11-13T12:00:00Z", "2026-11-15T12:00:00Z"],
        );
        check("0 12 * * fri", "UTC", "2026-11-11T00:00:00Z", &["2026-11-13T12:00:00Z", "2026-11-20T12:00:00Z"]);
        check("@every 90m", "UTC", "2026-11-21T12:00:01.5Z", &["2026-11-21T13:30:01Z", "2026-11-21T15:00:01Z"]);
        check("0 9 * * *", "Asia/Kolkata", "2026-11-21T12:00:00Z", &["2026-11-22T03:30:00Z"]);
        assert_eq!(schedule("0 0 30 2 *").next(at("2026-01-01T00:00:00Z"), &TimeZone::UTC), None);
    }

    #[test]
    fn a_clock_that_is_changed_skips_and_repeats() {
        // In Berlin 02:30 did not come on 29 March 2026, and came twice on 25 October.
        check("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", &["2026-03-30T00:30:00Z"]);
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"],
        );
        check("0 3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", &["2026-03-29T01:00:00Z"]);
        // Lord Howe's clock is changed by half an hour; in Beirut the hour that is skipped is the first of the day.
        check(
            "15 * * * *",
            "Australia/Lord_Howe",
            "2026-04-04T13:50:00Z",
            &["2026-04-04T14:15:00Z", "2026-04-04T15:45:00Z"],
        );
        check("@daily", "Asia/Beirut", "2026-03-28T12:00:00Z", &["2026-03-29T21:00:00Z"]);
    }

    #[test]
    fn what_was_missed_is_counted_and_the_last_of_it_found() {
        let check = |text: &str, after: &str, now: &str, expected: Option<(&str, usize)>| {
            let missed = schedule(text).missed(at(after), at(now), &TimeZone::UTC, 101);
            assert_eq!(missed, expected.map(|(last, count)| Missed { last: at(last), count }), "{text}");
        };
        check("@hourly", "2026-11-21T12:00:00Z", "2026-11-21T12:59:59Z", None);
        check("@hourly", "2026-11-21T12:00:00Z", "2026-11-21T13:00:00Z", Some(("2026-11-21T13:00:00Z", 1)));
        check("@hourly", "2026-11-21T12:00:00Z", "2026-11-21T15:30:00Z", Some(("2026-11-21T15:00:00Z", 3)));
        check("* * * * *", "2025-11-21T12:00:00Z", "2026-11-21T15:30:07Z", Some(("2026-11-21T15:30:00Z", 101)));
        check("* 3 * * *", "2025-11-21T12:00:00Z", "2026-11-21T15:30:07Z", Some(("2026-11-21T03:59:00Z", 101)));
        check("@every 7s", "2026-11-21T12:00:00Z", "2026-11-21T13:00:00Z", Some(("2026-11-21T12:59:58Z", 101)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        /// The next time is the first minute that matches, as walking every minute finds it.
        #[test]
        fn no_time_is_passed_over(
            minute in prop_oneof![Just("*".to_owned()), Just("*/7".to_owned()), (0_u8..60).prop_map(|it| it.to_string())],
            hour in prop_oneof![Just("*".to_owned()), Just("0-3".to_owned()), (0_u8..24).prop_map(|it| it.to_string())],
            day in prop_oneof![Just("*".to_owned()), (1_u8..32).prop_map(|it| it.to_string())],
            weekday in prop_oneof![Just("*".to_owned()), (0_u8..7).prop_map(|it| it.to_string())],
            zone in prop_oneof![Just("UTC"), Just("Europe/Berlin"), Just("America/New_York"), Just("Australia/Lord_Howe"), Just("Asia/Beirut")],
            start in 1_774_000_000_i64..1_777_000_000,
        ) {
            let text = format!("{minute} {hour} {day} * {weekday}");
            let Ok(Schedule::Calendar(calendar)) = text.parse::<Schedule>() else { panic!("{text} is a schedule") };
            let zone = time_zone::named(zone).expect("a time zone");
            let after = Timestamp::from_second(start).expect("a time");
            let matches = |at: &Timestamp| {
                let civil = at.to_zoned(zone.clone()).datetime();
                calendar.is_day(civil.date()) && has(calendar.hours, civil.hour()) && has(calendar.minutes, civil.minute())
            };
            let first = (start.div_euclid(60) + 1) * 60;
            let walked = (0..10 * 24 * 60).map(|n| Timestamp::from_second(first + n * 60).expect("a time")).find(matches);
            let found = calendar.next(after, &zone);
            prop_assert!(found.is_none_or(|found| found > after && matches(&found)));
            if let Some(walked) = walked {
                prop_assert_eq!(found, Some(walked));
            }
        }
    }
}
