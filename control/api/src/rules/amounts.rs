//! What may be a number of pods: a count, or a percentage of all.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Causes;

const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

/// A count or a percentage; what it says, where it says something.
pub fn amount(path: &str, amount: Option<&IntOrString>, causes: &mut Causes) -> Option<i32> {
    match amount? {
        IntOrString::Int(count) => {
            causes.not_negative(path, *count);
            Some(*count)
        }
        IntOrString::String(text) => {
            let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
            let percent = digits.and_then(|digits| digits.parse().ok());
            if percent.is_none() {
                causes.invalid(path, text, PERCENT);
            }
            percent
        }
    }
}

/// The same, of no more than there are.
pub fn share(path: &str, share: Option<&IntOrString>, causes: &mut Causes) -> Option<i32> {
    let found = amount(path, share, causes);
    if let (Some(IntOrString::String(text)), Some(percent)) = (share, found)
        && percent > 100
    {
        causes.invalid(path, text, "must not be greater than 100%");
    }
    found
}
