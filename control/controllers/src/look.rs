//! The time and the chance of one look, and what is drawn from them: uids and name endings.

use api::pod_spec::Outages;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sha2::{Digest, Sha256};

use crate::ruling::{self, Rulings};

/// Letters and digits that make no words and are not mistaken for each other: Kubernetes' own choice.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// When a controller looks, a number that no other look has, and what was ruled about the objects that it would create.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The time.
    pub now: Timestamp,
    /// Chance.
    pub seed: u64,
    /// How long new pods stay on a lost node.
    pub(crate) outages: Outages,
    /// What was ruled.
    pub(crate) rulings: &'a Rulings,
}

// === impl Look ===

impl Look<'static> {
    /// The first look at something, before anybody has ruled about what comes of it.
    pub fn new(now: Timestamp, seed: u64) -> Self {
        Self { now, seed, outages: Outages::default(), rulings: &ruling::NONE }
    }
}

impl<'a> Look<'a> {
    /// The same look, in a cluster whose new pods stay on lost nodes as long as this.
    pub fn tolerating(self, outages: Outages) -> Self {
        Self { outages, ..self }
    }

    /// The same look, once more, with what was ruled about what came of it.
    pub fn under(self, rulings: &'a Rulings) -> Self {
        Self { rulings, ..self }
    }

    /// The time as Kubernetes writes it: whole seconds.
    pub(crate) fn time(self) -> Time {
        Time(whole_seconds(self.now))
    }

    /// A uid for the object called `what`: the same for the same look, in the form of a version 4 UUID.
    pub(crate) fn uid(self, what: &str) -> String {
        let digest = self.digest(what);
        let mut bytes: [u8; 16] = digest[..16].try_into().expect("a digest has 32 bytes");
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let text = hex::encode(bytes);
        [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
    }

    /// A name ending of five letters.
    pub(crate) fn ending(self, what: &str) -> String {
        letters(&self.digest(what), 5)
    }

    /// A number for the thing called `what`.
    pub(crate) fn number(self, what: &str) -> u64 {
        u64::from_be_bytes(self.digest(what)[..8].try_into().expect("a digest has 32 bytes"))
    }

    fn digest(self, what: &str) -> [u8; 32] {
        Sha256::new().chain_update(self.seed.to_be_bytes()).chain_update(what).finalize().into()
    }
}

/// The time without its fraction of a second.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// `count` letters that stand for bytes.
pub(crate) fn letters(bytes: &[u8], count: usize) -> String {
    bytes.iter().take(count).map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

/// `count` letters that stand for a text.
pub(crate) fn hash_letters(text: &[u8], count: usize) -> String {
    letters(&Sha256::digest(text), count)
}
