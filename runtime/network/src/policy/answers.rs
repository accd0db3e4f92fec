//! Which addresses a pod was given for which names.
//!
//! A rule about a name holds for the addresses that this pod got as the answer to this name. They are remembered for a while,
//! as programs do; the rule itself is asked anew each time, so that what a policy no longer says no longer holds.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::outbound::plain;

/// How long a program may go on with an answer: longer than usual lifetimes of records, which programs ignore.
const KEPT: Duration = Duration::from_hours(1);
/// Answers kept for one pod; the oldest go first.
const PER_POD_MAX: usize = 512;

/// The answers of this node's pods. Only pods with rules about names have any. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    by_pod: Arc<Mutex<HashMap<Pod, VecDeque<Answer>>>>,
}

/// Namespace and name.
type Pod = (String, String);

#[derive(Debug)]
struct Answer {
    name: Arc<str>,
    address: IpAddr,
    until: Instant,
}

// === impl Answers ===

impl Answers {
    /// Notes what a pod was told.
    pub(super) fn note(&self, namespace: &str, pod: &str, name: &str, addresses: &[IpAddr], now: Instant) {
        let name: Arc<str> = name.into();
        let mut by_pod = self.by_pod.lock().unwrap_or_else(PoisonError::into_inner);
        by_pod.retain(|_, answers| {
            answers.retain(|answer| answer.until > now);
            !answers.is_empty()
        });
        let answers = by_pod.entry((namespace.into(), pod.into())).or_default();
        for address in addresses.iter().map(|address| plain(*address)) {
            answers.retain(|known| known.address != address || known.name != name);
            answers.push_back(Answer { name: name.clone(), address, until: now + KEPT });
        }
        let surplus = answers.len().saturating_sub(PER_POD_MAX);
        answers.drain(..surplus);
    }

    /// Whether the pod was given `address` for a name of which this holds.
    pub(super) fn any(
        &self,
        namespace: &str,
        pod: &str,
        address: IpAddr,
        now: Instant,
        is_meant: impl Fn(&str) -> bool,
    ) -> bool {
        let address = plain(address);
        let by_pod = self.by_pod.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = by_pod.get(&(namespace.to_owned(), pod.to_owned())).into_iter().flatten();
        answers.filter(|answer| answer.address == address && answer.until > now).any(|answer| is_meant(&answer.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn an_answer_holds_for_its_pod_its_name_and_its_time() {
        let (answers, start) = (Answers::default(), Instant::now());
        answers.note("shop", "web", "a.example", &[address(1)], start);
        let has = |pod: &str, last: u8, name: &str, later: Duration| {
            answers.any("shop", pod, address(last), start + later, |known| known == name)
        };
        let soon = Duration::ZERO;
        assert!(has("web", 1, "a.example", soon));
        assert!(!has("db", 1, "a.example", soon) && !has("web", 2, "a.example", soon) && !has("web", 1, "b", soon));
        assert!(has("web", 1, "a.example", KEPT / 2));
        assert!(!has("web", 1, "a.example", KEPT));
        answers.note("shop", "db", "c.example", &[address(3)], start + KEPT);
        assert_eq!(answers.by_pod.lock().expect("nobody panicked").len(), 1);
    }

    #[test]
    fn the_oldest_answers_make_room() {
        let (answers, now) = (Answers::default(), Instant::now());
        for last in 0..=255 {
            for name in ["a", "b", "c"] {
                answers.note("shop", "web", name, &[address(last)], now);
            }
        }
        assert_eq!(answers.by_pod.lock().expect("nobody panicked").values().next().map(VecDeque::len), Some(512));
        assert!(answers.any("shop", "web", address(255), now, |name| name == "a"));
        assert!(!answers.any("shop", "web", address(0), now, |_| true));
    }
}
