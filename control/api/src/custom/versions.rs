//! Which of several versions clients should prefer.

use std::cmp::Ordering;

/// Stable versions before betas before alphas, newer before older; whatever is not named so comes last, by the alphabet.
pub fn by_preference(one: &str, other: &str) -> Ordering {
    match (rank(one), rank(other)) {
        (Some(one), Some(other)) => other.cmp(&one),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => one.cmp(other),
    }
}

/// Maturity, the version, and the version of the maturity.
fn rank(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (major, rest) = rest.split_at(digits);
    let major = number(major)?;
    match rest {
        "" => Some((2, major, 0)),
        rest => {
            let (maturity, minor) = match rest.strip_prefix("beta") {
                Some(minor) => (1, minor),
                None => (0, rest.strip_prefix("alpha")?),
            };
            Some((maturity, major, number(minor)?))
        }
    }
}

fn number(text: &str) -> Option<u64> {
    if text.starts_with('0') { None } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stable_and_new_comes_first() {
        let mut versions =
            ["foo10", "v1", "v11alpha2", "v10", "v3beta1", "foo1", "v2", "v11beta2", "v12alpha1", "v10beta3"];
        versions.sort_by(|one, other| by_preference(one, other));
        let expect = ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"];
        assert_eq!(versions, expect);
    }
}
