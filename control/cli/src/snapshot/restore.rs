//! Restoring: a file becomes the data directory of a new cluster, with one server, which others may join.
//!
//! The cluster keeps its authority: kubeconfigs, tokens and the certificates of nodes are good for the new one. The file is read twice:
//! once to its end, before anything is written, and then again for what is too large to be kept in memory meanwhile. What was in
//! volumes lies with the new server until there are nodes ([`refilling`](super::refilling)).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, bail};
use api::level::{self, Levels};
use api::{Key, Object, snapshots};
use apiserver::{CHARTER_FILE, Charter, IMAGES_FOLDER};
use controllers::Restoration;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use state::{Revision, Snapshot};
use store::backup::{self, BackupError, Contents, Copied, Item, Reader, Tally};

use super::place::Place;
use super::refilling::archive;
use super::{REFILL_FOLDER, size, told_left};
use crate::args::RestoreSnapshot;
use crate::data_dir::{self, DataDir};
use crate::get::aligned;
use crate::peers;
use crate::progress::say;

/// What a file holds, but for images and what was in volumes.
struct Saved {
    contents: Contents,
    tally: Tally,
    charter: Charter,
    objects: Vec<Object>,
    /// How long the files of images are together.
    image_bytes: u64,
    /// The volumes that are there whole, by name.
    volumes: BTreeMap<String, Volume>,
}

/// What is there of a volume.
struct Volume {
    saved: snapshots::Saved,
    bytes: u64,
}

/// Adds up what is written to it.
#[derive(Default)]
struct Sum {
    digest: Sha256,
    bytes: u64,
}

pub(super) async fn run(args: &RestoreSnapshot, now: Timestamp) -> anyhow::Result<()> {
    let Some((place, name)) = Place::of_object(&args.file)? else { return restore(Path::new(&args.file), args, now) };
    let fetched = place.fetch(&name, &std::env::temp_dir()).await?;
    let restored = restore(&fetched, args, now);
    // It was brought here for this.
    let _ = std::fs::remove_file(&fetched);
    restored
}

fn restore(file: &Path, args: &RestoreSnapshot, now: Timestamp) -> anyhow::Result<()> {
    let directory = data_dir::path(args.data_dir.as_deref())?;
    if !args.dry_run && !data_dir::is_empty(&directory)? {
        bail!("{} is not empty; restore to a directory of its own, with --data-dir", directory.display());
    }
    let key = key(&args.key)?;
    let saved = read(file, &key).with_context(|| {
        format!("{} cannot be restored; `coracle snapshot list` says which files are whole", args.file)
    })?;
    let Saved { contents, tally, charter, objects, image_bytes, volumes } = saved;
    let at = level::in_force(objects.iter().find(|object| *object.key() == level::key()));
    let at = at.with_context(|| format!("{} cannot be restored", args.file))?;
    Levels::OWN.check(at).with_context(|| format!("{} cannot be restored by this version", args.file))?;
    let world = controllers::revived(Revision(contents.revision), objects);
    let there = volumes.iter().map(|(name, volume)| (name.clone(), volume.saved.clone())).collect();
    let restoration = controllers::restoration(&world, &there, now);
    let (world, _) = world.apply(&restoration.txn).context("the world cannot be brought back")?;
    let refilled = restoration.refilled.iter().filter_map(|(_, volume)| volumes.get_key_value(volume.name()));
    let volumes: BTreeMap<&str, &Volume> = refilled.map(|(name, volume)| (name.as_str(), volume)).collect();
    let volume_bytes: u64 = volumes.values().map(|volume| volume.bytes).sum();
    tell(&contents, &tally, &world, &restoration, volume_bytes);
    has_room(&directory, image_bytes.saturating_add(volume_bytes))?;
    if args.dry_run {
        return Ok(());
    }
    let data = DataDir::take_empty(directory)?;
    let made = || -> anyhow::Result<()> {
        unpack(file, &key, &data, &volumes).context("images and volumes cannot be restored")?;
        let mut config = store::Config::new(data.join("store"));
        if let Some(keys) = &args.encryption_keys {
            config.keys.clone_from(keys);
        }
        store::found(&config, &world).context("the store cannot be made")?;
        peers::keep(&data, &charter)
    };
    match made() {
        Ok(()) => data.filled()?,
        Err(error) => {
            let error = error.context("nothing was restored");
            return Err(match data.emptied() {
                Ok(()) => error,
                Err(left) => error.context(format!("{left:#}")),
            });
        }
    }
    say(&format!("restored; start it with: coracle server --data-dir {}", data.path().display()));
    Ok(())
}

fn key(file: &Path) -> anyhow::Result<backup::Key> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    text.parse().with_context(|| format!("in {}", file.display()))
}

fn open(file: &Path, key: &backup::Key) -> Result<Reader<BufReader<File>>, BackupError> {
    Reader::open(BufReader::new(File::open(file)?), key)
}

