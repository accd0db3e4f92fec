//! Which server goes next, and whether it can be spared: a function of how all of them were found.

/// A server as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) id: String,
    pub(super) address: String,
    pub(super) is_voter: bool,
    pub(super) leads: bool,
    /// It has just answered what only a quorum can.
    pub(super) is_ready: bool,
}

/// In which order servers go: whoever leads is last, so that the lead is handed over once.
pub(super) fn order(all: &[Seen]) -> Vec<String> {
    let mut all: Vec<&Seen> = all.iter().collect();
    all.sort_by_key(|seen| (seen.leads, &seen.address));
    all.into_iter().map(|seen| seen.id.clone()).collect()
}

/// All that speaks against taking one away for a while.
pub(super) fn objections(all: &[Seen], going: &str) -> Vec<String> {
    let (mut voters, mut left) = (0, 0);
    let mut found = Vec::new();
    for seen in all {
        voters += usize::from(seen.is_voter);
        left += usize::from(seen.is_voter && seen.is_ready && seen.id != going);
        if !seen.is_ready && seen.id != going {
            found.push(format!("server {} is not ready", seen.address));
        }
    }
    if !all.iter().any(|seen| seen.leads) {
        found.push("no server leads".into());
    }
    let needed = voters / 2 + 1;
    if left < needed {
        found.push(format!("{left} of {voters} votes would be left, and a write takes {needed}"));
    }
    found
}

/// Who is to lead instead of one that goes.
pub(super) fn heir<'a>(all: &'a [Seen], going: &str) -> Option<&'a Seen> {
    all.iter().find(|seen| seen.is_voter && seen.is_ready && seen.id != going)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a b! c?` are three voters, of which the second leads and the third is not ready; `d-` has no vote.
    fn seen(words: &str) -> Vec<Seen> {
        let one = |word: &str| Seen {
            id: word[..1].into(),
            address: word[..1].into(),
            is_voter: !word.contains('-'),
            leads: word.contains('!'),
            is_ready: !word.contains('?'),
        };
        words.split_whitespace().map(one).collect()
    }

    #[test]
    fn whoever_leads_goes_last() {
        assert_eq!(order(&seen("b! c a")), ["a", "c", "b"]);
        assert_eq!(heir(&seen("b! c? a d-"), "b").map(|seen| &*seen.id), Some("a"));
        assert_eq!(heir(&seen("b! d-"), "b"), None);
    }

    #[test]
    fn one_is_spared_when_the_others_are_ready_and_enough() {
        let check = |words: &str, going: &str, expected: &[&str]| {
            assert_eq!(objections(&seen(words), going), expected, "{words} without {going}");
        };
        check("a! b c", "b", &[]);
        check("a! b c", "a", &[]);
        check("a! b c?", "c", &[]);
        check("a! b c?", "b", &["server c is not ready", "1 of 3 votes would be left, and a write takes 2"]);
        check("a! b c d-?", "b", &["server d is not ready"]);
        check("a! b c d e?", "b", &["server e is not ready"]);
        check("a b c", "b", &["no server leads"]);
        check("a! b", "b", &["1 of 2 votes would be left, and a write takes 2"]);
        check("a!", "a", &["0 of 1 votes would be left, and a write takes 1"]);
    }
}
