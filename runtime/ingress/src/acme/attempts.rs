//! When what failed is tried again.

use std::collections::HashMap;

use api::Key;
use jiff::{SignedDuration, Timestamp};

use super::{Challenge, Wish};

/// After the first failure. Directories count failures by the hour and by the host; five of ours fit into one.
const PAUSE_MIN: SignedDuration = SignedDuration::from_mins(2);
/// However often it failed: whoever has put right what was wrong does not want to wait for a day.
const PAUSE_MAX: SignedDuration = SignedDuration::from_hours(6);
/// However long a directory says.
const DIRECTORY_PAUSE_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What failed so far. It lasts as long as the process: one that is started anew tries at once, as a person would expect.
#[derive(Debug, Default)]
pub struct Attempts(HashMap<Key, Failed>);

#[derive(Debug)]
struct Failed {
    /// What was tried; another try may have other luck.
    hosts: Vec<String>,
    challenge: Challenge,
    times: u32,
    until: Timestamp,
}

// === impl Attempts ===

impl Attempts {
    /// When a wish may be carried out, if it has to wait.
    pub fn wait(&self, wish: &Wish) -> Option<Timestamp> {
        self.0.get(&wish.secret).filter(|failed| failed.is_of(wish)).map(|failed| failed.until)
    }

    /// It failed, and the directory does not want to be asked again before `not_before`. Says when it will be.
    pub fn failed(&mut self, wish: &Wish, now: Timestamp, not_before: Option<Timestamp>) -> Timestamp {
        let before = self.0.get(&wish.secret).filter(|failed| failed.is_of(wish)).map_or(0, |failed| failed.times);
        let times = before.saturating_add(1);
        let pause = 2_i32.checked_pow(before).and_then(|factor| PAUSE_MIN.checked_mul(factor)).unwrap_or(PAUSE_MAX);
        let asked = not_before.map_or(SignedDuration::ZERO, |moment| moment.duration_since(now));
        let pause = pause.min(PAUSE_MAX).max(asked.min(DIRECTORY_PAUSE_MAX));
        let until = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
        let hosts = wish.hosts.iter().cloned().collect();
        self.0.insert(wish.secret.clone(), Failed { hosts, challenge: wish.challenge, times, until });
        until
    }

    /// It did not fail.
    pub fn succeeded(&mut self, secret: &Key) {
        self.0.remove(secret);
    }

    /// Forgets what nobody wishes for.
    pub fn keep(&mut self, wishes: &[Wish]) {
        self.0.retain(|secret, _| wishes.iter().any(|wish| wish.secret == *secret));
    }
}

// === impl Failed ===

impl Failed {
    fn is_of(&self, wish: &Wish) -> bool {
        self.challenge == wish.challenge && self.hosts.iter().eq(&wish.hosts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::wishes;
    use crate::world::world;

    fn wish(text: &str) -> Wish {
        wishes(&world(text), "https://acme.example/").pop().expect("a wish")
    }

    fn minutes(count: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(count)
    }

    /// After how many minutes each of these failures is tried again, the directory asking for `asked` minutes.
    fn check(failures: usize, asked: Option<i64>, expected: &[i64]) {
        let (mut attempts, wish) = (Attempts::default(), wish("ingress a acme=true tls=a a.example/>web:80"));
        let mut now = minutes(0);
        let mut told = Vec::new();
        for _ in 0..failures {
            let until = attempts.failed(&wish, now, asked.map(|asked| now + SignedDuration::from_mins(asked)));
            assert_eq!(attempts.wait(&wish), Some(until));
            told.push(until.duration_since(now).as_mins());
            now = until;
        }
        assert_eq!(told, expected);
    }

    #[test]
    fn what_fails_again_waits_longer() {
        check(10, None, &[2, 4, 8, 16, 32, 64, 128, 256, 360, 360]);
    }

    #[test]
    fn a_directory_is_not_asked_before_it_wants_to_be() {
        check(3, Some(5), &[5, 5, 8]);
        check(1, Some(600), &[600]);
        check(1, Some(1_000_000), &[7 * 24 * 60]);
        check(1, Some(-5), &[2]);
    }

    #[test]
    fn what_is_wished_for_otherwise_does_not_wait() {
        let mut attempts = Attempts::default();
        let first = wish("ingress a acme=true tls=a a.example/>web:80");
        attempts.failed(&first, minutes(0), None);
        assert_eq!(attempts.wait(&wish("ingress a acme=http-01 tls=a a.example/>web:80")), Some(minutes(2)));
        assert_eq!(attempts.wait(&wish("ingress a acme=tls-alpn-01 tls=a a.example/>web:80")), None);
        assert_eq!(attempts.wait(&wish("ingress a acme=true tls=a b.example/>web:80")), None);
        assert_eq!(attempts.wait(&wish("ingress a acme=true tls=b a.example/>web:80")), None);
        attempts.keep(std::slice::from_ref(&first));
        assert_eq!(attempts.wait(&first), Some(minutes(2)));
        attempts.keep(&[]);
        assert_eq!(attempts.wait(&first), None);
    }
}
