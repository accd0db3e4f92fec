//! `coracle snapshot`: files that the whole cluster can be brought back from.
//!
//! To the crates below such a file is a [`backup`](store::backup). A server writes it; here it is put where it belongs, looked at,
//! and made a data directory of again.

mod keeping;
mod place;
mod restore;
mod save;
mod schedule;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;
use serde::Deserialize;
use store::backup::{self, BackupError, Contents};

use crate::access;
use crate::args::{self, SnapshotCommand};
use crate::get::aligned;

pub(crate) use keeping::{Keeping, wanted};
use place::Place;

/// Where a server gives a snapshot.
const PATH: &str = "/coracle/v1/snapshot";
/// What the names of such files end with.
const ENDING: &str = "snapshot";

#[derive(Deserialize)]
struct Told {
    key: String,
}

pub(crate) async fn run(command: SnapshotCommand, now: Timestamp) -> anyhow::Result<()> {
    match command {
        SnapshotCommand::Save(args) => save::run(args).await,
        SnapshotCommand::List(args) => list(&args.places).await,
        SnapshotCommand::Restore(args) => restore::run(&args, now).await,
        SnapshotCommand::Schedule(args) => schedule::run(&args).await,
        SnapshotCommand::Key(args) => key(&args).await,
    }
}

async fn key(access: &args::Access) -> anyhow::Result<()> {
    let told: Told = access::cluster(access)?.client.get_json(&format!("{PATH}/key")).await?;
    println!("{}", told.key);
    Ok(())
}

async fn list(places: &[String]) -> anyhow::Result<()> {
    let heading = ["FILE", "TAKEN", "REVISION", "OBJECTS", "IMAGES", "SIZE", "STATE"];
    let mut lines = vec![heading.map(str::to_owned).to_vec()];
    for text in places {
        let place: Place = text.parse()?;
        if let Place::Folder(file) = &place
            && !file.is_dir()
        {
            lines.push(line(text.clone(), file)?);
            continue;
        }
        for name in place.names().await? {
            let file = place.fetch(&name, &std::env::temp_dir()).await?;
            lines.push(line(format!("{place}/{name}"), &file)?);
            if matches!(place, Place::Bucket { .. }) {
                // It was brought here to be looked at.
                let _ = std::fs::remove_file(&file);
            }
        }
    }
    print!("{}", aligned(&lines));
    Ok(())
}

fn line(shown: String, file: &Path) -> anyhow::Result<Vec<String>> {
    let size = size(std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len());
    let (known, state) = match checked(file) {
        Ok(contents) => (told(&contents), "whole".to_owned()),
        Err(error) => (["", "", "", ""].map(str::to_owned), error.to_string()),
    };
    Ok([shown].into_iter().chain(known).chain([size, state]).collect())
}

fn told(contents: &Contents) -> [String; 4] {
    let Contents { taken, revision, objects, images, .. } = contents;
    let images = if *images { "yes" } else { "no" };
    [taken.clone(), revision.to_string(), objects.to_string(), images.to_owned()]
}

/// What is in a file, once all of it is seen to be whole.
fn checked(file: &Path) -> Result<Contents, BackupError> {
    backup::check(BufReader::new(File::open(file)?))
}

/// A size that people read.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// The name of a file that nobody named: the cluster, and when.
fn name(contents: &Contents) -> String {
    let taken: String = contents.taken.chars().filter(|letter| !"-:".contains(*letter)).collect();
    format!("{}{taken}.{ENDING}", prefix(contents))
}

/// What the names of all files of one cluster begin with.
fn prefix(contents: &Contents) -> String {
    let cluster: String = contents.cluster.chars().take(8).collect();
    format!("coracle-{cluster}-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_cluster_and_the_time() {
        let contents = Contents {
            taken: "2026-11-22T09:30:00Z".into(),
            revision: 9,
            objects: 2,
            cluster: "0123456789abcdef".into(),
            images: false,
        };
        assert_eq!(name(&contents), "coracle-01234567-20261122T093000Z.snapshot");
        assert_eq!([size(7), size(2048), size(3 << 20)], ["7 B", "2.0 KiB", "3.0 MiB"]);
    }
}
