//! Saving: what a server streams becomes a file, which has its name only once it is whole.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use client::Client;
use http::Request;
use http_body_util::BodyExt;
use store::backup::{Contents, Tally};

use super::place::Place;
use super::{PATH, checked, name, size, told_left};
use crate::access;
use crate::args::{SaveSnapshot, Volumes};
use crate::progress;

pub(super) async fn run(args: SaveSnapshot) -> anyhow::Result<()> {
    let client = access::cluster(&args.access)?.client;
    let (place, wanted) = match (&args.file, &args.to) {
        (Some(file), _) => {
            if file.exists() {
                bail!("{} is there already", file.display());
            }
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let name = file.file_name().and_then(|name| name.to_str());
            let name = name.with_context(|| format!("{} names no file", file.display()))?;
            (Place::Folder(folder.to_owned()), Some(name.to_owned()))
        }
        (None, Some(to)) => (to.parse()?, None),
        (None, None) => (Place::Folder(".".into()), None),
    };
    let namespaces = args.volumes_of.join(",");
    let volumes = match args.volumes {
        Volumes::None if !namespaces.is_empty() => Volumes::All,
        volumes => volumes,
    };
    let wanted_parts = format!("images={}&volumes={}&namespaces={namespaces}", args.images, volumes.word());
    let (unfinished, contents, tally) = fetch(&client, &place.workshop()?, &wanted_parts).await?;
    if volumes != Volumes::None && contents.volumes.is_none() {
        // It is not what was asked for.
        let _ = std::fs::remove_file(&unfinished);
        bail!("the server is of a version that does not know of volumes in snapshots");
    }
    let length = std::fs::metadata(&unfinished)?.len();
    let name = wanted.unwrap_or_else(|| name(&contents));
    place.keep(&unfinished, &name).await?;
    let volumes = contents.volumes.map(|_| format!(", {} volumes of {}", tally.volumes, size(tally.bytes)));
    let (volumes, length) = (volumes.unwrap_or_default(), size(length));
    println!("{place}/{name}: {} objects at revision {}{volumes}, {length}", contents.objects, contents.revision);
    if let Some(left) = told_left(&tally) {
        progress::say(&format!("warning: what is in the volumes of these claims could not be had: {left}"));
    }
    if let Some(lost) = contents.images_lost {
        progress::say(&format!("warning: {lost} images are not in it whole: their content lies on no server"));
    }
    progress::say("it opens with what `coracle snapshot key` prints; keep that elsewhere");
    Ok(())
}

/// Brings a snapshot into a file of another name in this folder, and sees that it is whole.
async fn fetch(client: &Client, folder: &Path, parts: &str) -> anyhow::Result<(PathBuf, Contents, Tally)> {
    let unfinished = folder.join(format!(".{}.new", uuid::Uuid::new_v4().simple()));
    let fetched = async {
        receive(client, &unfinished, parts).await?;
        checked(&unfinished).context("what the server sent is not whole")
    };
    match fetched.await {
        Ok((contents, tally)) => Ok((unfinished, contents, tally)),
        Err(error) => {
            // What is not there need not be removed.
            let _ = std::fs::remove_file(&unfinished);
            Err(error)
        }
    }
}

async fn receive(client: &Client, path: &Path, parts: &str) -> anyhow::Result<()> {
    let request = Request::get(format!("{PATH}?{parts}")).body(client::no_body())?;
    let answer = client.request(request).await?;
    let status = answer.status();
    let mut body = answer.into_body();
    if !status.is_success() {
        let refused = body.collect().await?.to_bytes();
        return Err(client::ClientError::refused(status.as_u16(), &refused).into());
    }
    let opened = File::options().write(true).create_new(true).mode(0o600).open(path);
    let mut file = opened.with_context(|| format!("cannot write {}", path.display()))?;
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.context("the server did not send all of it")?.into_data() {
            file.write_all(&piece).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    file.sync_all().with_context(|| format!("cannot write {}", path.display()))
}
