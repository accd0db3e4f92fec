//! What lies on disk is sealed: nobody reads the world out of a stolen disk without the key file.
//!
//! Every transaction of the log and every object of the image is sealed on its own with AES-256 in Galois counter mode, so a
//! change of it is noticed too. What is not sealed: which entry of the log it is, and which object an image's row is about.
//!
//! Keys are of the member whose disk they seal, and never leave it: what members send each other is not sealed by them but by what
//! carries it, and sealed anew where it arrives. So a member can be given a new key without the others, a stolen disk opens no other,
//! and a new member needs nobody's keys.
//!
//! ```text
//! format u8 │ key u32 │ salt [u8; 16] │ count u64 │ ciphertext │ tag [u8; 16]
//! ```
//! The key that seals is derived (HKDF with SHA-256, RFC 5869) from a key of the [file](keys) and a salt that each process tosses
//! anew, and the nonce is a count. So no nonce ever comes twice under one key, without anything to remember over a crash, and
//! however much is written; a key that is only random nonces would have to be changed after some 2³² records.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};

use crate::codec::{FORMAT, Malformed, Reader};

mod keys;

pub(crate) use keys::{Keys, Secret, random};

const SALT_BYTES: usize = 16;

/// Derived keys that are remembered for reading: one for each start of the process whose records are still there. Beyond that
/// they are derived again, a microsecond each.
const SESSIONS_MAX: usize = 256;

/// Seals and unseals. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Sealer(Arc<RwLock<State>>);

struct State {
    secrets: HashMap<u32, Secret>,
    writing: Arc<Session>,
    reading: HashMap<(u32, [u8; SALT_BYTES]), Arc<LessSafeKey>>,
}

/// A derived key that seals.
struct Session {
    id: u32,
    salt: [u8; SALT_BYTES],
    key: Arc<LessSafeKey>,
    count: AtomicU64,
}

// === impl Sealer ===

impl Sealer {
    /// Seals with the first of the keys, and unseals what any of them sealed.
    pub(crate) fn new(keys: &Keys) -> Self {
        let secrets = keys.all().iter().map(|secret| (secret.id, secret.clone())).collect();
        Self::of(secrets, Session::begin(keys.newest(), keys::random()))
    }

    /// Seals and unseals with one key.
    pub(crate) fn of_one(secret: &Secret) -> Self {
        Self::of([(secret.id, secret.clone())].into(), Session::begin(secret, keys::random()))
    }

    fn of(secrets: HashMap<u32, Secret>, writing: Session) -> Self {
        Self(Arc::new(RwLock::new(State { secrets, writing: Arc::new(writing), reading: HashMap::new() })))
    }

    /// From now on seals with this key.
    pub(crate) fn turn_to(&self, secret: &Secret) {
        let mut state = self.0.write();
        state.secrets.insert(secret.id, secret.clone());
        state.writing = Arc::new(Session::begin(secret, keys::random()));
    }

    /// No longer unseals what this key sealed.
    pub(crate) fn forget(&self, id: u32) {
        let mut state = self.0.write();
        state.secrets.remove(&id);
        state.reading.retain(|(known, _), _| *known != id);
    }

    /// Appends what `write` appends, sealed. It opens only where the same `context` is given.
    pub(crate) fn seal(&self, context: &[u8], out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let session = self.0.read().writing.clone();
        let count = session.count.fetch_add(1, Ordering::Relaxed);
        out.push(FORMAT);
        out.extend_from_slice(&session.id.to_le_bytes());
        out.extend_from_slice(&session.salt);
        out.extend_from_slice(&count.to_le_bytes());
        let start = out.len();
        write(out);
        let tag = session.key.seal_in_place_separate_tag(nonce(count), Aad::from(context), &mut out[start..]);
        let tag = tag.expect("a record is far smaller than the 64 GiB that one nonce is good for");
        out.extend_from_slice(tag.as_ref());
    }

    /// What was sealed in this `context`.
    pub(crate) fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut reader = Reader::new(sealed)?;
        let (id, salt) = (u32::from_le_bytes(reader.array()?), reader.array()?);
        let nonce = nonce(reader.u64()?);
        let mut content = reader.rest().to_vec();
        let opened = self.key(id, salt)?.open_in_place(nonce, Aad::from(context), &mut content);
        let length = opened.map_err(|_| Malformed { what: "seal: it was broken" })?.len();
        content.truncate(length);
        Ok(content)
    }

    /// Whether this was sealed with the key that seals now.
    pub(crate) fn is_newest(&self, sealed: &[u8]) -> bool {
        let mut reader = Reader::new(sealed);
        let id = reader.as_mut().ok().and_then(|reader| reader.array().ok()).map(u32::from_le_bytes);
        id == Some(self.0.read().writing.id)
    }

    fn key(&self, id: u32, salt: [u8; SALT_BYTES]) -> Result<Arc<LessSafeKey>, Malformed> {
        if let Some(known) = self.0.read().reading.get(&(id, salt)) {
            return Ok(known.clone());
        }
        let mut state = self.0.write();
        let secret =
            state.secrets.get(&id).ok_or(Malformed { what: "seal: the key that it takes is not in the key file" })?;
        let key = Arc::new(derived(secret, &salt));
        if state.reading.len() >= SESSIONS_MAX {
            state.reading.clear();
        }
        state.reading.insert((id, salt), key.clone());
        Ok(key)
    }
}

