//! The level of a cluster: what its servers write and say to each other, as far as versions differ in that.
//!
//! A version speaks two levels, its own and the one before, so that servers of two adjacent versions are one cluster while the one takes
//! the place of the other. What only the newer reads is written, and said, where its level is in force. That is told in the world, with
//! what each server speaks: whoever leads raises it, in one transaction, when every server speaks the next; so it is raised for all of
//! them at one revision. It is never lowered, because what was written at a level is read by nobody below it. A server that does not
//! speak the level in force does not start, and is not let in.
//!
//! To give a change of a format a level: add its number below, raise [`Levels::OWN`], and ask [`in_force`] before writing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use k8s_openapi::api::core::v1::ConfigMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Key, Object, kinds};

/// Where it is told: a config map, which only servers write.
pub const NAMESPACE: &str = "kube-system";
/// Its name.
pub const NAME: &str = "coracle-level";

/// What those speak who do not say, because they are from before there were levels; and what is in force where nothing is told.
pub const FIRST: u32 = 1;
/// A world that is sent to a server is deflated.
pub const DEFLATED_WORLDS: u32 = 2;

/// The entry with the level in force,
const LEVEL: &str = "level";
/// and the one with what each server speaks.
const SERVERS: &str = "servers.json";

// Whoever no longer speaks the first has to tell an empty world from one that was never told a level.
const _: () = assert!(Levels::OWN.lowest == FIRST, "a world that tells no level is at the first");

/// The levels that somebody speaks: these and all between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// Below it he does not read what is written.
    pub lowest: u32,
    /// Above it neither.
    pub highest: u32,
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The version of its program.
    pub version: String,
    /// What it speaks.
    #[serde(flatten)]
    pub levels: Levels,
}

/// What is told: the level in force, and of each server, by its number, what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The level in force.
    pub level: u32,
    /// Who has said what.
    pub servers: BTreeMap<String, Told>,
}

/// Somebody does not speak the level in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// He is from before.
    #[error(
        "the cluster is at level {in_force}, and this program speaks {levels}: start a version that speaks level {in_force}, or let this \
         one if --level-max holds it back; a level is not lowered, because nobody below it reads what was written at it"
    )]
    Older {
        /// What the cluster is at.
        in_force: u32,
        /// What he speaks.
        levels: Levels,
    },
    /// He is from too long after.
    #[error(
        "the cluster is at level {in_force}, and this program speaks {levels}: first bring every server to a version that speaks both \
         level {in_force} and level {next}", next = .in_force + 1
    )]
    Newer {
        /// What the cluster is at.
        in_force: u32,
        /// What he speaks.
        levels: Levels,
    },
}

/// What tells the level in force is there, and says nothing that can be understood: it is not what servers write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "config map {NAMESPACE}/{NAME} does not say at which level the cluster is: servers write it, and it is not what they wrote; a level \
     that is not known is not guessed, so bring the config map or a snapshot back"
)]
pub struct Unreadable;

/// The object that tells.
pub fn key() -> Key {
    kinds::CONFIG_MAP.key(NAMESPACE, NAME)
}

/// The level in force, as the object tells; the first where there is none.
pub fn in_force(told: Option<&Object>) -> Result<u32, Unreadable> {
    told.map_or(Ok(FIRST), |object| Standing::read(object).map(|standing| standing.level))
}

// === impl Levels ===

impl Levels {
    /// What this version speaks.
    pub const OWN: Self = Self { lowest: FIRST, highest: DEFLATED_WORLDS };
    /// What those speak who do not say.
    pub const UNTOLD: Self = Self { lowest: FIRST, highest: FIRST };

    /// What this version speaks when it is to go no further.
    pub fn up_to(highest: u32) -> Option<Self> {
        let is_spoken = (Self::OWN.lowest..=Self::OWN.highest).contains(&highest);
        is_spoken.then_some(Self { highest, ..Self::OWN })
    }

    /// Whether somebody who speaks these may be a server of a cluster at this level.
    pub fn check(self, in_force: u32) -> Result<(), Foreign> {
        match self {
            levels if levels.highest < in_force => Err(Foreign::Older { in_force, levels }),
            levels if levels.lowest > in_force => Err(Foreign::Newer { in_force, levels }),
            _ => Ok(()),
        }
    }

