//! One thread, one queue, one clock that stands still while anybody has something to do.
//!
//! Which of those that could go on goes on is tossed, so each seed tries another order; who woke them first makes no difference,
//! which is why the wake-ups of tokio's channels, themselves tossed, do no harm. Every task has a [`Life`], that of a process, unless
//! it is the story's own. A process can be ended between any two steps, or in the midst of one by what it does to its disk; it can
//! be stopped for a while, and its clock can jump.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use super::random::Random;

/// A step takes so long: time goes on even where everybody is busy.
const STEP: Duration = Duration::from_micros(3);

/// A story of seconds takes some hundred thousand steps; one that takes so many goes round in circles.
const STEPS_MAX: u64 = 20_000_000;

/// So many steps without anybody having waited for the clock are somebody who is busy with nothing.
const STEPS_IN_A_ROW_MAX: u64 = 300_000;

/// A process, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Life(u64);

/// A simulation that runs. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Executor(Arc<Shared>);

struct Shared {
    ready: Arc<Mutex<BTreeSet<u64>>>,
    state: Mutex<State>,
}

struct State {
    now: Duration,
    tasks: BTreeMap<u64, Slot>,
    next_task: u64,
    timers: BTreeMap<(Duration, u64), Timer>,
    next_timer: u64,
    lives: BTreeMap<Life, Process>,
    next_life: u64,
    random: Random,
    steps: u64,
    steps_in_a_row: u64,
    /// A number that differs wherever anything went another way.
    trace: u64,
}

struct Slot {
    life: Option<Life>,
    /// Absent while it is being polled.
    future: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    waker: Waker,
}

struct Timer {
    life: Option<Life>,
    waker: Waker,
}

#[derive(Default)]
struct Process {
    stopped_until: Option<Duration>,
    /// How far its clock is ahead.
    ahead: Duration,
}

struct Bell {
    task: u64,
    ready: Arc<Mutex<BTreeSet<u64>>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Executor>> = const { RefCell::new(None) };
    static LIFE: Cell<Option<Life>> = const { Cell::new(None) };
}

/// The simulation that this code runs in, if it does.
pub(crate) fn current() -> Option<Executor> {
    CURRENT.with(|current| current.borrow().clone())
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ready.lock().insert(self.task);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.lock().insert(self.task);
    }
}

// === impl Executor ===

