//! A future whose processor time is booked, slowed to its quota, and kept out of the way of others.
//!
//! A guest begins in front. One that is made to give way again and again, because it does not wait for anything, goes on behind, on
//! threads that the system runs when nobody in front wants the processor; when it has waited of its own accord for a while it comes
//! back. So a guest that computes takes what is left, and one that answers is not kept waiting by it. What its container was promised
//! a guest has in front.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;
use tokio::time::Sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::ledger::Ledger;

/// Drives a guest: every poll is charged to the ledger, and after one that overdrew it the guest rests.
///
/// A guest gives way at every tick, so a poll overdraws by a few ticks at most.
pub(crate) struct Metered<T> {
    place: Place<T>,
    behind: Handle,
}

enum Place<T> {
    Front(Paying<T>),
    Behind(AbortOnDropHandle<Left<T>>),
    /// Between the two.
    Moving,
}

/// How a guest leaves the threads behind.
enum Left<T> {
    Ended(T),
    Calm(Paying<T>),
}

/// A guest with the account it pays from.
struct Paying<T> {
    guest: BoxFuture<'static, T>,
    ledger: Ledger,
    /// Whether it waits when it has used more than it may.
    rests: bool,
    rest: Option<Pin<Box<Sleep>>>,
    pace: Pace,
}

/// What a guest did with the last turns it had.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Since when it is counted how much it has used.
    since: Instant,
    used: Duration,
    /// Turns in a row that the guest did not end by itself.
    forced: u32,
    /// How long it has to be calm until it may come back.
    calm: Duration,
}

/// What became of a guest that was polled.
enum Step<T> {
    Ended(T),
    Turned(Turn),
    /// It has used more than it may, and is not run.
    Rests,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The guest waits for something.
    Waits,
    /// It was made to give way.
    Forced,
    /// It took more than anybody may in front: in one long step, in which it cannot be made to give way, or in many short ones.
    Kept,
}

/// The first turn after a wait may end at once, and the second is cut short by a tick that was under way: one turn was whole.
const FORCED_MAX: u32 = 3;

/// Several ticks of processor time.
const TURN_MAX: Duration = Duration::from_millis(20);

/// Waiting for a moment now and then is not enough: over this long a guest in front has half a processor, or what its container was
/// promised if that is more.
const WINDOW: Duration = Duration::from_millis(100);
const MILLIS_IN_FRONT: u32 = 500;

/// How long a guest has to be calm the first time; each time it is twice as long, so that nobody gains by being calm in between.
const CALM_FIRST: Duration = Duration::from_millis(100);
const CALM_LAST: Duration = Duration::from_secs(10);

thread_local! {
    static FORCED: Cell<bool> = const { Cell::new(false) };
}

/// Says that the guest that runs on this thread is being made to give way.
pub(crate) fn force() {
    FORCED.set(true);
}

// === impl Metered ===

impl<T> Metered<T> {
    /// A guest in front, which may go on `behind`.
    pub(crate) fn new(guest: impl Future<Output = T> + Send + 'static, ledger: Ledger, behind: Handle) -> Self {
        Self::paying(Box::pin(guest), ledger, true, behind)
    }

    /// Work that a guest causes. It pays, and the guest waits for what was paid; it does not wait itself, so that what a guest has
    /// left behind is done when the guest is gone.
    pub(crate) fn work(work: impl Future<Output = T> + Send + 'static, ledger: Ledger, behind: Handle) -> Self {
        Self::paying(Box::pin(work), ledger, false, behind)
    }

    fn paying(guest: BoxFuture<'static, T>, ledger: Ledger, rests: bool, behind: Handle) -> Self {
        let pace = Pace::new(Instant::now());
        Self { place: Place::Front(Paying { guest, ledger, rests, rest: None, pace }), behind }
    }
}

impl<T: Send + 'static> Metered<T> {
    /// Ends the guest wherever it is, and resolves when it is gone.
    pub(crate) async fn end(self) {
        if let Place::Behind(staying) = self.place {
            staying.abort();
            // That it was cut short is what was wanted.
            let _ = staying.await;
        }
    }
}