#[cfg(test)]
impl Sealer {
    /// With a key of its own.
    pub(crate) fn alone() -> Self {
        Self::new(&Keys::alone())
    }
}

// === impl Session ===

impl Session {
    fn begin(secret: &Secret, salt: [u8; SALT_BYTES]) -> Self {
        Self { id: secret.id, salt, key: Arc::new(derived(secret, &salt)), count: AtomicU64::new(0) }
    }
}

/// The key that a secret and a salt make.
fn derived(secret: &Secret, salt: &[u8; SALT_BYTES]) -> LessSafeKey {
    let material = Salt::new(HKDF_SHA256, salt).extract(&secret.bytes);
    let key = material.expand(&[b"coracle store"], &AES_256_GCM).expect("one key is less than HKDF can give");
    LessSafeKey::new(UnboundKey::from(key))
}

fn nonce(count: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&count.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed(sealer: &Sealer, context: &[u8], content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        sealer.seal(context, &mut out, |out| out.extend_from_slice(content));
        out
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_whole_and_only_there(
            content in prop::collection::vec(any::<u8>(), 0..300), context in prop::collection::vec(any::<u8>(), 0..20),
            place in any::<prop::sample::Index>(), bit in 0..8_u8,
        ) {
            let sealer = Sealer::alone();
            let sealed = sealed(&sealer, &context, &content);
            prop_assert_eq!(sealer.open(&context, &sealed), Ok(content.clone()));
            prop_assert!(sealer.open(b"some other context entirely", &sealed).is_err());
            prop_assert!(content.len() < 8 || !sealed.windows(content.len()).any(|window| window == content));
            let mut broken = sealed.clone();
            broken[place.index(sealed.len())] ^= 1 << bit;
            prop_assert!(sealer.open(&context, &broken).is_err());
            prop_assert!(sealer.open(&context, &sealed[..place.index(sealed.len())]).is_err());
        }
    }

    #[test]
    fn nothing_is_sealed_twice_alike() {
        let keys = Keys::alone();
        let (one, other) = (Sealer::new(&keys), Sealer::new(&keys));
        let all = [sealed(&one, b"", b"x"), sealed(&one, b"", b"x"), sealed(&other, b"", b"x")];
        // Salt and count together: a nonce under a key.
        let nonces: std::collections::BTreeSet<_> = all.iter().map(|sealed| &sealed[5..29]).collect();
        assert_eq!(nonces.len(), all.len());
        assert_eq!(other.open(b"", &all[0]), Ok(b"x".to_vec()), "another process with the same keys reads it");
    }

    #[test]
    fn the_seal_is_the_one_on_disk_everywhere() {
        let secret = Secret { id: 7, bytes: [1; 32] };
        let sealer = Sealer::of([(7, secret.clone())].into(), Session::begin(&secret, [2; SALT_BYTES]));
        let found = [sealed(&sealer, b"context", b"first"), sealed(&sealer, b"context", b"second")].map(hex);
        assert_eq!(found, GOLDEN);
    }

    const GOLDEN: [&str; 2] = [
        "0107000000020202020202020202020202020202020000000000000000194c60afd8e3d082c66ecd6cae82f28d319e54b3fd",
        "0107000000020202020202020202020202020202020100000000000000e4b143e230f75dbddfc3af0ddfe59044531bf3eb92c3",
    ];

    fn hex(bytes: Vec<u8>) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn an_old_key_opens_until_it_is_forgotten() {
        let sealer = Sealer::alone();
        let old = sealed(&sealer, b"", b"old");
        assert!(sealer.is_newest(&old));
        let id = u32::from_le_bytes([old[1], old[2], old[3], old[4]]);
        sealer.turn_to(&Secret::fresh());
        let new = sealed(&sealer, b"", b"new");
        assert!(sealer.is_newest(&new) && !sealer.is_newest(&old));
        assert_eq!(sealer.open(b"", &old), Ok(b"old".to_vec()));
        sealer.forget(id);
        assert!(sealer.open(b"", &old).is_err());
        assert_eq!(sealer.open(b"", &new), Ok(b"new".to_vec()));
    }
}
