use std::os::unix::fs::symlink;
use std::process::Command;

use proptest::prelude::*;

use super::*;

const ROOM: Room = Room { bytes_max: 1 << 20, entries_max: 1_000 };

fn root(path: &Path) -> Root {
    Root::open(path).expect("a directory")
}

fn packed(path: &Path) -> Vec<u8> {
    let mut archive = Vec::new();
    pack(&root(path), &mut archive).expect("packed");
    archive
}

/// What lies below a directory, a line each.
fn tree(path: &Path) -> Vec<String> {
    let (mut lines, mut waiting) = (Vec::new(), vec![path.to_owned()]);
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory").flatten() {
            let (at, found) = (entry.path(), entry.metadata().expect("metadata"));
            let name = at.strip_prefix(path).expect("below").display().to_string();
            if found.is_symlink() {
                lines.push(format!("{name} -> {}", std::fs::read_link(&at).expect("a link").display()));
            } else if found.is_dir() {
                lines.push(format!("{name}/"));
                waiting.push(at);
            } else {
                let text = hex::encode(std::fs::read(&at).expect("a file"));
                lines.push(format!("{name} of {} names at {}: {text}", found.nlink(), found.mtime()));
            }
        }
    }
    lines.sort();
    lines
}

fn example() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    let (at, long) = (folder.path(), "long".repeat(40));
    std::fs::create_dir_all(at.join("empty/er")).expect("made");
    std::fs::create_dir_all(at.join(&long).join(&long)).expect("made");
    std::fs::write(at.join("a"), "one").expect("written");
    std::fs::write(at.join("none"), "").expect("written");
    std::fs::hard_link(at.join("a"), at.join("empty/a")).expect("linked");
    std::fs::write(at.join(&long).join(&long).join("b"), "x".repeat(2_000)).expect("written");
    symlink(format!("../{long}"), at.join("link")).expect("linked");
    symlink("/etc/passwd", at.join("far")).expect("linked");
    let file = File::options().write(true).open(at.join("a")).expect("a file");
    file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000)).expect("set");
    folder
}

#[test]
fn what_was_packed_is_unpacked() {
    let (from, to, copied) = (example(), tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
    let archive = packed(from.path());
    unpack(archive.as_slice(), &root(to.path()), ROOM).expect("unpacked");
    assert_eq!(tree(to.path()), tree(from.path()));
    assert_eq!(measure(archive.as_slice()).expect("measured"), 2_003);
    copy(&root(from.path()), &root(copied.path()), ROOM).expect("copied");
    assert_eq!(tree(copied.path()), tree(from.path()));
}

#[test]
fn others_read_it_and_are_read() {
    let (from, to, back) = (example(), tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
    let file = to.path().join("it.tar.gz");
    std::fs::write(&file, packed(from.path())).expect("written");
    let unpacked = to.path().join("unpacked");
    std::fs::create_dir(&unpacked).expect("made");
    let tar = |words: &[&OsStr]| Command::new("tar").args(words).status().expect("tar runs").success();
    assert!(tar(&["-xzf".as_ref(), file.as_os_str(), "-C".as_ref(), unpacked.as_os_str()]));
    assert_eq!(tree(&unpacked), tree(from.path()));
    assert!(tar(&["-czf".as_ref(), file.as_os_str(), "-C".as_ref(), from.path().as_os_str(), ".".as_ref()]));
    unpack(File::open(&file).expect("there"), &root(back.path()), ROOM).expect("unpacked");
    assert_eq!(tree(back.path()), tree(from.path()));
}

#[test]
fn what_no_guest_makes_is_left_out_and_a_hole_is_a_hole_again() {
    let (from, to) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
    let socket = std::os::unix::net::UnixListener::bind(from.path().join("socket")).expect("bound");
    let pipe = from.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, 0o600.into(), 0).expect("made");
    let file = File::create(from.path().join("sparse")).expect("made");
    let bytes: u64 = 64 << 20;
    file.write_all_at(b"end", bytes).expect("written");
    let room = Room::of(1 << 30);
    unpack(packed(from.path()).as_slice(), &root(to.path()), room).expect("unpacked");
    drop(socket);
    let found = std::fs::metadata(to.path().join("sparse")).expect("there");
    assert_eq!((found.len(), std::fs::read_dir(to.path()).expect("read").count()), (bytes + 3, 1));
    assert!(found.blocks() * 512 < 1 << 20, "{} blocks", found.blocks());
    let read = std::fs::read(to.path().join("sparse")).expect("read");
    assert!(read.ends_with(b"end") && read[..read.len() - 3].iter().all(|byte| *byte == 0));
}

/// A link that leads out is a link in the archive, and what it leads to is not looked at.
#[test]
fn a_link_is_followed_neither_in_nor_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let (volume, outside, to) = (folder.path().join("volume"), folder.path().join("outside"), folder.path().join("to"));
    for directory in [&volume, &outside, &to] {
        std::fs::create_dir(directory).expect("made");
    }
    std::fs::write(outside.join("secret"), "secret").expect("written");
    symlink("../outside", volume.join("way")).expect("linked");
    symlink("../outside/secret", volume.join("file")).expect("linked");
    unpack(packed(&volume).as_slice(), &root(&to), ROOM).expect("unpacked");
    assert_eq!(tree(&to), ["file -> ../outside/secret", "way -> ../outside"]);
}

