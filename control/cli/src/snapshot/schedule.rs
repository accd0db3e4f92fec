//! When snapshots are taken by themselves, how many are kept, and where: an object of the cluster, so that all servers see the same.
//!
//! It is the config map `coracle-snapshots` of the namespace `kube-system`; its annotations tell when the last one was begun, and what
//! became of it. Whoever begins one says so there first, on condition that nobody else has: so of several servers one takes it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use api::{Key, Object, kinds};
use clap::ValueEnum;
use client::PatchType;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::place::Place;
use crate::args::{SetSchedule, Volumes, WantedSchedule};
use crate::get::aligned;
use crate::{access, durations};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "coracle-snapshots";
/// When one was begun.
pub(super) const BEGUN: &str = "coracle.dev/snapshot-begun";
/// What the last is called.
pub(super) const LAST: &str = "coracle.dev/snapshot-last";
/// Why there is none since.
pub(super) const TROUBLE: &str = "coracle.dev/snapshot-trouble";
/// Of which claims what was in their volumes is not in it.
pub(super) const LEFT: &str = "coracle.dev/snapshot-left";
const NEVER: &str = "never";
/// What may be said beside what is usual: where it is not said, a server of the version before finds nothing that it does not know.
const VOLUMES: &str = "volumes";
/// Whoever wants them more often wants another server.
const EVERY_MIN: Duration = Duration::from_secs(1);
/// A leader has enough to do: another server has so long to begin before it does so itself.
const LEADER_WAITS: SignedDuration = SignedDuration::from_secs(20);

/// What is to be done by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    /// None are taken if nothing is said.
    pub(super) every: Option<Duration>,
    pub(super) keep: usize,
    pub(super) to: Place,
    pub(super) images: bool,
    pub(super) volumes: Volumes,
}

/// What a server is to the one that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It leads others.
    Leader,
    /// It does not lead, or has nobody to lead.
    Other,
}

/// What a server of a new cluster does when nobody says anything.
pub(super) fn usual() -> BTreeMap<String, String> {
    [("every", "5m"), ("keep", "12"), ("to", "snapshots"), ("images", "false")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

pub(super) fn key() -> Key {
    kinds::CONFIG_MAP.key(NAMESPACE, NAME)
}

/// The config map that says this.
pub(super) fn object(data: &BTreeMap<String, String>) -> anyhow::Result<Object> {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE}, "data": data,
    });
    Ok(Object::from_tree(kinds::CONFIG_MAP, map)?)
}

