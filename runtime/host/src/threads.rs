//! The threads on which guests run, apart from those of whoever uses the host.
//!
//! Some are in front and some behind. Those behind have a lower priority with the system, so that guests which compute without end
//! take only what nobody else wants: neither guests in front nor the node itself.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// Where guests run.
pub(crate) struct Threads {
    front: Pool,
    behind: Pool,
}

struct Pool {
    runtime: Option<Runtime>,
    handle: Handle,
}

/// Reading files for guests takes threads now and then, for a moment.
const FILE_THREADS_MAX: usize = 64;

/// With this a thread gets a fortieth of what one of usual priority gets beside it.
const NICENESS: i32 = 17;

// === impl Threads ===

impl Threads {
    /// So many in front, and as many behind.
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let mut front = builder("guest", threads);
        let mut behind = builder("guest-behind", threads);
        // A machine that does not let a thread step back runs all alike.
        behind.on_thread_start(|| {
            let _ = rustix::process::nice(NICENESS);
        });
        Ok(Self { front: Pool::of(&mut front)?, behind: Pool::of(&mut behind)? })
    }

    pub(crate) fn front(&self) -> &Handle {
        &self.front.handle
    }

    pub(crate) fn behind(&self) -> &Handle {
        &self.behind.handle
    }
}

fn builder(name: &str, threads: usize) -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(threads.max(1))
        .max_blocking_threads(FILE_THREADS_MAX)
        .thread_name(name)
        .enable_all()
        // A poll may last a whole tick here: with the usual intervals, made for short ones, a few busy guests
        // would keep timers and new requests waiting for dozens of ticks.
        .event_interval(4)
        .global_queue_interval(2);
    builder
}

// === impl Pool ===

impl Pool {
    fn of(builder: &mut Builder) -> io::Result<Self> {
        let runtime = builder.build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // The last owner may be a task of any runtime, where waiting for threads is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
