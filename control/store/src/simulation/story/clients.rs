//! Clients: each writes and reads through whichever member, and notes when it asked and what it was told.

use std::time::Duration;

use state::{Guard, Revision, Txn};
use tokio::sync::oneshot;

use super::super::check::{Ask, Operation, Told};
use super::super::stage::key;
use super::super::{object, value};
use super::{KEYS, MEMBERS, PATIENCE, Story};
use crate::{ProposeError, Store, runtime};

impl Story {
    pub(super) async fn client(self, number: u64) {
        while !self.notes.lock().is_over {
            let pause = self.stage.toss(|random| random.range(5, 40));
            runtime::sleep(Duration::from_millis(pause)).await;
            let place = self.stage.toss(|random| random.below(MEMBERS as u64)) as usize;
            let name = format!("k{}", self.stage.toss(|random| random.below(KEYS)));
            let Some((life, store)) = self.stage.store(place) else { continue };
            let (kind, fresh) = (self.stage.toss(|random| random.below(10)), {
                let mut notes = self.notes.lock();
                notes.next_value += 1;
                notes.next_value * 10 + number
            });
            // What a swap expects is what its client saw, here, perhaps long ago.
            let seen = store.snapshot().get(&key(&name)).map(|object| (value(object), object.revision()));
            let ask = match kind {
                0..4 => Ask::Read,
                4..7 => Ask::Put(fresh),
                7 => Ask::Remove,
                _ => Ask::Swap { expected: seen.map(|(value, _)| value), new: fresh },
            };
            let asked_at = self.stage.executor.now().as_nanos() as u64;
            let (tell, told) = oneshot::channel();
            drop(runtime::spawn_of(
                &self.stage.executor,
                Some(life),
                answer(store, name.clone(), ask.clone(), seen.map(|(_, at)| at), tell),
            ));
            let told = runtime::timeout(PATIENCE, told).await;
            let (told, revision) = told.ok().and_then(Result::ok).unwrap_or((Told::Unknown, None));
            let mut notes = self.notes.lock();
            let written = match ask {
                Ask::Put(value) | Ask::Swap { new: value, .. } => Some(Some(value)),
                Ask::Remove => Some(None),
                Ask::Read => None,
            };
            if let (Some(written), Told::Done, Some(revision)) = (written, &told, revision) {
                notes.acknowledged.push((name.clone(), written, revision));
            }
            let told_at = self.stage.executor.now().as_nanos() as u64;
            notes.history.push(Operation { key: name, asked_at, told_at, ask, told });
        }
    }
}

/// Does what a client asks for, in the process of the member that it asks.
async fn answer(
    store: Store,
    name: String,
    ask: Ask,
    seen: Option<Revision>,
    tell: oneshot::Sender<(Told, Option<Revision>)>,
) {
    let guard = match seen {
        Some(revision) => Guard::Unchanged(key(&name), revision),
        None => Guard::Absent(key(&name)),
    };
    let txn = match ask {
        Ask::Read => {
            let told = match store.read().await {
                Ok(world) => Told::Found(world.get(&key(&name)).map(value)),
                Err(_) => Told::Unknown,
            };
            // The client may have given up.
            let _ = tell.send((told, None));
            return;
        }
        Ask::Put(value) => Txn::default().put(object(&name, value)),
        Ask::Remove => Txn::default().remove(key(&name)),
        Ask::Swap { new, .. } => Txn::default().guard(guard).put(object(&name, new)),
    };
    let told = match store.propose(txn).await {
        Ok(committed) => (Told::Done, committed.events.last().map(|event| event.revision)),
        Err(ProposeError::Conflict(_)) => (Told::Refused, None),
        Err(_) => (Told::Unknown, None),
    };
    let _ = tell.send(told);
}
