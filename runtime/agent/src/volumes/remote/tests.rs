//! Stories of mirrors and one store, and a property of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;

use super::mirror::{Mirror, What};
use super::store::{Store, Trouble, WHOLE_BYTES_MAX};
use futures::TryStreamExt;

const CAPACITY: u64 = 1 << 30;

/// A store, and nodes with a mirror of the same volume each.
struct World {
    objects: Arc<InMemory>,
    nodes: Vec<(tempfile::TempDir, Mirror)>,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn new(nodes: usize) -> Self {
        let objects = Arc::new(InMemory::new());
        let open = |_| {
            let directory = tempfile::tempdir().expect("a directory");
            let mirror = mirror(directory.path(), &objects);
            (directory, mirror)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { nodes: (0..nodes).map(open).collect(), objects, runtime }
    }

    fn file(&self, node: usize, name: &str) -> std::path::PathBuf {
        self.nodes[node].0.path().join("files").join(name)
    }

    fn write(&self, node: usize, name: &str, text: &str) {
        let path = self.file(node, name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    fn remove(&self, node: usize, name: &str) {
        let _ = std::fs::remove_file(self.file(node, name));
    }

    fn bring(&self, node: usize) -> Result<Vec<String>, Trouble> {
        self.runtime.block_on(self.nodes[node].1.bring(true, CAPACITY))
    }

    fn read_only(&self, node: usize) -> Result<Vec<String>, Trouble> {
        self.runtime.block_on(self.nodes[node].1.bring(false, CAPACITY))
    }

    fn save(&self, node: usize, what: What) -> Result<Vec<String>, Trouble> {
        self.runtime.block_on(self.nodes[node].1.save(what))
    }

    fn saved(&self, node: usize) {
        assert_eq!(self.save(node, What::Everything), Ok(Vec::new()));
    }

    /// The agent of a node ends at once, and begins again.
    fn crash(&mut self, node: usize) {
        self.nodes[node].1 = mirror(self.nodes[node].0.path(), &self.objects);
    }

    fn put(&self, name: &str, text: &str) {
        let key = object_store::path::Path::parse(format!("p/{name}")).expect("a key");
        self.runtime.block_on(self.objects.put(&key, text.to_owned().into())).expect("stored");
    }

    fn stored(&self) -> BTreeMap<String, String> {
        self.runtime.block_on(async {
            let all: Vec<_> = self.objects.list(None).try_collect().await.expect("a list");
            let mut found = BTreeMap::new();
            for object in all {
                let got = self.objects.get(&object.location).await.expect("there").bytes().await.expect("read");
                let name = object.location.as_ref().trim_start_matches("p/").to_owned();
                found.insert(name, String::from_utf8_lossy(&got).into_owned());
            }
            found
        })
    }

    fn files(&self, node: usize) -> BTreeMap<String, String> {
        let root = self.nodes[node].0.path().join("files");
        let mut found = BTreeMap::new();
        let mut directories = vec![root.clone()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
                if entry.path().is_dir() {
                    directories.push(entry.path());
                } else {
                    let name = entry.path().strip_prefix(&root).expect("below").display().to_string();
                    found.insert(name, std::fs::read_to_string(entry.path()).expect("text"));
                }
            }
        }
        found
    }

    fn check(&self, node: usize, expected: &str) {
        let told = |found: BTreeMap<String, String>| {
            found.into_iter().map(|(name, text)| format!("{name}={text}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(told(self.files(node)), expected, "files of node {node}");
        assert_eq!(told(self.stored()), expected, "objects");
    }
}

fn mirror(directory: &Path, objects: &Arc<InMemory>) -> Mirror {
    Mirror::open(directory.to_owned(), Store::of(objects.clone(), "p")).expect("a mirror")
}

#[test]
fn what_one_node_wrote_another_reads_after_it() {
    let world = World::new(2);
    world.put("old", "0");
    world.bring(0).expect("brought");
    world.check(0, "old=0");
    world.write(0, "a", "1");
    world.write(0, "d/e/b", "2");
    world.remove(0, "old");
    world.saved(0);
    world.bring(1).expect("brought");
    world.check(1, "a=1 d/e/b=2");
    world.remove(1, "d/e/b");
    world.write(1, "a", "3");
    world.saved(1);
    world.bring(0).expect("brought");
    world.check(0, "a=3");
    assert!(!world.file(0, "d").exists(), "empty directories go with what was in them");
}

#[test]
fn what_was_not_uploaded_is_after_a_crash() {
    let mut world = World::new(1);
    world.write(0, "a", "1");
    world.write(0, "b", "1");
    world.saved(0);
    world.write(0, "a", "2");
    world.remove(0, "b");
    world.crash(0);
    world.bring(0).expect("brought");
    world.check(0, "a=2");
}

#[test]
fn an_upload_that_was_not_noted_is_no_conflict() {
    let mut world = World::new(1);
    world.write(0, "a", "1");
    world.saved(0);
    let index = world.nodes[0].0.path().join("index.json");
    let before = std::fs::read(&index).expect("an index");
    world.write(0, "a", "2");
    world.saved(0);
    std::fs::write(&index, before).expect("as if it had not been noted");
    world.crash(0);
    assert_eq!(world.bring(0), Ok(Vec::new()));
    world.check(0, "a=2");
}

#[test]
fn what_somebody_else_stored_is_not_overwritten() {
    let world = World::new(1);
    world.write(0, "a", "1");
    world.write(0, "gone", "1");
    world.write(0, "kept", "1");
    world.saved(0);
    world.put("a", "theirs");
    world.put("kept", "theirs");
    world.write(0, "a", "ours");
    world.remove(0, "kept");
    let told = world.save(0, What::Everything).expect("saved").join("\n");
    assert!(
        told.contains("a was changed in the store by somebody else; what was written here is in a.conflict-"),
        "{told}"
    );
    assert!(told.contains("kept was changed in the store since it was read, and is not deleted"), "{told}");
    let aside = world.stored().into_keys().find(|name| name.starts_with("a.conflict-")).expect("ours");
    world.check(0, &format!("a=theirs {aside}=ours gone=1 kept=theirs"));
    world.saved(0);
}

#[test]
fn a_reader_uploads_nothing() {
    let world = World::new(1);
    world.put("a", "1");
    world.write(0, "mine", "1");
    world.read_only(0).expect("brought");
    assert_eq!(world.stored().len(), 1);
    assert_eq!(world.files(0).len(), 2);
}

#[test]
fn what_is_still_written_to_waits() {
    let world = World::new(1);
    world.write(0, "a", "1");
    assert_eq!(world.save(0, What::Quiet), Ok(Vec::new()));
    assert_eq!(world.stored().len(), 0);
    world.save(0, What::One("a".into())).expect("saved");
    world.check(0, "a=1");
}

#[test]
fn what_no_object_can_be_called_is_told() {
    let world = World::new(1);
    world.write(0, "two\nlines", "1");
    world.saved(0);
    let told = world.save(0, What::Last).expect("saved");
    assert_eq!(told, ["no object can be called \"two\\nlines\": not stored"]);
}

#[test]
fn a_volume_that_holds_more_than_it_may_is_not_mounted() {
    let world = World::new(1);
    world.put("a", "12345");
    let refused = world.runtime.block_on(world.nodes[0].1.bring(true, 4)).expect_err("too much");
    assert_eq!(refused.to_string(), "the volume holds 5 bytes, which is more than its capacity of 4");
    assert_eq!(world.files(0).len(), 0);
}

#[test]
fn a_large_file_goes_in_parts_and_not_over_another_version() {
    let world = World::new(2);
    let large = |byte: &str| byte.repeat(usize::try_from(WHOLE_BYTES_MAX).expect("it fits") + 1);
    world.write(0, "a", &large("1"));
    world.saved(0);
    world.bring(1).expect("brought");
    world.write(1, "a", &large("2"));
    world.saved(1);
    world.write(0, "a", &large("3"));
    assert_eq!(world.save(0, What::Everything).expect("saved").len(), 1);
    assert!(world.stored()["a"].starts_with('2') && world.stored().len() == 2);
}

/// Something that happens on one of two nodes to one of a few files.
#[derive(Clone, Debug)]
enum Act {
    Write(usize, &'static str),
    Remove(usize, &'static str),
    Bring(usize),
    Save(usize),
    Crash(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let (node, name) = (0_usize..2, prop_oneof![Just("a"), Just("b"), Just("d/c")]);
    let act = prop_oneof![
        4 => (node.clone(), name.clone()).prop_map(|(node, name)| Act::Write(node, name)),
        1 => (node.clone(), name).prop_map(|(node, name)| Act::Remove(node, name)),
        2 => node.clone().prop_map(Act::Bring),
        2 => node.clone().prop_map(Act::Save),
        1 => node.prop_map(Act::Crash),
    ];
    proptest::collection::vec(act, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However two nodes come into each other's way: what anybody wrote is in the store in the end, unless somebody who had it
    /// before him wrote over it or removed it; and both then see the same.
    #[test]
    fn nothing_that_was_written_is_lost(acts in acts()) {
        let mut world = World::new(2);
        let (mut written, mut given_up) = (BTreeSet::new(), BTreeSet::new());
        for (turn, act) in acts.iter().enumerate() {
            let mut give_up = |world: &World, node: usize, name: &str| {
                given_up.extend(std::fs::read_to_string(world.file(node, name)).ok());
            };
            match act {
                Act::Write(node, name) => {
                    give_up(&world, *node, name);
                    world.write(*node, name, &turn.to_string());
                    written.insert(turn.to_string());
                }
                Act::Remove(node, name) => {
                    give_up(&world, *node, name);
                    world.remove(*node, name);
                }
                Act::Bring(node) => drop(world.bring(*node).expect("brought")),
                Act::Save(node) => drop(world.save(*node, What::Everything).expect("saved")),
                Act::Crash(node) => world.crash(*node),
            }
        }
        for node in [0, 1, 0, 1] {
            world.bring(node).expect("brought");
        }
        let stored = world.stored();
        let there: BTreeSet<String> = stored.values().cloned().collect();
        let lost: Vec<&String> = written.difference(&given_up).filter(|text| !there.contains(*text)).collect();
        prop_assert!(lost.is_empty(), "lost {:?} of {:?}: {:?}", lost, acts, stored);
        prop_assert_eq!(world.files(0), stored.clone());
        prop_assert_eq!(world.files(1), stored);
    }
}