/// Shows the schedule, or changes it.
pub(super) async fn run(args: &SetSchedule) -> anyhow::Result<()> {
    let client = access::cluster(&args.access)?.client;
    let wanted = words(&args.wanted())?;
    let found = match client.get(&key()).await {
        Ok(found) => Some(found),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    let found = match (found, wanted.is_empty()) {
        (found, true) => found,
        (Some(_), false) => Some(client.patch(&key(), PatchType::Merge, &json!({"data": wanted})).await?),
        (None, false) => {
            let mut data = usual();
            data.extend(wanted);
            Some(client.create(&object(&data)?).await?)
        }
    };
    let Some(found) = found else {
        println!("no snapshots are taken by themselves; `coracle snapshot schedule --every 5m` says otherwise");
        return Ok(());
    };
    let map = found.decode::<ConfigMap>()?;
    let mut lines: Vec<Vec<String>> = Vec::new();
    for (name, value) in map.data.iter().flatten() {
        lines.push(vec![name.clone(), value.clone()]);
    }
    let noted = map.metadata.annotations.clone().unwrap_or_default();
    for (name, annotation) in [("begun", BEGUN), ("last", LAST), ("without", LEFT), ("trouble", TROUBLE)] {
        lines.extend(noted.get(annotation).map(|value| vec![name.to_owned(), value.clone()]));
    }
    print!("{}", aligned(&lines));
    Ok(())
}

/// What is wanted, in the words of the config map; what is wrong is refused here.
pub(super) fn words(wanted: &WantedSchedule) -> anyhow::Result<BTreeMap<String, String>> {
    let said = [
        ("every", wanted.every.clone()),
        ("keep", wanted.keep.map(|keep| keep.to_string())),
        ("to", wanted.to.clone()),
        ("images", wanted.images.map(|images| images.to_string())),
        (VOLUMES, wanted.volumes.map(|volumes| volumes.word().to_owned())),
    ];
    let said: BTreeMap<String, String> =
        said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let mut all = usual();
    all.extend(said.clone());
    Schedule::of(&all)?;
    Ok(said)
}

// === impl Schedule ===

impl Schedule {
    pub(super) fn read(object: &Object) -> anyhow::Result<Self> {
        let map = object.decode::<ConfigMap>()?;
        let mut data = usual();
        data.extend(map.data.clone().unwrap_or_default());
        Self::of(&data)
    }

    fn of(data: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        if let Some(unknown) = data.keys().find(|name| *name != VOLUMES && !usual().contains_key(*name)) {
            bail!("{unknown}: not a word of the schedule of snapshots");
        }
        let every = match data["every"].as_str() {
            NEVER => None,
            text => Some(durations::parse(text).context("every")?),
        };
        if every.is_some_and(|every| every < EVERY_MIN) {
            bail!("every: at least {} s, or {NEVER}", EVERY_MIN.as_secs());
        }
        let keep = data["keep"].parse().ok().filter(|keep| *keep > 0);
        let keep = keep.with_context(|| format!("keep: {:?} is not a number above nought", data["keep"]))?;
        let images = data["images"].parse().ok();
        let images = images.with_context(|| format!("images: {:?} is not true or false", data["images"]))?;
        let volumes = data.get(VOLUMES).map_or(Ok(Volumes::None), |word| Volumes::from_str(word, false));
        let volumes =
            volumes.map_err(|_| anyhow::anyhow!("{VOLUMES}: {:?} is not none, all or available", data[VOLUMES]))?;
        Ok(Self { every, keep, to: data["to"].parse().context("to")?, images, volumes })
    }

    /// How long it is until this server is to begin one; nothing if never.
    pub(super) fn wait(&self, last: Timestamp, standing: Standing, now: Timestamp) -> Option<SignedDuration> {
        let every = SignedDuration::try_from(self.every?).unwrap_or(SignedDuration::MAX);
        let waits = if standing == Standing::Leader { LEADER_WAITS } else { SignedDuration::ZERO };
        let due = every.saturating_add(waits);
        Some(due.saturating_sub(now.duration_since(last)).max(SignedDuration::ZERO))
    }

    /// Those of a cluster's snapshots that are too many, the oldest of them; names are sorted as times are.
    pub(super) fn surplus<'a>(&self, names: &'a [String], cluster: &str) -> &'a [String] {
        let first = names.partition_point(|name| name.as_str() < cluster);
        let own = names[first..].iter().take_while(|name| name.starts_with(cluster)).count();
        &names[first..first + own.saturating_sub(self.keep)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(words: &[(&str, &str)]) -> anyhow::Result<Schedule> {
        let mut data = usual();
        data.extend(words.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Schedule::of(&data)
    }

    #[test]
    fn what_is_wrong_is_refused_by_name() {
        assert!(schedule(&[]).is_ok());
        for (name, value, why) in [
            ("every", "soon", "every"),
            ("every", "10ms", "every: at least 1 s, or never"),
            ("keep", "0", "keep: \"0\" is not a number above nought"),
            ("to", "http://x", "to"),
            ("images", "some", "images: \"some\" is not true or false"),
            ("volumes", "some", "volumes: \"some\" is not none, all or available"),
            ("often", "yes", "often: not a word of the schedule of snapshots"),
        ] {
            let refused = schedule(&[(name, value)]).expect_err("refused").to_string();
            assert_eq!(refused, why);
        }
    }

    #[test]
    fn the_leader_lets_others_go_first() {
        let (last, now) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(60).expect("a time"));
        let wait = |every: &str, standing| {
            schedule(&[("every", every)]).expect("a schedule").wait(last, standing, now).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("5m", Standing::Other), Some(240));
        assert_eq!(wait("5m", Standing::Leader), Some(260));
        assert_eq!(wait("30s", Standing::Other), Some(0));
        assert_eq!(wait("never", Standing::Other), None);
    }

    #[test]
    fn the_oldest_of_ones_own_go() {
        let names = ["coracle-a-1", "coracle-b-1", "coracle-b-2", "coracle-b-3", "coracle-c-1"].map(str::to_owned);
        let surplus =
            |keep: &str| schedule(&[("keep", keep)]).expect("a schedule").surplus(&names, "coracle-b-").to_vec();
        assert_eq!(surplus("2"), ["coracle-b-1"]);
        assert_eq!(surplus("1"), ["coracle-b-1", "coracle-b-2"]);
        assert_eq!(surplus("3"), Vec::<String>::new());
    }
}