fn archive_of(entries: &[Entry]) -> Vec<u8> {
    let mut archive = GzEncoder::new(Vec::new(), Compression::fast());
    for entry in entries {
        entry.write(&mut archive).expect("written");
        let bytes = entry.bytes + padding(entry.bytes);
        io::copy(&mut io::repeat(b'x').take(bytes), &mut archive).expect("written");
    }
    archive.write_all(&END).expect("written");
    archive.finish().expect("finished")
}

fn entry(kind: u8, name: &str, link: &str, bytes: u64) -> Entry {
    Entry { kind, name: name.into(), link: link.into(), bytes, modified: 0 }
}

/// It is refused with words that hold these, and nothing is outside afterwards.
fn refused(entries: &[Entry], bytes_max: u64, expected: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let (outside, to) = (folder.path().join("outside"), folder.path().join("to"));
    for directory in [&outside, &to] {
        std::fs::create_dir(directory).expect("made");
    }
    std::fs::write(outside.join("kept"), "kept").expect("written");
    let before = tree(&outside);
    let room = Room { bytes_max, entries_max: 10 };
    let why = unpack(archive_of(entries).as_slice(), &root(&to), room).expect_err("refused").to_string();
    assert!(why.contains(expected), "{why}");
    assert_eq!(tree(&outside), before);
    assert_eq!(std::fs::read_dir(folder.path()).expect("read").count(), 2);
}

#[test]
fn nothing_comes_out_of_the_directory_nor_more_than_it_may_hold() {
    for name in ["../outside/a", "/a", "a/../../outside/a", ".."] {
        refused(&[entry(REGULAR, name, "", 0)], 10, &format!("{name} lies outside"));
        refused(&[entry(DIRECTORY, name, "", 0)], 10, &format!("{name} lies outside"));
        refused(&[entry(LINK, name, "x", 0)], 10, &format!("{name} lies outside"));
        refused(&[entry(SAME, "a", name, 0)], 10, &format!("{name} lies outside"));
    }
    let way = entry(LINK, "way", "../outside", 0);
    for kind in [REGULAR, DIRECTORY, LINK] {
        refused(&[way.clone(), entry(kind, "way/a", "x", 0)], 10, "way");
    }
    refused(&[way.clone(), entry(SAME, "mine", "way/kept", 0)], 10, "mine");
    refused(&[entry(LINK, "a", "../outside/kept", 0), entry(REGULAR, "a", "", 4)], 10, "a: ");
    refused(&[entry(REGULAR, "a", "", 0), entry(REGULAR, "a", "", 0)], 10, "a: ");
    refused(&[entry(REGULAR, "", "", 0)], 10, "something in it has no name");
    refused(&[entry(b'3', "d", "", 0)], 10, "d is of a kind (3) that no volume holds");
    refused(&[entry(REGULAR, "a", "", 6), entry(REGULAR, "b", "", 5)], 10, "more than the 10 bytes");
    let many: Vec<Entry> = (0..11).map(|at| entry(REGULAR, &at.to_string(), "", 0)).collect();
    refused(&many, 10, "more than the 10 files");
    refused(&[entry(LONG_NAME, "x", "", 1 << 30)], 10, "a name is too long");
}