    /// Whether somebody who speaks these may be a node of it: servers go first, and nodes may be one level behind them.
    pub fn check_node(self, in_force: u32) -> Result<(), Foreign> {
        match self.check(in_force) {
            Err(Foreign::Older { .. }) if self.highest + 1 == in_force => Ok(()),
            checked => checked,
        }
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lowest == self.highest {
            write!(f, "{}", self.lowest)
        } else {
            write!(f, "{}-{}", self.lowest, self.highest)
        }
    }
}

/// As it is shown.
impl FromStr for Levels {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (lowest, highest) = text.split_once('-').unwrap_or((text, text));
        match (lowest.parse(), highest.parse()) {
            (Ok(lowest), Ok(highest)) if lowest <= highest => Ok(Self { lowest, highest }),
            _ => Err("levels are a number, or two with a dash between"),
        }
    }
}

// === impl Standing ===

impl Standing {
    /// What an object tells, if it is to be read.
    pub fn read(object: &Object) -> Result<Self, Unreadable> {
        let map = object.decode::<ConfigMap>().map_err(|_| Unreadable)?;
        let data = map.data.as_ref().ok_or(Unreadable)?;
        let servers = data.get(SERVERS).map_or(Ok(BTreeMap::new()), |text| serde_json::from_str(text));
        let level = data.get(LEVEL).and_then(|level| level.parse().ok()).ok_or(Unreadable)?;
        Ok(Self { level, servers: servers.map_err(|_| Unreadable)? })
    }

    /// The entries of the object that tells it.
    pub fn data(&self) -> Value {
        json!({LEVEL: self.level.to_string(), SERVERS: json!(self.servers).to_string()})
    }

    /// What is to be told next, if that is anything else: that `me`, one of `all`, speaks what it says; and where it leads, a higher level
    /// when all of them speak it.
    pub fn after(&self, me: &str, told: &Told, all: &BTreeSet<String>, leads: bool) -> Option<Self> {
        let mut next = self.clone();
        if all.contains(me) {
            next.servers.insert(me.to_owned(), told.clone());
        }
        if leads {
            next.servers.retain(|server, _| all.contains(server));
            next.level = next.level.max(next.spoken_by(all).unwrap_or(FIRST));
        }
        (next != *self).then_some(next)
    }

    /// The highest level that all of these speak, if all have said.
    fn spoken_by(&self, all: &BTreeSet<String>) -> Option<u32> {
        let spoken = all.iter().map(|server| Some(self.servers.get(server)?.levels.highest));
        spoken.collect::<Option<Vec<u32>>>()?.into_iter().min()
    }
}