impl Executor {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            now: Duration::from_secs(1_000),
            tasks: BTreeMap::new(),
            next_task: 0,
            timers: BTreeMap::new(),
            next_timer: 0,
            lives: BTreeMap::new(),
            next_life: 0,
            random: Random::new(seed),
            steps: 0,
            steps_in_a_row: 0,
            trace: seed,
        };
        Self(Arc::new(Shared { ready: Arc::default(), state: Mutex::new(state) }))
    }

    /// Runs the story to its end, and drops whatever still runs then.
    pub(crate) fn run<T: Send + 'static>(&self, story: impl Future<Output = T> + Send + 'static) -> T {
        CURRENT.with(|current| {
            let before = current.borrow_mut().replace(self.clone());
            assert!(before.is_none(), "one simulation in a thread at a time");
        });
        let _left = Left(self.clone());
        let outcome = Arc::new(Mutex::new(None));
        let told = outcome.clone();
        self.start(None, async move {
            let end = story.await;
            *told.lock() = Some(end);
        });
        loop {
            if let Some(outcome) = outcome.lock().take() {
                return outcome;
            }
            let goes_on = self.step() || self.wait();
            assert!(goes_on, "nobody can go on, and nobody waits for anything: {}", self.describe());
        }
    }

    /// A number that is the same wherever everything went the same way.
    pub(crate) fn trace(&self) -> u64 {
        self.0.state.lock().trace
    }

    pub(crate) fn steps(&self) -> u64 {
        self.0.state.lock().steps
    }

    fn describe(&self) -> String {
        let state = self.0.state.lock();
        format!("{} steps, {:?}, {} tasks", state.steps, state.now, state.tasks.len())
    }

    pub(crate) fn random<T>(&self, toss: impl FnOnce(&mut Random) -> T) -> T {
        toss(&mut self.0.state.lock().random)
    }

    /// The true time.
    pub(crate) fn now(&self) -> Duration {
        self.0.state.lock().now
    }

    /// The time as this process sees it.
    pub(crate) fn clock(&self, life: Option<Life>) -> Duration {
        let state = self.0.state.lock();
        state.now + state.ahead(life)
    }

    /// Begins a process.
    pub(crate) fn begin(&self) -> Life {
        let mut state = self.0.state.lock();
        let life = Life(state.next_life);
        state.next_life += 1;
        state.lives.insert(life, Process::default());
        life
    }

    pub(crate) fn is_alive(&self, life: Life) -> bool {
        self.0.state.lock().lives.contains_key(&life)
    }

    /// Ends a process: none of its tasks takes another step.
    pub(crate) fn end(&self, life: Life) {
        let dropped = {
            let mut state = self.0.state.lock();
            state.lives.remove(&life);
            state.note(life.0 ^ 0xdead);
            let (ended, left) =
                std::mem::take(&mut state.tasks).into_iter().partition(|(_, slot)| slot.life == Some(life));
            state.tasks = left;
            state.timers.retain(|_, timer| timer.life != Some(life));
            let ended: BTreeMap<u64, Slot> = ended;
            ended
        };
        for slot in dropped.into_values() {
            within(slot.life, || drop(slot));
        }
    }

    /// A process takes no step for so long; its clock goes on.
    pub(crate) fn stop(&self, life: Life, time: Duration) {
        let mut state = self.0.state.lock();
        let until = state.now + time;
        if let Some(process) = state.lives.get_mut(&life) {
            process.stopped_until = Some(until);
        }
        drop(state);
        // Somebody has to be there when it goes on.
        self.start(None, {
            let executor = self.clone();
            async move {
                super::runtime::sleep(time).await;
                executor.go_on(life);
            }
        });
    }

    fn go_on(&self, life: Life) {
        let mut state = self.0.state.lock();
        let now = state.now;
        let Some(process) = state.lives.get_mut(&life) else { return };
        if process.stopped_until.is_some_and(|until| until <= now) {
            process.stopped_until = None;
            let tasks: Vec<u64> =
                state.tasks.iter().filter(|(_, slot)| slot.life == Some(life)).map(|(task, _)| *task).collect();
            drop(state);
            self.0.ready.lock().extend(tasks);
        }
    }

    /// The clock of a process jumps ahead.
    pub(crate) fn jump(&self, life: Life, time: Duration) {
        let mut state = self.0.state.lock();
        if let Some(process) = state.lives.get_mut(&life) {
            process.ahead += time;
            // All that waits for the clock looks at it anew.
            for timer in state.timers.values().filter(|timer| timer.life == Some(life)) {
                timer.waker.wake_by_ref();
            }
        }
    }

    /// Starts a task of a process, or of the story. None if the process has ended.
    pub(crate) fn start(&self, life: Option<Life>, future: impl Future<Output = ()> + Send + 'static) -> Option<u64> {
        let future = Box::pin(future);
        let mut state = self.0.state.lock();
        if life.is_some_and(|life| !state.lives.contains_key(&life)) {
            drop(state);
            within(life, || drop(future));
            return None;
        }
        let task = state.next_task;
        state.next_task += 1;
        let waker = Waker::from(Arc::new(Bell { task, ready: self.0.ready.clone() }));
        state.tasks.insert(task, Slot { life, future: Some(future), waker });
        drop(state);
        self.0.ready.lock().insert(task);
        Some(task)
    }

    /// Ends a task.
    pub(crate) fn abort(&self, task: u64) {
        let slot = self.0.state.lock().tasks.remove(&task);
        if let Some(slot) = slot {
            within(slot.life, || drop(slot));
        }
    }

    /// Has somebody woken at this time of the clock of this process; returns by what it can be forgotten.
    pub(crate) fn wake_at(&self, life: Option<Life>, time: Duration, waker: Waker) -> (Duration, u64) {
        let mut state = self.0.state.lock();
        let due = time.saturating_sub(state.ahead(life));
        let number = state.next_timer;
        state.next_timer += 1;
        state.timers.insert((due, number), Timer { life, waker });
        (due, number)
    }

    pub(crate) fn forget(&self, timer: (Duration, u64)) {
        let forgotten = self.0.state.lock().timers.remove(&timer);
        drop(forgotten);
    }

    /// Has one of those that can go on take a step; whether there was one.
    fn step(&self) -> bool {
        let picked = {
            let mut ready = self.0.ready.lock();
            let mut state = self.0.state.lock();
            let state = &mut *state;
            // Whoever has ended, or is stopped, is no candidate; whoever is stopped is made ready when it goes on.
            ready.retain(|task| {
                state.tasks.get(task).is_some_and(|slot| {
                    let process = slot.life.and_then(|life| state.lives.get(&life));
                    process.is_none_or(|process| process.stopped_until.is_none())
                })
            });
            if ready.is_empty() {
                return false;
            }
            let at = state.random.below(ready.len() as u64) as usize;
            let task = *ready.iter().nth(at).expect("it was counted");
            ready.remove(&task);
            state.now += STEP;
            state.steps += 1;
            state.steps_in_a_row += 1;
            assert!(state.steps < STEPS_MAX, "it goes on for ever");
            assert!(state.steps_in_a_row < STEPS_IN_A_ROW_MAX, "somebody is busy with nothing");
            state.note(task);
            let slot = state.tasks.get_mut(&task).expect("the others were left out");
            (task, slot.life, slot.future.take(), slot.waker.clone())
        };
        let (task, life, future, waker) = picked;
        let Some(mut future) = future else { return true };
        let polled = within(life, || future.as_mut().poll(&mut Context::from_waker(&waker)));
        let mut state = self.0.state.lock();
        match (polled, state.tasks.get_mut(&task)) {
            (Poll::Pending, Some(slot)) => slot.future = Some(future),
            _ => {
                state.tasks.remove(&task);
                drop(state);
                within(life, || drop(future));
            }
        }
        true
    }

    /// Lets time pass until somebody has something to do; whether there will be anybody.
    fn wait(&self) -> bool {
        let mut state = self.0.state.lock();
        let Some((&(due, _), _)) = state.timers.first_key_value() else { return false };
        state.now = state.now.max(due);
        state.steps_in_a_row = 0;
        let now = state.now;
        let mut wakers = Vec::new();
        while let Some(entry) = state.timers.first_entry()
            && entry.key().0 <= now
        {
            wakers.push(entry.remove().waker);
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        true
    }
}

