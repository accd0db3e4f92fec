//! Numbers that may be said as a percentage.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A number, or a percentage of `whole` rounded up; never negative.
pub(crate) fn up(value: &IntOrString, whole: i32) -> i32 {
    share(value, whole, |hundredths| hundredths.saturating_add(99) / 100)
}

/// A number, or a percentage of `whole` rounded down; never negative.
pub(crate) fn down(value: &IntOrString, whole: i32) -> i32 {
    share(value, whole, |hundredths| hundredths / 100)
}

fn share(value: &IntOrString, whole: i32, round: impl Fn(i64) -> i64) -> i32 {
    match value {
        IntOrString::Int(number) => (*number).max(0),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%').and_then(|percent| percent.parse().ok()).unwrap_or(0);
            i32::try_from(round(percent.max(0).saturating_mul(whole.into()))).unwrap_or(i32::MAX)
        }
    }
}
