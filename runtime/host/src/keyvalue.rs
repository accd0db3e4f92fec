//! Buckets of values that a guest keeps by keys: `wasi:keyvalue`, in both drafts that are in use.
//!
//! Whoever runs workloads implements [`Buckets`], one value per container; where the values are kept is its own affair. The law:
//! - What was put is what the next get finds, whoever puts and gets, wherever.
//! - [`Bucket::swap`] puts a value only if the entry still is what was found, so of two who try one is told no. Counters are made
//!   of it here, and so are true however many count at a time: nothing is counted twice, and nothing is lost.
//! - A counter is its decimal digits, so that who gets it can read it.
//! - Nothing blocks. The futures are polled on the guests' threads: whoever does real I/O spawns it elsewhere.
//!
//! The drafts differ in what a counter may be (without a sign, or with one), in what a page of keys goes on from, and in that the
//! second has handles for compare-and-swap. Operations on several keys are as many operations, as the drafts allow.

mod draft;
mod draft2;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use wasmtime::component::{HasData, Linker, ResourceTable};

use crate::guest::Guest;
use crate::outside::Nowhere;

/// An answer on its way.
pub type Asking<T> = BoxFuture<'static, Result<T, BucketError>>;

/// The buckets that a container may open.
pub trait Buckets: Send + Sync + 'static {
    /// The bucket of this name.
    fn open(&self, name: String) -> Asking<Arc<dyn Bucket>>;
}

/// A bucket.
pub trait Bucket: Send + Sync + 'static {
    /// What there is of a key.
    fn get(&self, key: String) -> Asking<Found>;

    /// Puts a value, whatever was there.
    fn put(&self, key: String, value: Bytes) -> Asking<()>;

    /// Puts a value if nobody has touched the entry since it was found; says whether that was so.
    fn swap(&self, key: String, found: Version, value: Bytes) -> Asking<bool>;

    /// Takes a value away, if there is one.
    fn remove(&self, key: String) -> Asking<()>;

    /// All keys, in order.
    fn keys(&self) -> Asking<Vec<String>>;
}

/// What was found of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The value, if there is one.
    pub value: Option<Bytes>,
    /// The entry as it was then.
    pub version: Version,
}

/// One state of an entry, its absence included; what the number means is the bucket's affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub Option<u64>);

/// Why a bucket did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BucketError {
    /// There is no bucket of this name.
    #[error("no such bucket")]
    NoSuchBucket,
    /// It may not be used so.
    #[error("access denied")]
    Denied,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// A bucket that a guest has a handle on.
#[derive(Clone)]
#[expect(unreachable_pub, reason = "the bindings name it so")]
pub struct Opened(Arc<dyn Bucket>);

/// The part of a [`Guest`] that these interfaces need.
pub(crate) struct KeyValueView<'a> {
    pub(crate) buckets: &'a Arc<dyn Buckets>,
    pub(crate) table: &'a mut ResourceTable,
}

struct HasKeyValue;

impl HasData for HasKeyValue {
    type Data<'a> = KeyValueView<'a>;
}

/// Adds every interface of both drafts.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    draft::add_to_linker(linker)?;
    draft2::add_to_linker(linker)
}

/// Keys told at a time.
const PAGE_KEYS: usize = 1_000;
/// Entries of one call that are asked about at the same time.
const TOGETHER: usize = 16;
/// Of those who change an entry at the same time one goes on in each round, so this is more than ever meet at one.
const ROUNDS_MAX: u32 = 1_000;
/// Who lost a round waits, the longer the more were lost, so that many do not keep each other busy.
const PAUSE: Duration = Duration::from_millis(1);
const PAUSES_MAX: u32 = 20;

// === impl Nowhere ===

impl Buckets for Nowhere {
    fn open(&self, _: String) -> Asking<Arc<dyn Bucket>> {
        Box::pin(async { Err(BucketError::NoSuchBucket) })
    }
}

// === impl Opened ===

impl Opened {
    async fn get(&self, key: String) -> Result<Option<Vec<u8>>, BucketError> {
        Ok(self.0.get(key).await?.value.map(Vec::from))
    }

    async fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<(String, Vec<u8>)>>, BucketError> {
        let one = async |key: String| Ok(self.get(key.clone()).await?.map(|value| (key, value)));
        stream::iter(keys.into_iter().map(one)).buffered(TOGETHER).try_collect().await
    }

    async fn put_many(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), BucketError> {
        // One after the other: of a key that is there twice the last value is to stay.
        for (key, value) in entries {
            self.0.put(key, value.into()).await?;
        }
        Ok(())
    }

    async fn remove_many(&self, keys: Vec<String>) -> Result<(), BucketError> {
        let removed = stream::iter(keys.into_iter().map(|key| self.0.remove(key))).buffered(TOGETHER);
        removed.try_collect::<Vec<()>>().await.map(drop)
    }

