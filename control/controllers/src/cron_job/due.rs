//! Whether it is time.

use api::schedule::Schedule;
use api::time_zone;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{Cron, News};

/// So many missed times are told of: then nobody has looked for long, or the clock is wrong.
const MISSED_MAX: usize = 100;

/// A time to start at, and when to look again.
#[derive(Default)]
pub(super) struct Due {
    /// The latest time that has come and was not seen to.
    pub(super) scheduled: Option<Timestamp>,
    /// The time zone that it was read in.
    pub(super) zone: Option<TimeZone>,
    pub(super) next: Option<Timestamp>,
    pub(super) news: Vec<News>,
}

// === impl Due ===

impl Due {
    pub(super) fn never() -> Self {
        Self::default()
    }

    fn told(news: Option<News>) -> Self {
        Self { news: news.into_iter().collect(), ..Self::default() }
    }
}

/// What is due.
pub(super) fn of(cron: &Cron<'_>) -> Due {
    let ever = Timestamp::UNIX_EPOCH;
    let name = cron.spec.time_zone.as_deref().unwrap_or("UTC");
    let Some(zone) = time_zone::named(name) else {
        let message = format!("invalid timeZone: {name}: unknown time zone {name}");
        return Due::told(cron.unless_told(News::warning("UnknownTimeZone", message), ever));
    };
    if cron.spec.suspend == Some(true) {
        return Due::never();
    }
    let schedule = match cron.spec.schedule.parse::<Schedule>() {
        Ok(schedule) => schedule,
        Err(why) => {
            let message = format!("unparseable schedule: {:?} : {why}", cron.spec.schedule);
            return Due::told(cron.unless_told(News::warning("UnparseableSchedule", message), ever));
        }
    };
    let now = cron.look.now;
    let mut due = Due { next: schedule.next(now, &zone), ..Due::default() };
    let Some(missed) = schedule.missed(since(cron), now, &zone, MISSED_MAX + 1) else { return due };
    if missed.count > MISSED_MAX {
        let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        due.news.extend(cron.unless_told(News::warning("TooManyMissedTimes", message), missed.last));
    }
    due.scheduled = Some(missed.last);
    due.zone = Some(zone);
    due
}

/// From when on times count that have come: the last one that was seen to, or the beginning; nothing before what is too late.
fn since(cron: &Cron<'_>) -> Timestamp {
    let last = cron.status.last_schedule_time.as_ref().map(|time| time.0);
    let begin = last.or(cron.object.meta().creation_timestamp).unwrap_or(cron.look.now);
    deadline(cron).map_or(begin, |deadline| deadline.max(begin))
}

/// What came before it is too late to start.
fn deadline(cron: &Cron<'_>) -> Option<Timestamp> {
    let seconds = cron.spec.starting_deadline_seconds?;
    Some(cron.look.now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN))
}