impl Default for Standing {
    fn default() -> Self {
        Self { level: FIRST, servers: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn levels(lowest: u32, highest: u32) -> Levels {
        Levels { lowest, highest }
    }

    fn told(highest: u32) -> Told {
        Told { version: format!("0.{highest}.0"), levels: levels((highest - 1).max(1), highest) }
    }

    fn all(names: &str) -> BTreeSet<String> {
        names.split_whitespace().map(String::from).collect()
    }

    /// `a1 b2` at a level: server `a` speaks up to 1, `b` up to 2.
    fn standing(level: u32, servers: &str) -> Standing {
        let server = |word: &str| {
            let (name, highest) = word.split_at(1);
            (name.to_owned(), told(highest.parse().expect("a level")))
        };
        Standing { level, servers: servers.split_whitespace().map(server).collect() }
    }

    #[test]
    fn it_is_raised_when_all_speak_it_and_by_whoever_leads() {
        let check = |before: &Standing, me, highest, leads, after: Option<Standing>| {
            assert_eq!(before.after(me, &told(highest), &all("a b c"), leads), after, "{before:?} {me}");
        };
        let old = standing(1, "a1 b1 c1");
        check(&old, "a", 1, true, None);
        check(&old, "a", 2, true, Some(standing(1, "a2 b1 c1")));
        check(&standing(1, "a2 b2 c1"), "c", 2, false, Some(standing(1, "a2 b2 c2")));
        check(&standing(1, "a2 b2 c2"), "c", 2, false, None);
        check(&standing(1, "a2 b2 c2"), "a", 2, true, Some(standing(2, "a2 b2 c2")));
        // Who has said nothing may be from before there were levels.
        check(&standing(1, "a2 b2"), "a", 2, true, None);
        // One that was removed has no say; one that is not let in yet has none either.
        check(&standing(1, "a2 b2 c2 d1"), "a", 2, true, Some(standing(2, "a2 b2 c2")));
        check(&old, "d", 2, false, None);
        // Whoever is alone is where his program is.
        assert_eq!(Standing::default().after("a", &told(2), &all("a"), true), Some(standing(2, "a2")));
    }

    #[test]
    fn who_does_not_speak_it_is_told_what_to_do() {
        let check = |levels: Levels, in_force, server: &str, node: &str| {
            let words =
                |checked: Result<(), Foreign>| checked.map_or_else(|foreign| foreign.to_string(), |()| "yes".into());
            let (as_server, as_node) = (words(levels.check(in_force)), words(levels.check_node(in_force)));
            assert!(
                as_server.contains(server) && as_node.contains(node),
                "{levels} at {in_force}: {as_server}; {as_node}"
            );
        };
        check(levels(1, 2), 1, "yes", "yes");
        check(levels(1, 2), 2, "yes", "yes");
        check(levels(1, 1), 2, "at level 2, and this program speaks 1: start a version that speaks level 2", "yes");
        check(levels(1, 2), 4, "speaks 1-2: start a version that speaks level 4", "speaks 1-2: start");
        check(levels(2, 3), 1, "bring every server to a version that speaks both level 1 and level 2", "first bring");
    }

    #[test]
    fn levels_are_read_as_they_are_shown() {
        for levels in [levels(1, 1), levels(1, 2), levels(41, 42)] {
            assert_eq!(levels.to_string().parse(), Ok(levels));
        }
        for wrong in ["", "2-1", "1-", "x"] {
            assert!(wrong.parse::<Levels>().is_err(), "{wrong}");
        }
    }

    /// The config map's entries, as every version reads them.
    #[test]
    fn what_is_told_is_as_it_is_everywhere() {
        let standing = standing(1, "a1 b2");
        let text = r#"{"level":"1","servers.json":"{\"a\":{\"highest\":1,\"lowest\":1,\"version\":\"0.1.0\"},\"b\":{\"highest\":2,\"lowest\":1,\"version\":\"0.2.0\"}}"}"#;
        assert_eq!(standing.data().to_string(), text);
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE},
            "data": standing.data()});
        let object = Object::from_value(kinds::CONFIG_MAP, &object).expect("a config map");
        assert_eq!((Standing::read(&object), in_force(Some(&object))), (Ok(standing), Ok(1)));
        assert_eq!(in_force(None), Ok(FIRST));
    }

    #[test]
    fn a_level_that_cannot_be_read_is_not_taken_for_the_first() {
        let check = |data: Value| {
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE}, "data": data});
            let object = Object::from_value(kinds::CONFIG_MAP, &map).expect("a config map");
            assert_eq!(in_force(Some(&object)), Err(Unreadable), "{data}");
        };
        check(json!(null));
        check(json!({}));
        check(json!({SERVERS: "{}"}));
        check(json!({LEVEL: "two", SERVERS: "{}"}));
        check(json!({LEVEL: "2", SERVERS: "nobody"}));
    }

    proptest! {
        /// Servers come, go, and change their versions one after the other in any order, each only if it speaks the level then in force.
        /// It is never lowered, and nobody who stays as he is is put out: only one who comes back as less than he last said may find that
        /// it was raised meanwhile, and ends.
        #[test]
        fn nobody_who_stays_as_he_is_is_put_out(happenings in prop::collection::vec((0..4_usize, 0..5_u32), 0..40)) {
            let names = ["a", "b", "c", "d"];
            let mut there: BTreeMap<&str, u32> = BTreeMap::from([("a", 1)]);
            let mut world = Standing::default();
            for (place, highest) in happenings {
                let before = world.level;
                match highest {
                    0 if there.len() > 1 => drop(there.remove(names[place])),
                    0 => {}
                    highest if told(highest).levels.check(world.level).is_ok() => drop(there.insert(names[place], highest)),
                    _ => {}
                }
                let members: BTreeSet<String> = there.keys().map(ToString::to_string).collect();
                // Everybody looks in turn, and the first of them leads.
                for (at, (name, highest)) in there.iter().enumerate() {
                    if told(*highest).levels.check(world.level).is_ok() {
                        world = world.after(name, &told(*highest), &members, at == 0).unwrap_or(world);
                    }
                }
                prop_assert!(world.level >= before);
                let out = there.extract_if(.., |_, highest| told(*highest).levels.check(world.level).is_err());
                let out: Vec<_> = out.collect();
                prop_assert!(out.iter().all(|(name, _)| *name == names[place]), "{out:?} of {there:?} at {}", world.level);
            }
        }
    }
}
