//! Which images a node lets go of when its disk fills up: a pure decision, and a small loop that carries it out.
//!
//! As with a kubelet: from the high mark on, what was used longest ago goes first, down to the low mark; what a container of
//! this node has, or was given a moment ago, stays. Two things are measured so: the disk that the images are on, and, where it
//! is limited, the room that images themselves may take. A component counts together with what was compiled from it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use host::{Digest, Host};
use tracing::{debug, info, warn};

use super::Cache;
use crate::config::Collection;
use crate::context::Context;

/// A component that is kept, with what was compiled from it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    digest: Digest,
    bytes: u64,
    used_at: SystemTime,
    in_use: bool,
}

/// Room of some kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    total: u64,
    used: u64,
}

/// The components that containers of this node have.
#[derive(Clone, Debug, Default)]
pub struct Holds {
    counts: Arc<Mutex<HashMap<Digest, usize>>>,
}

/// While it lives, the component is in use.
#[derive(Debug)]
pub struct Hold {
    digest: Digest,
    holds: Holds,
}

/// What goes, oldest first. Nothing does while every kind of room is below the high mark.
fn decide(kept: &[Kept], disk: Room, collection: &Collection, now: SystemTime) -> Vec<Digest> {
    let own = Room { total: collection.bytes_max.unwrap_or(u64::MAX), used: kept.iter().map(|kept| kept.bytes).sum() };
    let excess = disk.excess(collection).max(own.excess(collection));
    let is_old = |kept: &&Kept| now.duration_since(kept.used_at).is_ok_and(|age| age >= collection.age_min);
    let mut candidates: Vec<&Kept> = kept.iter().filter(|kept| !kept.in_use).filter(is_old).collect();
    candidates.sort_by_key(|kept| (kept.used_at, kept.digest));
    let mut freed = 0;
    let going = candidates.into_iter().take_while(|kept| {
        let goes = freed < excess;
        freed += kept.bytes;
        goes
    });
    going.map(|kept| kept.digest).collect()
}

/// Looks now and then, for ever.
pub(crate) async fn keep(context: Arc<Context>) {
    let mut pulse = tokio::time::interval(context.config.collection.period);
    pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pulse.tick().await;
        let context = context.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let images = context.config.data_dir.join("images");
            collect(context.images.cache(), context.images.holds(), &context.host, &images, &context.config.collection)
        });
        match looked.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the room for images could not be looked at"),
            Err(error) => warn!(%error, "looking at the room for images broke off"),
        }
    }
}

fn collect(cache: &Cache, holds: &Holds, host: &Host, place: &Path, collection: &Collection) -> io::Result<()> {
    let kept = kept(cache, holds, host)?;
    for digest in decide(&kept, disk(place)?, collection, SystemTime::now()) {
        // Asked again: a container may have come for it meanwhile.
        if holds.has(&digest) {
            continue;
        }
        match host.forget(digest).and_then(|()| cache.remove(&digest)) {
            Ok(()) => info!(%digest, "an image that nothing uses was let go"),
            Err(error) => warn!(%digest, %error, "an image could not be let go"),
        }
    }
    Ok(())
}

fn kept(cache: &Cache, holds: &Holds, host: &Host) -> io::Result<Vec<Kept>> {
    let mut kept: BTreeMap<Digest, Kept> = BTreeMap::new();
    for (digest, bytes, used_at) in cache.components()? {
        let in_use = holds.has(&digest);
        // The clock of what is in use starts when it is not any more.
        if in_use && let Err(error) = cache.touch(&digest) {
            debug!(%digest, %error, "the use of an image could not be noted");
        }
        kept.insert(digest, Kept { digest, bytes, used_at, in_use });
    }
    for (digest, bytes, used_at) in host.compiled()? {
        let in_use = holds.has(&digest);
        kept.entry(digest).or_insert(Kept { digest, bytes: 0, used_at, in_use }).bytes += bytes;
    }
    Ok(kept.into_values().collect())
}

fn disk(place: &Path) -> io::Result<Room> {
    let told = rustix::fs::statvfs(place)?;
    // What only root may still use does not count as free.
    Ok(Room {
        total: told.f_blocks.saturating_mul(told.f_frsize),
        used: told.f_blocks.saturating_sub(told.f_bavail).saturating_mul(told.f_frsize),
    })
}

// === impl Room ===

impl Room {
    /// How much is to be freed.
    fn excess(self, collection: &Collection) -> u64 {
        let mark = |percent: u8| u128::from(self.total) * u128::from(percent.min(100)) / 100;
        if u128::from(self.used) < mark(collection.high_percent) {
            return 0;
        }
        u64::try_from(u128::from(self.used).saturating_sub(mark(collection.low_percent))).unwrap_or(u64::MAX)
    }
}

// === impl Holds ===

impl Holds {
    /// Keeps a component from being let go.
    pub fn hold(&self, digest: Digest) -> Hold {
        *self.counts().entry(digest).or_default() += 1;
        Hold { digest, holds: self.clone() }
    }