impl<T: Send + 'static> Future for Metered<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        loop {
            match &mut self.place {
                Place::Front(paying) => {
                    if let Step::Ended(ended) = paying.step(cx) {
                        return Poll::Ready(ended);
                    }
                    if !paying.pace.is_busy() {
                        return Poll::Pending;
                    }
                    let Place::Front(paying) = std::mem::replace(&mut self.place, Place::Moving) else { continue };
                    let staying = self.behind.spawn(stay(paying));
                    self.place = Place::Behind(AbortOnDropHandle::new(staying));
                }
                Place::Behind(staying) => match ready!(Pin::new(staying).poll(cx)) {
                    Ok(Left::Ended(ended)) => return Poll::Ready(ended),
                    Ok(Left::Calm(paying)) => self.place = Place::Front(paying),
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    // The host is ending, and this with it.
                    Err(_) => self.place = Place::Moving,
                },
                Place::Moving => return Poll::Pending,
            }
        }
    }
}

impl<T> Unpin for Metered<T> {}

/// Runs a guest until it has ended or is calm.
async fn stay<T>(mut paying: Paying<T>) -> Left<T> {
    let calm = paying.pace.leave_front();
    let mut waiting: Option<Pin<Box<Sleep>>> = None;
    let ended = std::future::poll_fn(|cx| {
        match paying.step(cx) {
            Step::Ended(ended) => return Poll::Ready(Some(ended)),
            Step::Rests => {}
            Step::Turned(Turn::Waits) => {
                waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(calm)));
            }
            Step::Turned(Turn::Forced | Turn::Kept) => waiting = None,
        }
        match &mut waiting {
            Some(waiting) => waiting.as_mut().poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    });
    match ended.await {
        Some(ended) => Left::Ended(ended),
        None => Left::Calm(paying),
    }
}

// === impl Paying ===

impl<T> Paying<T> {
    /// Gives the guest a turn, unless it has to rest.
    fn step(&mut self, cx: &mut Context<'_>) -> Step<T> {
        if let Some(rest) = &mut self.rest {
            if rest.as_mut().poll(cx).is_pending() {
                return Step::Rests;
            }
            self.rest = None;
        }
        let before = thread_time();
        FORCED.set(false);
        let polled = self.guest.as_mut().poll(cx);
        let used = thread_time().saturating_sub(before);
        let wait = self.ledger.charge_cpu(used);
        let promised = self.ledger.limits().cpu_request_millis.max(MILLIS_IN_FRONT);
        let is_over = self.pace.spend(used, promised, Instant::now());
        let turn = match FORCED.take() {
            _ if is_over || used >= TURN_MAX => Turn::Kept,
            true => Turn::Forced,
            false => Turn::Waits,
        };
        self.pace.note(turn);
        if polled.is_pending() && self.rests && !wait.is_zero() {
            let mut rest = Box::pin(tokio::time::sleep(wait));
            if rest.as_mut().poll(cx).is_pending() {
                self.rest = Some(rest);
            } else {
                cx.waker().wake_by_ref();
            }
        }
        match polled {
            Poll::Ready(ended) => Step::Ended(ended),
            Poll::Pending => Step::Turned(turn),
        }
    }
}

// === impl Pace ===

impl Pace {
    fn new(now: Instant) -> Self {
        Self { since: now, used: Duration::ZERO, forced: 0, calm: CALM_FIRST }
    }

    /// Whether the guest has used more of late than it was promised.
    fn spend(&mut self, used: Duration, promised_millis: u32, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= WINDOW {
            (self.since, self.used) = (now, Duration::ZERO);
        }
        self.used += used;
        self.used > WINDOW * promised_millis / 1_000
    }

    fn note(&mut self, turn: Turn) {
        self.forced = match turn {
            Turn::Waits => 0,
            Turn::Forced => self.forced + 1,
            Turn::Kept => FORCED_MAX,
        };
    }