/// Reads a file to its end.
fn read(file: &Path, key: &backup::Key) -> anyhow::Result<Saved> {
    let mut reader = open(file, key)?;
    let (mut charter, mut objects, mut image_bytes, mut volumes) = (None, Vec::new(), 0_u64, BTreeMap::new());
    while let Some(item) = reader.item()? {
        match item {
            Item::Object(object) => objects.push(object),
            Item::File { path, .. } if path == CHARTER_FILE => {
                let mut text = Vec::new();
                reader.copy(&mut text)?;
                charter = Some(serde_json::from_slice(&text).context("what makes a server of it cannot be read")?);
            }
            Item::File { length, .. } => image_bytes = image_bytes.saturating_add(length),
            Item::Volume { name } => {
                let mut sum = Sum::default();
                if reader.copy(&mut sum)? == Copied::Whole {
                    let saved = snapshots::Saved { name: name.clone(), hash: hex::encode(sum.digest.finalize()) };
                    volumes.insert(name, Volume { saved, bytes: sum.bytes });
                }
            }
        }
    }
    let charter = charter.context("it does not hold what makes a server")?;
    let (contents, tally) = (reader.contents().clone(), reader.tally().clone());
    Ok(Saved { contents, tally, charter, objects, image_bytes, volumes })
}

/// Whether what is in files fits; what the store takes beside is little.
fn has_room(directory: &Path, bytes: u64) -> anyhow::Result<()> {
    let there = directory.ancestors().find(|place| place.exists()).unwrap_or(Path::new("."));
    let disk = rustix::fs::statvfs(there).with_context(|| format!("cannot use {}", there.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < bytes {
        let place = directory.display();
        bail!("images and volumes take {}, and {} are free where {place} is to be", size(bytes), size(free));
    }
    Ok(())
}

/// Writes the images of a file to where a server looks for them, and archives of volumes to where they are brought from.
fn unpack(file: &Path, key: &backup::Key, data: &DataDir, volumes: &BTreeMap<&str, &Volume>) -> anyhow::Result<()> {
    let mut reader = open(file, key)?;
    while let Some(item) = reader.item()? {
        match item {
            Item::File { path, .. } if path.starts_with(&format!("{IMAGES_FOLDER}/")) => {
                write(&mut reader, &data.join(&path))?;
            }
            Item::Volume { name } if volumes.contains_key(&*name) => {
                write(&mut reader, &archive(&data.join(REFILL_FOLDER), &name))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Writes what comes next to a file of its own.
fn write(reader: &mut Reader<impl io::Read>, path: &Path) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let unwritten = || format!("cannot write {}", path.display());
    let mut out = BufWriter::new(File::create_new(path).with_context(unwritten)?);
    reader.copy(&mut out).with_context(unwritten)?;
    out.flush().and_then(|()| out.get_ref().sync_all()).with_context(unwritten)
}

/// What there will be, what goes, and what people have to see to.
fn tell(contents: &Contents, tally: &Tally, world: &Snapshot, restoration: &Restoration, volume_bytes: u64) {
    let kinds = world.kinds().map(|kind| vec![kind.kind.to_owned(), world.count(kind).to_string()]);
    let mut lines: Vec<Vec<String>> = kinds.collect();
    lines.sort();
    lines.insert(0, ["KIND", "OBJECTS"].map(str::to_owned).to_vec());
    print!("{}", aligned(&lines));
    say(&format!("the cluster as of {}, at revision {}", contents.taken, contents.revision));
    if !restoration.gone.is_empty() {
        say(&format!("gone with the nodes: {}", counted(&restoration.gone)));
    }
    if !restoration.unplaced.is_empty() {
        say(&format!("to be given a node again: {}", counted(&restoration.unplaced)));
    }
    if !restoration.refilled.is_empty() {
        let claims = restoration.refilled.iter().map(|(claim, _)| format!("{}/{}", claim.namespace(), claim.name()));
        let mut claims: Vec<String> = claims.collect();
        claims.sort_unstable();
        let (count, claims) = (claims.len(), claims.join(", "));
        say(&format!(
            "to be filled again, {count} volumes of {}, once their pods have nodes: {claims}",
            size(volume_bytes)
        ));
    }
    if let Some(left) = told_left(tally) {
        say(&format!("warning: what was in the volumes of these claims could not be had for the file: {left}"));
    }
    for (volume, nodes) in &restoration.stranded {
        let nodes = nodes.join(", ");
        say(&format!(
            "warning: the data of persistentvolume {} lies on {nodes}, and is not in the file",
            volume.name()
        ));
    }
    if let Some(lost) = contents.images_lost {
        say(&format!("warning: {lost} images are not in the file whole; push them again"));
    }
    if !contents.images {
        say("images are not in the file: push those that pods name without a registry");
    }
}

/// How many of which kind.
fn counted(keys: &[Key]) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for key in keys {
        *kinds.entry(key.kind().kind).or_default() += 1;
    }
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    kinds.join(", ")
}

// === impl Sum ===

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
