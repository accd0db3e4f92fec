//! The tick at which guests give way.
//!
//! One thread raises the engine's epoch at every tick while any instance lives. With none alive for a while it sleeps
//! for good, so a host at rest costs nothing; the next instance wakes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

/// Ticks without an instance before the thread rests: waking it costs more than some idle ticks.
const IDLE_TICKS_MAX: u32 = 200;

/// Owns the ticking thread, which ends with it.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    waker: Thread,
}

/// Keeps the tick going while an instance lives.
pub(crate) struct Ticking {
    shared: Arc<Shared>,
}

struct Shared {
    live: AtomicUsize,
    resting: AtomicBool,
    stopped: AtomicBool,
}

// === impl Ticker ===

impl Ticker {
    pub(crate) fn start(engine: &Engine, tick: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            live: AtomicUsize::new(0),
            resting: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        let thread = std::thread::Builder::new().name("host-tick".into()).stack_size(64 * 1024).spawn({
            let (shared, engine) = (shared.clone(), engine.weak());
            move || shared.run(&engine, tick)
        })?;
        let waker = thread.thread().clone();
        Ok(Self { shared, thread: Some(thread), waker })
    }

    /// Ticks until the guard is dropped.
    pub(crate) fn enter(&self) -> Ticking {
        self.shared.live.fetch_add(1, Ordering::SeqCst);
        if self.shared.resting.load(Ordering::SeqCst) {
            self.waker.unpark();
        }
        Ticking { shared: self.shared.clone() }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.waker.unpark();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the tick thread panicked");
        }
    }
}

// === impl Ticking ===

impl Drop for Ticking {
    fn drop(&mut self) {
        self.shared.live.fetch_sub(1, Ordering::SeqCst);
    }
}

// === impl Shared ===

impl Shared {
    fn run(&self, engine: &EngineWeak, tick: Duration) {
        let mut idle_ticks = 0;
        while !self.stopped.load(Ordering::SeqCst) {
            std::thread::park_timeout(tick);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
            drop(engine);
            idle_ticks = if self.live.load(Ordering::SeqCst) == 0 { idle_ticks + 1 } else { 0 };
            if idle_ticks >= IDLE_TICKS_MAX {
                self.rest();
                idle_ticks = 0;
            }
        }
    }

    /// Either this sees the instance that enters, or the instance sees that this rests, and wakes it.
    fn rest(&self) {
        self.resting.store(true, Ordering::SeqCst);
        while self.live.load(Ordering::SeqCst) == 0 && !self.stopped.load(Ordering::SeqCst) {
            std::thread::park();
        }
        self.resting.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn until(is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < Duration::from_mins(1), "it becomes so");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_host_at_rest_does_not_tick_and_the_next_instance_wakes_it() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine, Duration::from_micros(100)).expect("a thread");
        let resting = || ticker.shared.resting.load(Ordering::SeqCst);
        until(resting);
        let first = ticker.enter();
        until(|| !resting());
        drop((ticker.enter(), first));
        until(resting);
    }
}
