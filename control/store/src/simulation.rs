//! The store on a simulated machine: its time, its disks and its network are values, and one seed replays all of it.
//!
//! What runs is the store itself, with Raft's library, the segment log, the image in redb and every byte that members send each
//! other. What is simulated lies below: an [executor](executor) whose clock only moves when nothing else can, a [disk](disk) that
//! loses what was not synced, and a [network](net) that delays, cuts and breaks connections.

pub(crate) mod disk;
pub(crate) mod executor;
pub(crate) mod random;
pub(crate) mod runtime;

#[cfg(test)]
mod catalogue;
pub(crate) mod check;
mod flips;
mod images;
pub(crate) mod net;
mod promise;
mod proofs;
mod refills;
mod stage;
mod story;
mod tests;

use api::{Object, kinds};

use crate::{Config, ImageLimits, LogLimits, Pace};

/// A store with little room, so that everything that fills up does so soon.
fn settings() -> Config {
    Config {
        log: LogLimits { segment_bytes: 6 << 10, memory_bytes_max: 2 << 10, kept_bytes: 1 << 20, kept_entries: 24 },
        image: ImageLimits {
            delay: std::time::Duration::from_millis(15),
            cache_bytes: 256 << 10,
            ..ImageLimits::default()
        },
        pace: Pace::CLUSTER,
        ..Config::new("/store")
    }
}

fn object(name: &str, value: u64) -> Object {
    let value = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n", "uid": name},
        "data": {"value": value.to_string()}});
    Object::from_value(kinds::CONFIG_MAP, &value).expect("a config map")
}

fn value(object: &Object) -> u64 {
    let found: serde_json::Value = serde_json::from_slice(object.body()).expect("JSON");
    found["data"]["value"].as_str().and_then(|value| value.parse().ok()).expect("a number")
}

/// A number from the environment.
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}
