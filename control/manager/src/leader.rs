//! One reign: from a full scan until another member leads.

use std::sync::Arc;

use controllers::{Controller, Queue};
use jiff::{SignedDuration, Timestamp};
use state::{Change, Event, Key, Snapshot};
use store::{ReadError, Store, Subscription};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, error};

use crate::figures::{self, Waiting};
use crate::round::{self, Ended};
use crate::{Config, RunError};

/// The longest sleep without looking at the clock: a laptop that was shut wakes with an hour gone.
const SLEEP_MS_MAX: i64 = 1_000;

/// A key rests so many times as long as it was looked at: a set of ten thousand pods does not keep a processor busy by counting them.
const RESTS_PER_LOOK: u32 = 4;
/// Nobody waits longer for want of a look.
const REST_MAX: std::time::Duration = std::time::Duration::from_millis(50);

/// A leader that is cut off controls nothing for longer than this, though whatever it wants is refused at once.
const PROOF_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// A key as one of the controllers sees it.
type Task = (usize, Key);

struct Reign<'a, C> {
    config: &'a Config,
    store: &'a Store,
    clock: &'a C,
    controllers: Arc<[Box<dyn Controller>]>,
    queue: Queue<Task>,
    looks: JoinSet<(Task, Ended)>,
    /// How many looks there were, so that no two share their chance.
    looked: u64,
}

/// Sees to every key until this member no longer leads.
pub(crate) async fn lead<C>(config: &Config, store: &Store, clock: &C) -> Result<(), RunError>
where
    C: Fn() -> Timestamp + Send + Sync + Clone + 'static,
{
    let grace = SignedDuration::try_from(config.node_grace).unwrap_or(SignedDuration::MAX);
    let root_certificate = config.root_certificate.clone();
    let signers = config.signers.clone();
    let pod_network = config.pod_network;
    let told = controllers::Config {
        node_grace: grace,
        pod_network,
        root_certificate,
        signers,
        ..controllers::Config::starting(clock())
    };
    let controllers = controllers::all(&told).into();
    let reign = Reign { config, store, clock, controllers, queue: Queue::new(), looks: JoinSet::new(), looked: 0 };
    reign.last().await
}

// === impl Reign ===

