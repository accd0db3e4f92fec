//! A member whose files are not what was written is filled anew by the others.
//!
//! It may have forgotten what it acknowledged and how it voted, so it never comes back as who it was. It asks whoever leads the others to
//! have no more to do with its old number and to let a new one learn; that takes a quorum of the others, and where there is
//! none, or no others, it refuses in words and everything stays as it is. Only then are its files put aside, under a name, and
//! it begins empty: a learner, which gets a vote once it has caught up, as every new member does.
//!
//! The new number is written down before anybody is asked, so that whoever asks again asks for the same. That the others have agreed is
//! written down before anything is put aside: from then on nothing is opened under the old number, whenever the power fails. Until
//! then a directory that is whole again, because somebody found the key file or the disk, is opened as ever.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::disk::{self, Disk};
use crate::peers::Caller;
use crate::roster::Roster;
use crate::runtime::{self, Instant};
use crate::seal::{Keys, random};
use crate::store::Files;
use crate::transport::{Peer, Transport};
use crate::wire::{Answer, Call};
use crate::{Change, Config, MemberId, OpenError, Seat, identity};

/// The others may be starting too, after a power cut, and then have to elect somebody.
const PATIENCE: Duration = Duration::from_secs(45);

/// One who is asked may have to wait for a quorum.
const CALL_PATIENCE: Duration = Duration::from_secs(6);

/// One who leads and hangs up on the question so often does not know it.
const HANGS_UP: usize = 3;

/// Between two rounds of asking.
const PAUSE: Duration = Duration::from_millis(200);

/// What is found in a directory.
enum Found {
    /// What was written. It may found a cluster if that is wanted.
    Whole(Box<Files>, Founding),
    /// What was not, and who is to take whose place.
    Damaged { error: OpenError, roster: Roster, new: MemberId },
}

/// Whether a member that is new may found a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Founding {
    Possible,
    /// There is one already.
    Impossible,
}

/// Opens what is in the directory, or has the others fill it.
pub(crate) async fn open(disk: &Arc<dyn Disk>, config: &Config, seat: &Seat) -> Result<(Files, Founding), OpenError> {
    let (mine, settings) = (disk.clone(), config.clone());
    let found = runtime::spawn_blocking(move || look(&mine, &settings)).await.map_err(OpenError::consensus)??;
    let (error, roster, new) = match found {
        Found::Whole(files, founding) => return Ok((*files, founding)),
        Found::Damaged { error, roster, new } => (error, roster, new),
    };
    tracing::error!(%error, member = roster.member, "the other servers are asked to fill it anew");
    let peer = Peer { member: new, address: seat.address.clone() };
    if let Err(why) = take_in(&roster, peer, &seat.transport).await {
        return Err(match error {
            OpenError::Damaged { path, reason } => OpenError::NotRefilled { path, reason, why },
            other => other,
        });
    }
    let (mine, settings, old) = (disk.clone(), config.clone(), roster.member);
    let emptied = move || {
        let failed = |source| OpenError::Io { path: settings.directory.clone(), source };
        let agreed = Roster { is_replaced: true, ..roster };
        agreed.write(&*mine, &settings.directory).map_err(failed)?;
        let aside = put_aside(&mine, &settings, old).map_err(failed)?;
        identity::assume(&*mine, &settings.directory, new).map_err(failed)?;
        tracing::warn!(old, new, aside = %aside.display(), "what was damaged is put aside, and it begins empty");
        Files::open(&mine, &settings)
    };
    let files = runtime::spawn_blocking(emptied).await.map_err(OpenError::consensus)??;
    Ok((files, Founding::Impossible))
}

/// Opens what is there, or says who takes the place of this member; that is written down.
fn look(disk: &Arc<dyn Disk>, config: &Config) -> Result<Found, OpenError> {
    let directory = &config.directory;
    let roster = match Roster::read(&**disk, directory) {
        // One that is damaged is written again, where everything else is whole.
        Err(error) if !matches!(error, OpenError::Damaged { .. }) => return Err(error),
        read => read,
    };
    let known = roster.as_ref().ok().and_then(Option::as_ref).filter(|roster| !roster.is_alone());
    let founding = if known.is_some() { Founding::Impossible } else { Founding::Possible };
    let is_begun = known.is_some_and(|roster| is_begun(roster, identity::known(&**disk, directory)));
    let opened = if is_begun { Err(begun(directory)) } else { Files::open(disk, config) };
    let error = match opened {
        Ok(files) => match (known, roster.as_ref().err()) {
            (Some(roster), _) if !is_of(roster, files.member) => {
                files.close();
                let reason = format!("member {} is not {}, whose directory this is", files.member, roster.member);
                OpenError::Damaged { path: directory.clone(), reason }
            }
            // It was one of several, and has voted at least.
            (Some(roster), _) if roster.member == files.member && files.log.is_new() => {
                files.close();
                let reason = format!("it holds nothing, and member {} was one of several", files.member);
                OpenError::Damaged { path: directory.join("log"), reason }
            }
            // Who else there is cannot be told: it is told again by the log, if there is one.
            (_, Some(_)) if files.log.last().is_none() => {
                files.close();
                return Err(roster.err().unwrap_or_else(|| begun(directory)));
            }
            _ => return Ok(Found::Whole(Box::new(files), founding)),
        },
        Err(error @ OpenError::Damaged { .. }) => error,
        Err(error) => return Err(error),
    };
    let Some(known) = known else { return Err(error) };
    let roster = renewed(known, identity::known(&**disk, directory), MemberId::from_le_bytes(random()));
    let new = roster.successor.unwrap_or(roster.member);
    roster.write(&**disk, directory).map_err(|source| OpenError::Io { path: directory.clone(), source })?;
    Ok(Found::Damaged { error, roster, new })
}

