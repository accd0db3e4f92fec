//! What clients asked and were answered, judged as it comes: whether a write that was acknowledged is lost, or a read is stale.
//!
//! A register has one writer, who writes larger and larger values, each only over the version that he last knew. So the values that
//! are ever stored grow, and what a linearizable read may answer is known without looking for an order of everything: no less than
//! was acknowledged or read by anybody before the question, and no more than was asked for before the answer.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The registers, and what was wrong.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    registers: BTreeMap<String, Register>,
    counts: Counts,
    wrong: Vec<String>,
}

/// What is known of one register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Register {
    /// The largest value that anybody was asked to write.
    asked: u64,
    /// The largest that is known to be stored: acknowledged, or read.
    known: u64,
    acknowledged: u64,
}

/// How much was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Writes of which nothing was heard in time, or nothing that says what became of them.
    pub unheard: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Reads that had no answer.
    pub unanswered: u64,
}

/// A read that has begun: what it may not fall short of.
#[derive(Clone, Debug)]
pub struct Asked {
    register: String,
    floor: u64,
}

// === impl Ledger ===

impl Ledger {
    /// The next value of a register, which is now being asked for.
    pub fn write(&self, register: &str) -> u64 {
        self.with(|pages| {
            let register = pages.registers.entry(register.into()).or_default();
            register.asked += 1;
            register.asked
        })
    }

    /// A write was acknowledged.
    pub fn acknowledged(&self, register: &str, value: u64) {
        self.with(|pages| {
            pages.counts.acknowledged += 1;
            let register = pages.registers.entry(register.into()).or_default();
            register.acknowledged = register.acknowledged.max(value);
            register.known = register.known.max(value);
        });
    }

    /// Nobody can say what became of a write.
    pub fn unheard(&self) {
        self.with(|pages| pages.counts.unheard += 1);
    }

    /// A read begins.
    pub fn ask(&self, register: &str) -> Asked {
        let floor = self.with(|pages| pages.registers.get(register).copied().unwrap_or_default().known);
        Asked { register: register.into(), floor }
    }

    /// A read was answered, by whom; an object that is not there is no value.
    pub fn answered(&self, asked: &Asked, value: Option<u64>, by: &str) {
        let value = value.unwrap_or_default();
        self.with(|pages| {
            pages.counts.reads += 1;
            let register = pages.registers.entry(asked.register.clone()).or_default();
            let Register { asked: most, known, .. } = *register;
            register.known = known.max(value);
            if value < asked.floor {
                let Asked { register, floor } = asked;
                pages
                    .wrong
                    .push(format!("{by} answered {register}={value}, and {floor} was known before it was asked"));
            }
            if value > most {
                pages
                    .wrong
                    .push(format!("{by} answered {}={value}, and nobody wrote more than {most}", asked.register));
            }
        });
    }

    /// A read had no answer.
    pub fn unanswered(&self) {
        self.with(|pages| pages.counts.unanswered += 1);
    }

    /// Something else was wrong.
    pub fn is_wrong(&self, what: String) {
        self.with(|pages| pages.wrong.push(what));
    }

    /// The registers there are.
    pub fn registers(&self) -> Vec<String> {
        self.with(|pages| pages.registers.keys().cloned().collect())
    }

    /// How much was asked so far.
    pub fn counts(&self) -> Counts {
        self.with(|pages| pages.counts)
    }

    /// What was wrong since it was last asked for.
    pub fn wrong(&self) -> Vec<String> {
        self.with(|pages| std::mem::take(&mut pages.wrong))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Pages) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `w1` asks for a write of register r, `a1` acknowledges it, `?` begins a read, `=1` answers the oldest that has begun.
    fn judged(history: &str) -> Vec<String> {
        let ledger = Ledger::default();
        let mut asked = std::collections::VecDeque::new();
        for word in history.split_whitespace() {
            let (how, value) = word.split_at(1);
            let value: u64 = value.parse().unwrap_or_default();
            match how {
                "w" => assert_eq!(ledger.write("r"), value),
                "a" => ledger.acknowledged("r", value),
                "?" => asked.push_back(ledger.ask("r")),
                "=" => ledger.answered(&asked.pop_front().expect("it was asked"), Some(value), "a server"),
                other => panic!("{other}"),
            }
        }
        ledger.wrong()
    }

    #[test]
    fn a_read_may_answer_what_is_written_beside_it() {
        for good in ["? =0", "w1 a1 ? =1", "w1 a1 w2 ? ? =1 =2", "w1 a1 ? w2 a2 =1", "w1 w2 ? =2 ? =2"] {
            assert_eq!(judged(good), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn a_read_that_misses_what_was_known_before_it_is_stale() {
        for stale in ["w1 a1 ? =0", "w1 ? =1 ? =0", "w1 a1 w2 a2 ? w3 =1"] {
            let wrong = judged(stale);
            assert!(wrong.len() == 1 && wrong[0].contains("was known before"), "{stale}: {wrong:?}");
        }
        assert!(judged("? =1")[0].contains("nobody wrote more than 0"));
    }
}
