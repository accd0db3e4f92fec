//! A store that begins with a world instead of with nothing.
//!
//! What is written is what a member has on disk that was given the whole world by another: an image that stands at an entry of a log
//! whose entries are gone. So whoever joins later is given the world too, and cannot take the log for all there is.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use state::Snapshot;

use crate::consensus::{LeaderId, LogId, Member, Membership, StoredMembership};
use crate::disk::{Disk, Real};
use crate::image::{Image, Standing};
use crate::seal::{Keys, Sealer};
use crate::{Config, MemberId, OpenError, identity};

/// Where in the log the world stands. An index above nought, so that a log without entries is seen to have lost some.
pub(crate) const BEGINNING: LogId = LogId { leader_id: LeaderId { term: 0, node_id: 0 }, index: 1 };

/// Makes the store of a new cluster in the configured directory, whose sole member is the one that will be opened there, and whose
/// world is this one. No watch resumes from before it. A directory that has a store is refused.
pub fn found(config: &Config, world: &Snapshot) -> Result<MemberId, OpenError> {
    let directory = &config.directory;
    let image = directory.join("image.redb");
    if image.exists() {
        let source = io::Error::new(io::ErrorKind::AlreadyExists, "there is a store already");
        return Err(OpenError::Io { path: image, source });
    }
    let disk: Arc<dyn Disk> = Arc::new(Real);
    disk.make_directory(directory).map_err(|source| OpenError::Io { path: directory.clone(), source })?;
    let sealer = Sealer::new(&Keys::establish(&disk, &config.keys)?);
    let member = identity::establish(&*disk, directory)?;
    Image::found(&*disk, &image, config.image, sealer, world, &standing(member, world)?)?;
    Ok(member)
}

fn standing(member: MemberId, world: &Snapshot) -> Result<Standing, OpenError> {
    // It says where it is as soon as it is opened.
    let alone = BTreeMap::from([(member, Member { address: String::new() })]);
    let membership = Membership::new(vec![BTreeSet::from([member])], alone).map_err(OpenError::consensus)?;
    Ok(Standing {
        applied: Some(BEGINNING),
        membership: StoredMembership::new(Some(BEGINNING), membership),
        revision: world.revision(),
        floor: world.revision(),
        ..Standing::default()
    })
}