fn begun(directory: &Path) -> OpenError {
    OpenError::Damaged { path: directory.into(), reason: "it was to be filled anew, which is not done yet".into() }
}

/// Whether another is to live here, and does not yet.
fn is_begun(roster: &Roster, number: Option<MemberId>) -> bool {
    roster.is_replaced && number != roster.successor
}

/// Whether this is the member that the roster is about.
fn is_of(roster: &Roster, number: MemberId) -> bool {
    let successor = roster.successor.filter(|_| roster.is_replaced);
    successor.unwrap_or(roster.member) == number
}

/// Who takes whose place, where what this member has is of no use: as it was decided before, if that is not done yet.
fn renewed(roster: &Roster, number: Option<MemberId>, fresh: MemberId) -> Roster {
    match roster.successor {
        // The successor itself is damaged, before it could write down whom it knows.
        Some(successor) if roster.is_replaced && number == Some(successor) => roster.succeeded(successor, fresh),
        Some(_) => roster.clone(),
        None => roster.succeeded(roster.member, fresh),
    }
}

/// Has whoever leads the others let `new` learn, and have no more to do with the one whose place it takes.
async fn take_in(roster: &Roster, new: Peer, transport: &Arc<dyn Transport>) -> Result<(), String> {
    let callers: Vec<_> =
        roster.others().into_iter().map(|peer| Caller::new(new.member, peer, transport.clone())).collect();
    let change = Change::Renew { old: roster.member, new };
    let mut hung_up = vec![0; callers.len()];
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        for (caller, hung_up) in callers.iter().zip(&mut hung_up) {
            let asked = Instant::now();
            match caller.ask(Call::Change(change.clone()), CALL_PATIENCE).await {
                Ok(Answer::Done) => return Ok(()),
                Ok(Answer::Refused(reason)) => return Err(reason),
                // He ends the connection, and answers what was always asked.
                Err(_) if asked.elapsed() < CALL_PATIENCE && leads(caller).await => {
                    *hung_up += 1;
                    if *hung_up == HANGS_UP {
                        let at = &caller.peer().address;
                        return Err(format!(
                            "the server at {at}, which leads them, is of a version that fills nobody anew"
                        ));
                    }
                }
                // Another leads, or nobody does, or this one is away.
                Ok(_) | Err(_) => {}
            }
        }
        runtime::sleep(PAUSE).await;
    }
    Err("no other server leads a quorum of them".into())
}

async fn leads(caller: &Caller) -> bool {
    matches!(caller.ask(Call::ReadIndex, CALL_PATIENCE).await, Ok(Answer::ReadIndex(_)))
}

/// Gives everything another name; returns where it then lies.
fn put_aside(disk: &Arc<dyn Disk>, config: &Config, old: MemberId) -> io::Result<PathBuf> {
    let aside = config.directory.join(format!("damaged-{old}"));
    let (log, kept) = (config.directory.join("log"), aside.join("log"));
    disk.make_directory(&kept)?;
    // Who it was goes last: until then it is still to be put aside.
    for name in disk.names(&log)? {
        disk.rename(&log.join(&name), &kept.join(&name))?;
    }
    for name in ["image.redb", identity::FILE] {
        if disk.exists(&config.directory.join(name))? {
            disk.rename(&config.directory.join(name), &aside.join(name))?;
        }
    }
    if matches!(Keys::establish(disk, &config.keys), Err(OpenError::Damaged { .. })) {
        disk.rename(&config.keys, &config.keys.with_extension(format!("damaged-{old}")))?;
    }
    for directory in [&*kept, &aside, &log, &config.directory, disk::directory(&config.keys)] {
        disk.sync_directory(directory)?;
    }
    Ok(aside)
}

#[cfg(test)]
mod tests;
