//! The names of [`runtime`](crate::runtime), under test: the simulation's where one runs, and tokio's where not.

use std::fmt;
use std::future::Future;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use openraft::{AsyncRuntime, OptionalSend};
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};

use super::executor::{self, Executor, Life};

/// What Raft's library runs on.
#[derive(Debug)]
pub(crate) struct Runtime(Tokio);

#[allow(deprecated, reason = "the crate that it is to be taken from instead is the one that this name leads to")]
type Tokio = openraft::impls::TokioRuntime;

/// A moment, since some other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

/// A task that was started.
pub(crate) enum Task<T> {
    Tokio(tokio::task::JoinHandle<T>),
    Simulated { executor: Executor, task: Option<u64>, end: Arc<Mutex<End<T>>> },
}

/// How a task ended, and who waits for that.
pub(crate) struct End<T> {
    outcome: Option<Result<T, Ended>>,
    waiting: Option<Waker>,
}

/// Why a task has no outcome.
#[derive(Debug)]
pub(crate) enum Ended {
    Tokio(tokio::task::JoinError),
    Simulated,
}

/// Tasks that end with whoever has them.
pub(crate) struct Tasks<T>(Vec<Task<T>>);

pub(crate) enum Sleep {
    Tokio(Pin<Box<tokio::time::Sleep>>),
    Simulated(Nap),
}

/// A sleep in the simulation.
pub(crate) struct Nap {
    executor: Executor,
    life: Option<Life>,
    until: Duration,
    timer: Option<(Duration, u64)>,
}

pub(crate) struct Timeout<F> {
    work: Pin<Box<F>>,
    sleep: Sleep,
}

/// It took too long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// The chance that Raft's library uses.
pub(crate) struct Chance;

/// When the process began, as far as that matters.
static EPOCH: LazyLock<tokio::time::Instant> = LazyLock::new(tokio::time::Instant::now);

pub(crate) fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let Some(executor) = executor::current() else { return Task::Tokio(tokio::spawn(future)) };
    spawn_of(&executor, executor::life(), future)
}

/// Starts a task of this process.
pub(crate) fn spawn_of<F>(executor: &Executor, life: Option<Life>, future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let end = Arc::new(Mutex::new(End { outcome: None, waiting: None }));
    let telling = Telling(end.clone());
    let task = executor.start(life, async move {
        let telling = telling;
        let outcome = future.await;
        telling.0.lock().outcome = Some(Ok(outcome));
    });
    Task::Simulated { executor: executor.clone(), task, end }
}

/// Tells how a task ended, however it did.
struct Telling<T>(Arc<Mutex<End<T>>>);

impl<T> Drop for Telling<T> {
    fn drop(&mut self) {
        let mut end = self.0.lock();
        end.outcome.get_or_insert(Err(Ended::Simulated));
        if let Some(waker) = end.waiting.take() {
            drop(end);
            waker.wake();
        }
    }
}

pub(crate) async fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Ended> {
    if executor::current().is_some() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(Ended::Tokio)
}

pub(crate) async fn yield_now() {
    sleep(Duration::ZERO).await;
}

pub(crate) fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

pub(crate) fn sleep_until(deadline: Instant) -> Sleep {
    match executor::current() {
        None => Sleep::Tokio(Box::pin(tokio::time::sleep_until(*EPOCH + deadline.0))),
        Some(executor) => Sleep::Simulated(Nap { executor, life: executor::life(), until: deadline.0, timer: None }),
    }
}

pub(crate) fn timeout<F: Future>(duration: Duration, work: F) -> Timeout<F> {
    Timeout { work: Box::pin(work), sleep: sleep(duration) }
}

// === impl Task ===

impl<T> Task<T> {
    pub(crate) fn abort(&self) {
        match self {
            Self::Tokio(task) => task.abort(),
            Self::Simulated { executor, task, .. } => {
                if let Some(task) = task {
                    executor.abort(*task);
                }
            }
        }
    }

    fn is_finished(&self) -> bool {
        match self {
            Self::Tokio(task) => task.is_finished(),
            Self::Simulated { end, .. } => end.lock().outcome.is_some(),
        }
    }
}