/// The story is over, well or not: what still runs is dropped while the simulation is still there.
struct Left(Executor);

impl Drop for Left {
    fn drop(&mut self) {
        loop {
            let Some((_, slot)) = self.0.0.state.lock().tasks.pop_last() else { break };
            within(slot.life, || drop(slot));
        }
        CURRENT.with(|current| current.borrow_mut().take());
    }
}

/// The process that this code runs in.
pub(crate) fn life() -> Option<Life> {
    LIFE.get()
}

/// Does something as this process.
pub(crate) fn within<T>(life: Option<Life>, work: impl FnOnce() -> T) -> T {
    let before = LIFE.replace(life);
    let done = work();
    LIFE.set(before);
    done
}

/// Does something outside of the simulation, as if there were none.
pub(crate) fn outside<T>(work: impl FnOnce() -> T) -> T {
    let before = CURRENT.with(|current| current.borrow_mut().take());
    let done = within(None, work);
    CURRENT.with(|current| *current.borrow_mut() = before);
    done
}

// === impl State ===

impl State {
    fn ahead(&self, life: Option<Life>) -> Duration {
        life.and_then(|life| self.lives.get(&life)).map_or(Duration::ZERO, |process| process.ahead)
    }

    fn note(&mut self, what: u64) {
        let mixed = self.trace ^ what.wrapping_add(self.now.as_nanos() as u64);
        self.trace = mixed.rotate_left(13).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
