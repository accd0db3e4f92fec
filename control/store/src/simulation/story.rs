//! A cluster, clients and misfortune: one seed decides all of it.
//!
//! Members are whole stores on simulated machines. Clients write and read through them and note when they asked and what they were
//! told; watchers note every event. Meanwhile the network is cut, members are killed, lose their power in the midst of a write,
//! sleep or have their clocks jump. In the end all is well again, and what was noted is judged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use state::Revision;

use super::check::Operation;
use super::settings;
use super::stage::{self, Stage};
use crate::fault::Bug;
use crate::history::Limits;
use crate::{Config, runtime};

mod clients;
mod judgement;
mod misfortune;
mod watchers;

const MEMBERS: usize = 3;
const CLIENTS: u64 = 3;
const KEYS: u64 = 3;

/// How long misfortune lasts.
const TROUBLE: Duration = Duration::from_millis(1_600);

/// A client that was not answered by then does something else.
const PATIENCE: Duration = Duration::from_millis(1_200);

/// How a story went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// The same wherever everything went the same way.
    pub(crate) trace: u64,
    pub(crate) operations: usize,
    pub(crate) acknowledged: usize,
    pub(crate) events: usize,
    pub(crate) crashes: u64,
    /// How often a member noticed that its files are not what was written.
    pub(crate) noticed: u64,
    pub(crate) steps: u64,
}

/// What happens to the members.
#[derive(Clone, Copy, Debug)]
enum Misfortune {
    Everything,
    /// Bits turn in the files of one member while it is down.
    Decay,
}

/// What everybody knows. Cloning shares it.
#[derive(Clone)]
struct Story {
    stage: Stage,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Default)]
struct Notes {
    history: Vec<Operation>,
    /// For each write that was acknowledged: its key, its value and its revision.
    acknowledged: Vec<(String, Option<u64>, Revision)>,
    /// What every revision wrote, as the first who told of it said.
    truth: BTreeMap<Revision, (String, Option<u64>)>,
    wrong: Vec<String>,
    next_value: u64,
    events: usize,
    noticed: u64,
    is_over: bool,
}

/// Plays the story of this seed, with this mistake in the store if there is one.
pub(crate) fn play(seed: u64, bug: Option<Bug>) -> Result<Report, String> {
    run(seed, bug, Misfortune::Everything)
}

/// Plays one in which nothing happens but that bits turn in the files of one member.
pub(crate) fn decay(seed: u64) -> Result<Report, String> {
    run(seed, None, Misfortune::Decay)
}

fn run(seed: u64, bug: Option<Bug>, misfortune: Misfortune) -> Result<Report, String> {
    let config = Config { history: Limits { events_max: 60, ..Limits::default() }, ..settings() };
    stage::play(seed, bug, config, |stage| Story { stage, notes: Arc::default() }.play(misfortune))
}

// === impl Story ===

impl Story {
    async fn play(self, misfortune: Misfortune) -> Result<Report, String> {
        self.stage.found(MEMBERS).await?;
        let mut tasks: Vec<_> = (0..CLIENTS).map(|number| runtime::spawn(self.clone().client(number))).collect();
        tasks.extend((0..MEMBERS).map(|place| runtime::spawn(self.clone().watcher(place))));
        tasks.push(runtime::spawn(self.clone().narrow_watcher()));
        match misfortune {
            Misfortune::Everything => self.trouble().await?,
            Misfortune::Decay => self.rot().await?,
        }
        self.recover().await?;
        self.notes.lock().is_over = true;
        for task in tasks {
            let _ = runtime::timeout(PATIENCE * 3, task).await;
        }
        self.stage.remembers().await?;
        self.judge()
    }

    fn wrong(&self, what: String) {
        self.notes.lock().wrong.push(what);
    }
}