    /// The number that `next` makes of the one that is there.
    async fn count<N: std::str::FromStr + ToString>(
        &self,
        key: String,
        next: impl Fn(Option<N>) -> Option<N>,
    ) -> Result<N, BucketError> {
        for round in 0..ROUNDS_MAX {
            let Found { value, version } = self.0.get(key.clone()).await?;
            let number = value.map(|value| number(&value)).transpose()?;
            let number = next(number).ok_or_else(|| BucketError::Other("the counter would overflow".to_owned()))?;
            if self.0.swap(key.clone(), version, number.to_string().into()).await? {
                return Ok(number);
            }
            tokio::time::sleep(PAUSE * round.min(PAUSES_MAX)).await;
        }
        Err(BucketError::Other("others were faster each time".to_owned()))
    }
}

fn number<N: std::str::FromStr>(value: &[u8]) -> Result<N, BucketError> {
    let text = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    text.ok_or_else(|| BucketError::Other("the value is not a counter".to_owned()))
}

/// What is on a page of `keys` that begins at `start`, and whether there are more.
fn page(keys: Vec<String>, start: usize) -> (Vec<String>, bool) {
    let more = keys.len() > start.saturating_add(PAGE_KEYS);
    (keys.into_iter().skip(start).take(PAGE_KEYS).collect(), more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    /// A bucket in memory, whose swaps lose as often as it is told.
    #[derive(Default)]
    struct Shelf {
        entries: Mutex<BTreeMap<String, (u64, Bytes)>>,
        unlucky: Mutex<u32>,
    }

    impl Bucket for Shelf {
        fn get(&self, key: String) -> Asking<Found> {
            let found = self.entries.lock().expect("alone").get(&key).cloned();
            let version = Version(found.as_ref().map(|(at, _)| *at));
            Box::pin(async move { Ok(Found { value: found.map(|(_, value)| value), version }) })
        }

        fn put(&self, key: String, value: Bytes) -> Asking<()> {
            let mut entries = self.entries.lock().expect("alone");
            let at = entries.get(&key).map_or(0, |(at, _)| at + 1);
            entries.insert(key, (at, value));
            Box::pin(async { Ok(()) })
        }

        fn swap(&self, key: String, found: Version, value: Bytes) -> Asking<bool> {
            let mut unlucky = self.unlucky.lock().expect("alone");
            if *unlucky > 0 {
                *unlucky -= 1;
                let now =
                    self.entries.lock().expect("alone").get(&key).map_or(0, |(_, value)| number(value).expect("it"));
                drop(self.put(key.clone(), (now + 1).to_string().into()));
            }
            let is_so = self.entries.lock().expect("alone").get(&key).map(|(at, _)| *at) == found.0;
            if is_so {
                drop(self.put(key, value));
            }
            Box::pin(async move { Ok(is_so) })
        }

        fn remove(&self, key: String) -> Asking<()> {
            self.entries.lock().expect("alone").remove(&key);
            Box::pin(async { Ok(()) })
        }

        fn keys(&self) -> Asking<Vec<String>> {
            let keys = self.entries.lock().expect("alone").keys().cloned().collect();
            Box::pin(async { Ok(keys) })
        }
    }

    fn check(there: Option<&str>, unlucky: u32, add: i64, expect: Result<i64, &str>) {
        let shelf = Shelf { unlucky: Mutex::new(unlucky), ..Shelf::default() };
        if let Some(there) = there {
            drop(shelf.put("n".into(), there.to_owned().into()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let bucket = Opened(Arc::new(shelf));
        let counting = bucket.count("n".into(), |n: Option<i64>| n.unwrap_or_default().checked_add(add));
        let counted = runtime.expect("a runtime").block_on(counting);
        assert_eq!(counted.map_err(|error| error.to_string()), expect.map_err(str::to_owned));
    }

    #[test]
    fn a_count_is_never_lost_to_another() {
        check(None, 0, 5, Ok(5));
        check(Some("37"), 0, 5, Ok(42));
        check(Some("37"), 3, 5, Ok(45));
        check(Some("-1"), 0, -1, Ok(-2));
        check(Some("nine"), 0, 1, Err("the value is not a counter"));
        check(Some(&i64::MAX.to_string()), 0, 1, Err("the counter would overflow"));
    }

    #[test]
    fn keys_come_in_pages() {
        let keys = |count: usize| (0..count).map(|n| format!("{n:05}")).collect::<Vec<_>>();
        assert_eq!(page(keys(3), 0), (keys(3), false));
        let (first, more) = page(keys(PAGE_KEYS + 1), 0);
        assert!(more && first.len() == PAGE_KEYS);
        assert_eq!(page(keys(PAGE_KEYS + 1), PAGE_KEYS).0, [format!("{PAGE_KEYS:05}")]);
        assert_eq!(page(keys(1), usize::MAX), (Vec::new(), false));
    }
}