    fn is_busy(&self) -> bool {
        self.forced >= FORCED_MAX
    }

    /// How long the guest is to be calm before it comes back.
    fn leave_front(&mut self) -> Duration {
        let calm = self.calm;
        self.calm = (calm * 2).min(CALM_LAST);
        self.forced = 0;
        calm
    }
}

/// What this thread has used; time in which the system ran another thread is not the guest's.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::ledger::Limits;

    fn busy_after(turns: &[Turn]) -> bool {
        let mut pace = Pace::new(Instant::now());
        for turn in turns {
            pace.note(*turn);
        }
        pace.is_busy()
    }

    #[test]
    fn who_never_waits_is_busy() {
        use Turn::{Forced, Kept, Waits};
        assert!(!busy_after(&[Forced, Forced]));
        assert!(busy_after(&[Forced, Forced, Forced]));
        assert!(!busy_after(&[Forced, Forced, Waits, Forced, Forced]));
        assert!(busy_after(&[Waits, Kept]));
    }

    #[test]
    fn each_time_it_takes_longer_to_come_back() {
        let mut pace = Pace::new(Instant::now());
        let calm: Vec<u128> = (0..9).map(|_| pace.leave_front().as_millis()).collect();
        assert_eq!(calm, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
    }

    #[test]
    fn who_waits_for_a_moment_now_and_then_is_busy_all_the_same() {
        let ms = Duration::from_millis;
        let start = Instant::now();
        let is_over = |promised: u32| {
            let mut pace = Pace::new(start);
            (1..30).any(|turn: u32| pace.spend(ms(3), promised, start + ms(4) * turn))
        };
        assert!(is_over(500) && !is_over(1_000));
    }

    /// Takes a moment of the processor each time it is polled, counts that, and never ends.
    fn greedy(polls: Arc<AtomicU32>) -> impl Future<Output = ()> {
        std::future::poll_fn(move |cx| {
            let end = thread_time() + Duration::from_millis(2);
            while thread_time() < end {}
            polls.fetch_add(1, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    #[tokio::test]
    async fn who_overdrew_the_account_rests_and_what_he_left_to_do_does_not() {
        let ledger = Ledger::new(Limits { cpu_millis: Some(1), ..Limits::default() });
        let polled = async |make: fn(BoxFuture<'static, ()>, Ledger, Handle) -> Metered<()>| {
            let polls = Arc::<AtomicU32>::default();
            let mut metered = make(Box::pin(greedy(polls.clone())), ledger.clone(), Handle::current());
            for _ in 0..2 {
                assert!(futures::poll!(&mut metered).is_pending());
            }
            polls.load(Ordering::Relaxed)
        };
        assert_eq!(polled(Metered::new).await, 1);
        assert_eq!(polled(Metered::work).await, 2);
        assert!(ledger.usage().cpu >= Duration::from_millis(6), "both pay");
    }

    /// Has a turn that is forced as long as `turns` has more, then waits for `pause` and ends; tells which thread it ended on.
    async fn guest(turns: u32, pause: Duration) -> Option<String> {
        for _ in 0..turns {
            let mut is_first = true;
            std::future::poll_fn(|cx| {
                if std::mem::take(&mut is_first) {
                    force();
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
        }
        tokio::time::sleep(pause).await;
        std::thread::current().name().map(str::to_owned)
    }

    async fn check(turns: u32, pause: Duration, expected: &str) {
        let behind = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("behind")
            .enable_all()
            .build()
            .expect("threads");
        let ended = Metered::new(guest(turns, pause), Ledger::default(), behind.handle().clone()).await;
        assert_eq!(ended.as_deref() == Some("behind"), expected == "behind");
        behind.shutdown_background();
    }

    #[tokio::test]
    async fn a_busy_guest_goes_on_behind_and_a_calm_one_comes_back() {
        check(2, Duration::ZERO, "front").await;
        check(50, Duration::ZERO, "behind").await;
        check(50, CALM_FIRST * 3, "front").await;
    }
}
