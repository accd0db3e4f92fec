//! How long ago, for people: `95s`, `5m3s`, `3d4h`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// A span of time as kubectl prints it; a second of clock skew is forgiven.
pub fn human(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let pair = |whole: i64, unit: char, rest: i64, small: char| match rest {
        0 => format!("{whole}{unit}"),
        rest => format!("{whole}{unit}{rest}{small}"),
    };
    match () {
        () if seconds < -1 => "<invalid>".into(),
        () if seconds < 0 => "0s".into(),
        () if seconds < 2 * 60 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        () if minutes < 3 * 60 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 8 * 24 => pair(days, 'd', hours % 24, 'h'),
        () if days < 2 * 365 => format!("{days}d"),
        () if days < 8 * 365 => pair(days / 365, 'y', days % 365, 'd'),
        () => format!("{}y", days / 365),
    }
}

/// How long ago `then` was.
pub fn age(then: Option<Timestamp>, now: Timestamp) -> String {
    then.map_or_else(|| "<unknown>".into(), |then| human(now.duration_since(then).as_secs()))
}

/// How long ago the object's time was.
pub fn age_of(then: Option<&Time>, now: Timestamp) -> String {
    age(then.map(|then| then.0), now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_kubectl_prints_them() {
        let check = |seconds: i64, text: &str| assert_eq!(human(seconds), text);
        check(95, "95s");
        check(303, "5m3s");
        check(300, "5m");
        check(42 * 60 + 7, "42m");
        check(5 * 3600 + 7 * 60, "5h7m");
        check(30 * 3600, "30h");
        check(3 * 86400 + 4 * 3600, "3d4h");
        check(45 * 86400, "45d");
        check((3 * 365 + 12) * 86400, "3y12d");
        check(9 * 365 * 86400, "9y");
        check(-1, "0s");
        check(-2, "<invalid>");
    }
}
