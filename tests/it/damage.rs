//! A server whose files are not what was written: the others fill it anew, and one that is alone says so and keeps everything.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use harness::{Servers, eventually};

use crate::PROGRAM;

/// Where in a file bytes are turned, and how many: behind the header of a log, and in many pages of an image.
const TURNED: std::ops::Range<usize> = 64..40_000;

fn store(servers: &Servers, place: usize) -> PathBuf {
    servers.data(place).join("store")
}

/// Turns bits of a file.
fn damage(file: &Path) {
    turn(file, TURNED);
}

fn turn(file: &Path, turned: std::ops::Range<usize>) {
    let mut bytes = fs::read(file).expect("a file");
    let end = turned.end.min(bytes.len());
    bytes[turned.start..end].iter_mut().for_each(|byte| *byte ^= 0x10);
    fs::write(file, bytes).expect("it is written");
}

/// The files of a log, and what is in them.
fn log(store: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(store.join("log")).expect("a log").map(|entry| entry.expect("an entry").path());
    files.map(|path| (path.clone(), fs::read(path).expect("a file"))).collect()
}

fn damage_all(store: &Path) {
    damage(&store.join("image.redb"));
    for file in log(store).keys() {
        damage(file);
    }
}

/// Has a server make a config map, whatever it says the first time.
fn create(servers: &Servers, place: usize, name: &str) {
    let text = format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, namespace: default}}}}");
    let file = servers.folder().join(format!("{name}.yaml"));
    fs::write(&file, text).expect("a file");
    let file = file.display().to_string();
    eventually(60, || {
        let told = servers.coracle(place, &["apply", "-f", &file]);
        if told.code == 0 { Ok(()) } else { Err(format!("{told:?}")) }
    });
}

#[test]
fn a_damaged_server_is_filled_anew_by_the_others() {
    let mut servers = Servers::alone(PROGRAM, 3);
    create(&servers, 0, "before");
    // The one that founded the cluster: it must not found another.
    let old = servers.id(0);
    servers.kill(0);
    create(&servers, 1, "meanwhile");
    let store = store(&servers, 0);
    damage_all(&store);
    servers.start(0);
    servers.settled(3);
    assert_ne!(servers.id(0), old, "it may have forgotten what it promised");
    assert!(servers.told(0).iter().all(|told| told.id != old));
    let aside = store.join(format!("damaged-{old}"));
    assert!(aside.join("image.redb").exists() && !log(&aside).is_empty(), "nothing is deleted");
    // It counts: it and one other are enough.
    servers.kill(2);
    create(&servers, 0, "after");
    for name in ["before", "meanwhile", "after"] {
        let told = servers.coracle(0, &["get", "configmap", name]).ok();
        assert!(told.contains(name), "{told}");
    }
    // Whoever starts again is who it is by now.
    let new = servers.id(0);
    servers.kill(0);
    servers.start_all(&[0, 2]);
    servers.settled(3);
    assert_eq!(servers.id(0), new);
}

#[test]
fn a_server_that_finds_damage_while_it_runs_ends_and_is_filled_anew_when_it_is_back() {
    let mut servers = Servers::alone(PROGRAM, 3);
    servers.kill(2);
    for name in ["one", "two", "three"] {
        create(&servers, 0, name);
    }
    // What a server that was started again sends to others it reads from its disk.
    servers.kill(0);
    servers.start(0);
    eventually(60, || match servers.leader() {
        0 => Ok(()),
        _ => Err(format!("{:?}", servers.coracle(0, &["member", "lead", &servers.id(0)]))),
    });
    let old = servers.id(0);
    for file in log(&store(&servers, 0)).keys() {
        turn(file, TURNED.start..usize::MAX);
    }
    servers.start_all(&[2]);
    servers.ended(0);
    create(&servers, 1, "after");
    servers.start(0);
    servers.settled(3);
    assert_ne!(servers.id(0), old, "it may have forgotten what it promised");
    for name in ["one", "two", "three", "after"] {
        let told = servers.coracle(0, &["get", "configmap", name]).ok();
        assert!(told.contains(name), "{told}");
    }
}

#[test]
fn a_damaged_server_that_is_alone_refuses_and_keeps_everything() {
    let mut servers = Servers::alone(PROGRAM, 1);
    create(&servers, 0, "before");
    servers.kill(0);
    let store = store(&servers, 0);
    damage_all(&store);
    let before = log(&store);
    let refused = servers.refused(0);
    assert!(refused.stderr.contains("is damaged"), "{refused:?}");
    assert_eq!(log(&store), before);
    assert!(store.join("image.redb").exists() && store.join("member.json").exists());
}
