//! Restoring: a file becomes the data directory of a new cluster, with one server, which others may join.
//!
//! The cluster keeps its authority: kubeconfigs, tokens and the certificates of nodes are good for the new one. The file is read twice:
//! once to its end, before anything is written, and then again for what is too large to be kept in memory meanwhile.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, bail};
use api::level::{self, Levels};
use api::{Key, Object};
use apiserver::{CHARTER_FILE, Charter, IMAGES_FOLDER};
use controllers::Restoration;
use jiff::Timestamp;
use state::{Revision, Snapshot};
use store::backup::{self, BackupError, Contents, Item, Reader};

use super::place::Place;
use crate::args::RestoreSnapshot;
use crate::data_dir::{self, DataDir};
use crate::get::aligned;
use crate::peers;
use crate::progress::say;

/// What a file holds, but for the images.
struct Saved {
    contents: Contents,
    charter: Charter,
    objects: Vec<Object>,
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
    let Saved { contents, charter, objects } = saved;
    let at = level::in_force(objects.iter().find(|object| *object.key() == level::key()));
    Levels::OWN.check(at).with_context(|| format!("{} cannot be restored by this version", args.file))?;
    let world = controllers::revived(Revision(contents.revision), objects);
    let restoration = controllers::restoration(&world, now);
    let (world, _) = world.apply(&restoration.txn).context("the world cannot be brought back")?;
    tell(&contents, &world, &restoration);
    if args.dry_run {
        return Ok(());
    }
    let data = DataDir::take_empty(directory)?;
    unpack(file, &key, &data).context("the images cannot be restored")?;
    let mut config = store::Config::new(data.join("store"));
    if let Some(keys) = &args.encryption_keys {
        config.keys.clone_from(keys);
    }
    store::found(&config, &world).context("the store cannot be made")?;
    peers::keep(&data, &charter)?;
    data.filled()?;
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
    let (mut charter, mut objects) = (None, Vec::new());
    while let Some(item) = reader.item()? {
        match item {
            Item::Object(object) => objects.push(object),
            Item::File { path, .. } if path == CHARTER_FILE => {
                let mut text = Vec::new();
                reader.copy(&mut text)?;
                charter = Some(serde_json::from_slice(&text).context("what makes a server of it cannot be read")?);
            }
            Item::File { .. } => {}
        }
    }
    let charter = charter.context("it does not hold what makes a server")?;
    Ok(Saved { contents: reader.contents().clone(), charter, objects })
}

/// Writes the images of a file to where a server looks for them.
fn unpack(file: &Path, key: &backup::Key, data: &DataDir) -> anyhow::Result<()> {
    let mut reader = open(file, key)?;
    while let Some(item) = reader.item()? {
        let Item::File { path, .. } = item else { continue };
        if !path.starts_with(&format!("{IMAGES_FOLDER}/")) {
            continue;
        }
        let path = data.join(&path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let file = File::create_new(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut out = BufWriter::new(file);
        reader.copy(&mut out)?;
        out.flush()
            .and_then(|()| out.get_ref().sync_all())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// What there will be, what goes, and what people have to see to.
fn tell(contents: &Contents, world: &Snapshot, restoration: &Restoration) {
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
    for (volume, nodes) in &restoration.stranded {
        let nodes = nodes.join(", ");
        say(&format!(
            "warning: the data of persistentvolume {} lies on {nodes}, and is not in the file",
            volume.name()
        ));
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