impl<C> Reign<'_, C>
where
    C: Fn() -> Timestamp + Send + Sync + Clone + 'static,
{
    async fn last(mut self) -> Result<(), RunError> {
        let mut events = self.begin();
        let mut next_scan = tokio::time::Instant::now() + self.config.scan_every;
        let deposed = deposed(self.store);
        tokio::pin!(deposed);
        let mut waiting = self.config.figures.as_ref().map(|figures| figures.waiting());
        loop {
            self.start_looks();
            let sleep = self.until_due();
            tokio::select! {
                ended = &mut deposed => return ended,
                told = events.next() => match told {
                    Ok(told) => self.hear(&told),
                    // Fallen behind the history: what happened is found by looking at everything.
                    Err(_) => events = self.begin(),
                },
                Some(ended) = self.looks.join_next() => {
                    let (task, ended) = match ended {
                        Ok(ended) => ended,
                        // Its key would count as running for ever: begin anew with everything.
                        Err(fault) => {
                            error!(%fault, "a look at the world failed");
                            return Ok(());
                        }
                    };
                    match ended {
                        Ended::Looked { outcome, took } => {
                            let rest = SignedDuration::try_from((RESTS_PER_LOOK * took).min(REST_MAX)).unwrap_or_default();
                            self.queue.done(task, outcome, rest, (self.clock)());
                        }
                        Ended::Deposed => return Ok(()),
                        Ended::Closed => return Err(RunError::Closed),
                    }
                }
                told = somebody_waits(&mut waiting) => self.heed(&told),
                () = tokio::time::sleep(sleep), if self.has_free_look() => {}
                () = tokio::time::sleep_until(next_scan) => {
                    next_scan += self.config.scan_every;
                    self.scan(&self.store.snapshot());
                }
            }
        }
    }

    /// Looks at everything there is, and subscribes to whatever comes after.
    fn begin(&mut self) -> Subscription {
        loop {
            let view = self.store.snapshot();
            if let Ok(events) = self.store.subscribe(store::Interest::All, view.revision()) {
                self.scan(&view);
                return events;
            }
        }
    }

    /// Wants every key looked at, as if every object had just been added.
    fn scan(&mut self, view: &Snapshot) {
        for object in view.objects() {
            let event = Event { revision: object.revision(), change: Change::Added(object.clone()) };
            self.affect(&event, view);
        }
        debug!(keys = self.queue.len(), "every object was looked at");
    }

    fn hear(&mut self, events: &[Arc<Event>]) {
        let view = self.store.snapshot();
        for event in events {
            self.affect(event, &view);
        }
    }

    /// Looks at once at whatever may have to do with those who wait.
    fn heed(&mut self, waiting: &Waiting) {
        let view = self.store.snapshot();
        for figure in figures::told(waiting, (self.clock)()) {
            self.affect(&figures::appearing(figure, &view), &view);
        }
    }

    fn affect(&mut self, event: &Event, view: &Snapshot) {
        let now = (self.clock)();
        for (at, controller) in self.controllers.iter().enumerate() {
            for key in controller.affected(event, view) {
                self.queue.add((at, key), now);
            }
        }
    }

    fn has_free_look(&self) -> bool {
        self.looks.len() < self.config.looks_max
    }

    fn start_looks(&mut self) {
        let now = (self.clock)();
        while self.has_free_look() {
            let Some(task) = self.queue.pop(now) else { return };
            self.looked += 1;
            let seed = mixed(self.config.seed, self.looked, now);
            let (store, controllers, clock) = (self.store.clone(), self.controllers.clone(), self.clock.clone());
            let (figures, gate, outages) = (self.config.figures.clone(), self.config.gate.clone(), self.config.outages);
            self.looks.spawn(async move {
                let beside = (figures.as_deref(), gate.as_deref(), outages);
                let ended = round::look(&*controllers[task.0], &task.1, &store, beside, clock, seed).await;
                (task, ended)
            });
        }
    }

    fn until_due(&self) -> std::time::Duration {
        let wait = self.queue.next_due().map_or(SLEEP_MS_MAX, |due| {
            let wait = due.duration_since((self.clock)()).as_millis();
            i64::try_from(wait).unwrap_or(SLEEP_MS_MAX).clamp(0, SLEEP_MS_MAX) + 1
        });
        std::time::Duration::from_millis(wait.unsigned_abs())
    }
}

/// Ends when this member does not lead any more: at once where it hears of another, and soon where it hears nothing.
async fn deposed(store: &Store) -> Result<(), RunError> {
    let mut cluster = store.cluster();
    loop {
        // Changed or not, it is asked.
        let _ = tokio::time::timeout(PROOF_EVERY, cluster.changed()).await;
        match store.leads().await {
            Ok(true) => {}
            Ok(false) | Err(ReadError::NotLeader { .. }) => return Ok(()),
            Err(ReadError::Closed) => return Err(RunError::Closed),
        }
    }
}

/// Who waits, once that is another than before.
async fn somebody_waits(waiting: &mut Option<watch::Receiver<Waiting>>) -> Waiting {
    if let Some(waiting) = waiting
        && waiting.changed().await.is_ok()
    {
        return waiting.borrow_and_update().clone();
    }
    std::future::pending().await
}

/// Chance for one look. Two processes that were given the same seed still part ways by their clocks.
fn mixed(seed: u64, count: u64, now: Timestamp) -> u64 {
    let time = now.as_nanosecond() as u64;
    [count, time].into_iter().fold(seed, |mixed, word| {
        let mixed = (mixed ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}