    fn has(&self, digest: &Digest) -> bool {
        self.counts().contains_key(digest)
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut counts = self.holds.counts();
        if let Some(count) = counts.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn policy(bytes_max: Option<u64>) -> Collection {
        Collection { bytes_max, high_percent: 80, low_percent: 50, ..Collection::default() }
    }

    fn at(minutes: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_mins(minutes)
    }

    /// Images as `name:bytes@minute`, with a `*` when it is in use; a hundred minutes have passed.
    fn check(images: &str, disk: (u64, u64), bytes_max: Option<u64>, expected: &str) {
        let kept: Vec<(String, Kept)> = images
            .split_whitespace()
            .map(|image| {
                let (name, rest) = image.split_once(':').expect("a name");
                let (bytes, minute) = rest.trim_end_matches('*').split_once('@').expect("a time");
                let (bytes, minute) = (bytes.parse().expect("a number"), minute.parse().expect("a number"));
                let digest = Digest::of(name.as_bytes());
                (name.to_owned(), Kept { digest, bytes, used_at: at(minute), in_use: rest.ends_with('*') })
            })
            .collect();
        let all: Vec<Kept> = kept.iter().map(|(_, kept)| kept.clone()).collect();
        let gone = decide(&all, Room { total: disk.0, used: disk.1 }, &policy(bytes_max), at(100));
        let name =
            |digest: &Digest| kept.iter().find(|(_, kept)| kept.digest == *digest).map(|(name, _)| name.as_str());
        assert_eq!(gone.iter().filter_map(name).collect::<Vec<_>>().join(" "), expected, "{images}");
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        check("a:10@3 b:10@1 c:10@2", (100, 79), None, "");
        check("a:10@3 b:10@1 c:10@2", (100, 65), None, "");
        check("a:10@3 b:10@1 c:10@2", (1000, 80), None, "");
        check("a:20@3 b:20@1 c:20@2", (100, 80), None, "b c");
        check("a:20@3 b:20@1* c:20@2", (100, 80), None, "c a");
        check("a:20@99 b:20@1 c:20@100", (100, 80), None, "b");
    }

    #[test]
    fn images_may_have_a_limit_of_their_own() {
        check("a:30@3 b:30@1 c:10@2", (1000, 70), Some(100), "");
        check("a:30@3 b:30@1 c:30@2", (1000, 90), Some(100), "b c");
        check("a:90@3", (1000, 90), None, "");
    }

    #[test]
    fn a_component_is_held_until_the_last_lets_go() {
        let holds = Holds::default();
        let digest = Digest::of(b"a");
        let (one, two) = (holds.hold(digest), holds.hold(digest));
        drop(one);
        assert!(holds.has(&digest));
        drop(two);
        assert!(!holds.has(&digest));
    }

    #[test]
    fn what_nothing_uses_is_let_go() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = Cache::open(directory.path().join("images")).expect("a cache");
        let host = Host::new(host::Config::new(directory.path().join("cache"))).expect("a host");
        let holds = Holds::default();
        let keep = |bytes: &[u8]| {
            let (draft, digest) = (cache.draft(), Digest::of(bytes));
            std::fs::write(&draft, bytes).expect("written");
            cache.keep(&draft, &digest).expect("kept");
            digest
        };
        let (used, unused) = (keep(b"used"), keep(b"unused"));
        let _hold = holds.hold(used);
        let tight = Collection { bytes_max: Some(1), age_min: Duration::ZERO, ..Collection::default() };
        let tight = Collection { high_percent: 100, low_percent: 0, ..tight };
        let place = directory.path();
        let young = Collection { age_min: Duration::from_hours(1), ..tight };
        collect(&cache, &holds, &host, place, &young).expect("collected");
        assert!(cache.component(&unused).is_some(), "it was used a moment ago");
        collect(&cache, &holds, &host, place, &tight).expect("collected");
        assert!(cache.component(&used).is_some() && cache.component(&unused).is_none());
    }

    proptest! {
        #[test]
        fn never_what_is_in_use_and_never_more_than_is_needed(
            images in prop::collection::vec((1u64..1_000, 0u64..100, any::<bool>()), 0..20),
            used in 0u64..30_000,
            bytes_max in prop::option::of(1u64..20_000),
        ) {
            let kept: Vec<Kept> = images
                .iter()
                .enumerate()
                .map(|(turn, (bytes, minute, in_use))| Kept {
                    digest: Digest::of(&turn.to_le_bytes()),
                    bytes: *bytes,
                    used_at: at(*minute),
                    in_use: *in_use,
                })
                .collect();
            let (disk, policy) = (Room { total: 25_000, used }, policy(bytes_max));
            let own = Room { total: bytes_max.unwrap_or(u64::MAX), used: kept.iter().map(|kept| kept.bytes).sum() };
            let excess = disk.excess(&policy).max(own.excess(&policy));
            let gone = decide(&kept, disk, &policy, at(100));
            let gone: Vec<&Kept> = gone.iter().filter_map(|digest| kept.iter().find(|kept| kept.digest == *digest)).collect();
            prop_assert!(gone.iter().all(|kept| !kept.in_use && kept.used_at <= at(98)));
            if let Some((_, before)) = gone.split_last() {
                prop_assert!(before.iter().map(|kept| kept.bytes).sum::<u64>() < excess);
            }
        }
    }
}
