//! `coracle snapshot`: files that the whole cluster can be brought back from.
//!
//! To the crates below such a file is a [`backup`](store::backup). A server writes it; here it is put where it belongs, looked at,
//! and made a data directory of again.

mod keeping;
mod place;
mod refilling;
mod restore;
mod save;
mod schedule;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context;
use apiserver::BackupVolumes;
use jiff::Timestamp;
use serde::Deserialize;
use store::backup::{self, BackupError, Contents, Tally};

use crate::access;
use crate::args::{self, SnapshotCommand};
use crate::get::aligned;

pub(crate) use keeping::{Keeping, wanted};
use place::Place;
pub(crate) use refilling::Refilling;

/// Where a server gives a snapshot.
const PATH: &str = "/coracle/v1/snapshot";
/// What the names of such files end with.
const ENDING: &str = "snapshot";
/// The folder of a data directory in which archives of volumes lie until those are filled with them.
pub(crate) const REFILL_FOLDER: &str = "restored";

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
    let heading = ["FILE", "TAKEN", "REVISION", "OBJECTS", "IMAGES", "VOLUMES", "SIZE", "STATE"];
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
        Ok((contents, tally)) => (told(&contents, &tally), "whole".to_owned()),
        Err(error) => (["", "", "", "", ""].map(str::to_owned), error.to_string()),
    };
    Ok([shown].into_iter().chain(known).chain([size, state]).collect())
}

fn told(contents: &Contents, tally: &Tally) -> [String; 5] {
    let images = match (contents.images, contents.image_count) {
        (false, _) => "no".to_owned(),
        (true, None) => "yes".to_owned(),
        (true, Some(count)) => of(count, contents.images_lost.unwrap_or(0)),
    };
    let volumes = match contents.volumes {
        None => "no".to_owned(),
        Some(_) => format!("{}, {}", of(tally.volumes, tally.left), size(tally.bytes)),
    };
    [contents.taken.clone(), contents.revision.to_string(), contents.objects.to_string(), images, volumes]
}

/// How many there are, of how many there were.
fn of(count: u64, left: u64) -> String {
    if left == 0 { count.to_string() } else { format!("{count} of {}", count + left) }
}

/// The claims whose volumes are not in it, if there are any.
fn told_left(tally: &Tally) -> Option<String> {
    let more = tally.left - tally.left_names.len() as u64;
    let more = (more > 0).then(|| format!("and {more} more"));
    let names: Vec<String> = tally.left_names.iter().cloned().chain(more).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// What a server calls it.
fn volumes(wanted: args::Volumes) -> BackupVolumes {
    match wanted {
        args::Volumes::None => BackupVolumes::Left,
        args::Volumes::All => BackupVolumes::All,
        args::Volumes::Available => BackupVolumes::Available,
    }
}

/// What is in a file, once all of it is seen to be whole.
fn checked(file: &Path) -> Result<(Contents, Tally), BackupError> {
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
            image_count: None,
            images_lost: None,
            volumes: Some(3),
        };
        let tally = Tally { volumes: 2, bytes: 2048, left: 1, left_names: vec!["shop/data on node n1".into()] };
        assert_eq!(told(&contents, &tally)[3..], ["no", "2 of 3, 2.0 KiB"]);
        assert_eq!(told_left(&tally).as_deref(), Some("shop/data on node n1"));
        assert_eq!(told_left(&Tally::default()), None);
        let with_images = Contents { images: true, image_count: Some(4), volumes: None, ..contents.clone() };
        assert_eq!(told(&with_images, &Tally::default())[3..], ["4", "no"]);
        assert_eq!(told(&Contents { image_count: None, ..with_images }, &Tally::default())[3], "yes");
        assert_eq!(name(&contents), "coracle-01234567-20261122T093000Z.snapshot");
        assert_eq!([size(7), size(2048), size(3 << 20)], ["7 B", "2.0 KiB", "3.0 MiB"]);
    }
}
