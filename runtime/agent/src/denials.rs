//! Connections that NetworkPolicies denied, told as events of the pod whose policies they are.
//!
//! A program that is denied tries again, and one that looks around tries everything: the first denial of a kind is told at
//! once, its repetitions together now and then, and one pod can make only so many events. All of them are counted where they
//! happen, whatever is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::kinds;
use jiff::Timestamp;
use network::policy::Denial;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::pod::{Severity, Told};
use crate::recorder::{Note, Recorder};

/// How long repetitions wait to be told together.
const TOGETHER: Duration = Duration::from_secs(10);
/// How many kinds of denials one pod can have told in a row: as many as Kubernetes' recorder takes for one object.
const KINDS_MAX: u32 = 25;
/// How long it takes until one more may be told: as with Kubernetes' recorder.
const REFILL: Duration = Duration::from_mins(5);

/// What has been told, and what waits to be.
#[derive(Default)]
struct Digest {
    known: HashMap<Denial, Known>,
    budgets: HashMap<Arc<str>, Budget>,
}

struct Known {
    told: Instant,
    waiting: u32,
}

/// What one pod may still have told.
struct Budget {
    left: u32,
    since: Instant,
}

/// Tells every denial of this node.
pub(crate) async fn tell(mut denials: broadcast::Receiver<Denial>, recorder: Recorder) {
    let mut digest = Digest::default();
    let mut ticks = tokio::time::interval(TOGETHER);
    loop {
        let told = tokio::select! {
            denial = denials.recv() => match denial {
                Ok(denial) => digest.take(denial, Instant::now()).into_iter().collect(),
                Err(RecvError::Lagged(_)) => Vec::new(),
                // The fabric outlives the agent; were it gone, nothing would be denied any more.
                Err(RecvError::Closed) => return std::future::pending().await,
            },
            _ = ticks.tick() => digest.flush(Instant::now()),
        };
        for (denial, times) in told {
            recorder.tell(note(&denial, times));
        }
    }
}

fn note(denial: &Denial, times: u32) -> Note {
    let told = Told {
        container: None,
        severity: Severity::Warning,
        reason: "NetworkPolicyDenied",
        message: denial.to_string(),
    };
    let pod = kinds::POD.key(&denial.pod.namespace, &denial.pod.name);
    Note { pod, uid: denial.pod.uid.to_string(), field: None, told, times, at: Timestamp::now() }
}

// === impl Digest ===

impl Digest {
    /// Takes a denial, and gives it back if it is to be told now.
    fn take(&mut self, denial: Denial, now: Instant) -> Option<(Denial, u32)> {
        if let Some(known) = self.known.get_mut(&denial) {
            known.waiting += 1;
            return None;
        }
        let full = Budget { left: KINDS_MAX, since: now };
        let budget = self.budgets.entry(denial.pod.uid.clone()).or_insert(full);
        if !budget.spend(now) {
            return None;
        }
        self.known.insert(denial.clone(), Known { told: now, waiting: 0 });
        Some((denial, 1))
    }

    /// What has waited long enough, and how often it happened; what did not happen again is forgotten.
    fn flush(&mut self, now: Instant) -> Vec<(Denial, u32)> {
        let mut due = Vec::new();
        self.known.retain(|denial, known| {
            if now.duration_since(known.told) < TOGETHER {
                return true;
            }
            if known.waiting > 0 {
                due.push((denial.clone(), known.waiting));
            }
            let is_kept = known.waiting > 0;
            *known = Known { told: now, waiting: 0 };
            is_kept
        });
        self.budgets.retain(|_, budget| !budget.is_full(now));
        due
    }
}

// === impl Budget ===

impl Budget {
    fn spend(&mut self, now: Instant) -> bool {
        self.refill(now);
        let may = self.left > 0;
        self.left -= u32::from(may);
        may
    }

    fn refill(&mut self, now: Instant) {
        while self.left < KINDS_MAX && now.duration_since(self.since) >= REFILL {
            self.left += 1;
            self.since += REFILL;
        }
        if self.left == KINDS_MAX {
            self.since = now;
        }
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left == KINDS_MAX
    }
}

#[cfg(test)]
mod tests {
    use network::policy::{Direction, PortProtocol, Whose};

    use super::*;

    fn denial(port: u16) -> Denial {
        let pod = Whose { namespace: "shop".into(), name: "db".into(), uid: "u1".into() };
        let (direction, port) = (Direction::Ingress, PortProtocol::tcp(port));
        Denial { pod, direction, peer: "203.0.113.7".into(), port, by: "deny".into() }
    }

    #[test]
    fn the_first_is_told_at_once_and_repetitions_together() {
        let (mut digest, start) = (Digest::default(), Instant::now());
        assert_eq!(digest.take(denial(80), start), Some((denial(80), 1)));
        assert_eq!(digest.take(denial(80), start), None);
        assert_eq!(digest.take(denial(80), start), None);
        assert_eq!(digest.flush(start), []);
        assert_eq!(digest.flush(start + TOGETHER), [(denial(80), 2)]);
        assert_eq!(digest.flush(start + TOGETHER * 2), []);
        assert!(digest.known.is_empty());
    }

    #[test]
    fn who_looks_around_is_not_told_of_without_end() {
        let (mut digest, start) = (Digest::default(), Instant::now());
        let told = (1..=1000).filter(|port| digest.take(denial(*port), start).is_some()).count();
        assert_eq!(told, KINDS_MAX as usize);
        assert_eq!(digest.known.len(), KINDS_MAX as usize);
        assert!(digest.take(denial(2000), start + REFILL).is_some());
        assert!(digest.take(denial(2001), start + REFILL).is_none());
        digest.flush(start + REFILL * 30);
        digest.flush(start + REFILL * 60);
        assert!(digest.budgets.is_empty() && digest.known.is_empty());
    }

    #[test]
    fn an_event_says_who_where_and_why() {
        let note = note(&denial(80), 3);
        assert_eq!(
            (note.pod.to_string().as_str(), note.times, note.told.reason),
            ("Pod/shop/db", 3, "NetworkPolicyDenied")
        );
        assert_eq!(
            note.told.message,
            "Denied ingress from 203.0.113.7 to port 80/TCP: no rule of NetworkPolicy deny allows it"
        );
    }
}