impl<T> Unpin for Task<T> {}

impl<T> Future for Task<T> {
    type Output = Result<T, Ended>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Tokio(task) => Pin::new(task).poll(context).map_err(Ended::Tokio),
            Self::Simulated { end, .. } => {
                let mut end = end.lock();
                match end.outcome.take() {
                    Some(outcome) => Poll::Ready(outcome),
                    None => {
                        end.waiting = Some(context.waker().clone());
                        Poll::Pending
                    }
                }
            }
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tokio(error) => error.fmt(f),
            Self::Simulated => f.write_str("the task was ended"),
        }
    }
}

impl std::error::Error for Ended {}

// === impl Tasks ===

impl<T: Send + 'static> Tasks<T> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn spawn(&mut self, future: impl Future<Output = T> + Send + 'static) {
        self.0.push(spawn(future));
    }

    /// Forgets one that has ended, if there is one.
    pub(crate) fn try_join_next(&mut self) -> Option<()> {
        let at = self.0.iter().position(Task::is_finished)?;
        self.0.swap_remove(at);
        Some(())
    }
}

impl<T> Drop for Tasks<T> {
    fn drop(&mut self) {
        self.0.iter().for_each(Task::abort);
    }
}

// === impl Sleep ===

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &mut *self {
            Self::Tokio(sleep) => sleep.as_mut().poll(context),
            Self::Simulated(nap) => nap.poll(context),
        }
    }
}

impl Nap {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(timer) = self.timer.take() {
            self.executor.forget(timer);
        }
        if self.executor.clock(self.life) >= self.until {
            return Poll::Ready(());
        }
        self.timer = Some(self.executor.wake_at(self.life, self.until, context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Nap {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            self.executor.forget(timer);
        }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(done) = self.work.as_mut().poll(context) {
            return Poll::Ready(Ok(done));
        }
        Pin::new(&mut self.sleep).poll(context).map(|()| Err(Elapsed))
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it took too long")
    }
}

// === impl Instant ===

impl Instant {
    pub(crate) fn now() -> Self {
        match executor::current() {
            None => Self(EPOCH.elapsed()),
            Some(executor) => Self(executor.clock(executor::life())),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, time: Duration) {
        self.0 += time;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(time))
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, time: Duration) {
        self.0 = self.0.saturating_sub(time);
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, other: Self) -> Duration {
        self.0.saturating_sub(other.0)
    }
}

impl openraft::async_runtime::Instant for Instant {
    fn now() -> Self {
        Self::now()
    }
}

// === impl Runtime ===

impl AsyncRuntime for Runtime {
    type JoinError = Ended;
    type JoinHandle<T: OptionalSend + 'static> = Task<T>;
    type Sleep = Sleep;
    type Instant = Instant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = Chance;
    type Mpsc = <Tokio as AsyncRuntime>::Mpsc;
    type Watch = <Tokio as AsyncRuntime>::Watch;
    type Oneshot = <Tokio as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Task<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        spawn(future)
    }

    fn sleep(duration: Duration) -> Sleep {
        sleep(duration)
    }

    fn sleep_until(deadline: Instant) -> Sleep {
        sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Timeout<F> {
        timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Instant, future: F) -> Timeout<F> {
        Timeout { work: Box::pin(future), sleep: sleep_until(deadline) }
    }

    fn is_panic(error: &Ended) -> bool {
        matches!(error, Ended::Tokio(error) if error.is_panic())
    }

    fn thread_rng() -> Chance {
        Chance
    }

    fn new(threads: usize) -> Self {
        Self(Tokio::new(threads))
    }

    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        self.0.block_on(future)
    }
}

impl rand_core::TryRng for Chance {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.try_next_u64().map(|number| number as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        fill(bytes);
        Ok(())
    }
}

/// Bytes by chance: the simulation's where one runs.
pub(crate) fn fill(bytes: &mut [u8]) {
    match executor::current() {
        Some(executor) => executor.random(|random| random.fill(bytes)),
        None => SystemRandom::new().fill(bytes).expect("a system has randomness"),
    }
}