/// Somebody makes links of directories, and files of links, all the while.
#[test]
fn what_changes_meanwhile_leads_nowhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let (volume, outside) = (folder.path().join("volume"), folder.path().join("outside"));
    std::fs::create_dir_all(outside.join("d")).expect("made");
    std::fs::create_dir_all(&volume).expect("made");
    std::fs::write(outside.join("f"), "secret").expect("written");
    std::fs::write(outside.join("d/f"), "secret").expect("written");
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (d, f) = (volume.join("d"), volume.join("f"));
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                drop(std::fs::create_dir(&d).and_then(|()| std::fs::write(d.join("f"), "mine")));
                drop(std::fs::write(&f, "mine"));
                drop(std::fs::remove_dir_all(&d).and_then(|()| symlink("../outside/d", &d)));
                drop(std::fs::remove_file(&f).and_then(|()| symlink("../outside/f", &f)));
                drop(std::fs::remove_file(&d));
                drop(std::fs::remove_file(&f));
            }
        });
        for _ in 0..300 {
            let to = tempfile::tempdir().expect("a directory");
            unpack(packed(&volume).as_slice(), &root(to.path()), ROOM).expect("unpacked");
            let secret = hex::encode("secret");
            assert!(tree(to.path()).iter().all(|line| !line.contains(&secret)), "{:?}", tree(to.path()));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// Something that may be in a directory: where, and what.
fn thing() -> impl Strategy<Value = (Vec<String>, Option<Vec<u8>>)> {
    let step = prop_oneof!["[a-c]", "[a-z .:\\\\é]{1,12}x", "n{90,140}"];
    (proptest::collection::vec(step, 1..4), proptest::option::of(proptest::collection::vec(any::<u8>(), 0..1_200)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in a directory comes out as it went in.
    #[test]
    fn everything_comes_out_again(things in proptest::collection::vec(thing(), 0..12)) {
        let (from, to) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
        for (steps, content) in &things {
            let at = from.path().join(steps.iter().collect::<PathBuf>());
            // What was there first stays in the way.
            drop(std::fs::create_dir_all(at.parent().expect("below")));
            match content {
                Some(content) => drop(std::fs::write(&at, content)),
                None => drop(symlink("../x", &at)),
            }
        }
        unpack(packed(from.path()).as_slice(), &root(to.path()), ROOM).expect("unpacked");
        prop_assert_eq!(tree(to.path()), tree(from.path()));
    }

    /// Wherever it is cut off, and whichever byte of it is another: it is refused, or what comes out is what went in.
    #[test]
    fn what_is_broken_is_refused(cut in 0.0_f64..1.0, flip in any::<Option<u8>>()) {
        let from = example();
        let mut archive = packed(from.path());
        let at = ((archive.len() as f64) * cut) as usize;
        match flip {
            Some(flip) => archive[at] ^= flip,
            None => archive.truncate(at),
        }
        let to = tempfile::tempdir().expect("a directory");
        if unpack(archive.as_slice(), &root(to.path()), ROOM).is_ok() {
            prop_assert_eq!(tree(to.path()), tree(from.path()));
        }
    }
}
