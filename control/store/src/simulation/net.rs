//! A network of streams: bytes arrive in order and late, wait where the way is cut, and are lost with their connection.
//!
//! Each direction between two machines can be cut by itself. A machine whose power fails says nothing more, not even that its
//! connections have ended; a process that ends has its connections closed by its machine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::executor::{Executor, Life};
use crate::Store;
use crate::runtime;
use crate::transport::{Connection, Peer, Transport};

/// What is on its way at a time in one direction of a connection.
const UNDER_WAY_BYTES_MAX: usize = 64 << 10;

/// Who cannot be reached is given up after so long.
const DIAL_PATIENCE: Duration = Duration::from_secs(2);

/// All machines and what lies between them. Cloning shares it.
#[derive(Clone)]
pub(crate) struct SimulatedNet {
    executor: Executor,
    wires: Arc<Mutex<Wires>>,
}

#[derive(Default)]
struct Wires {
    hosts: BTreeMap<String, (Life, Store)>,
    /// From where to where nothing comes through.
    cuts: BTreeSet<(String, String)>,
    pipes: Vec<(Ends, Arc<Mutex<Pipe>>)>,
    /// Everything takes so much longer at most.
    slow: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Ends {
    from: String,
    to: String,
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    /// What is on its way, and when it arrives. Nothing at all is the end.
    parts: VecDeque<(Duration, Vec<u8>)>,
    bytes: usize,
    last_due: Duration,
    is_broken: bool,
    /// The power has failed at one of its ends.
    is_silent: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One end of a connection.
struct End {
    net: SimulatedNet,
    incoming: (Ends, Arc<Mutex<Pipe>>),
    outgoing: (Ends, Arc<Mutex<Pipe>>),
}

/// The way from one machine to all others.
struct Way {
    net: SimulatedNet,
    from: String,
}

// === impl SimulatedNet ===

impl SimulatedNet {
    pub(crate) fn new(executor: Executor) -> Self {
        Self { executor, wires: Arc::default() }
    }

    pub(crate) fn transport(&self, from: &str) -> Arc<dyn Transport> {
        Arc::new(Way { net: self.clone(), from: from.into() })
    }

    /// A process answers there now.
    pub(crate) fn attach(&self, address: &str, life: Life, store: Store) {
        self.wires.lock().hosts.insert(address.into(), (life, store));
    }

    /// Nobody answers there any more.
    pub(crate) fn detach(&self, address: &str) {
        let gone = self.wires.lock().hosts.remove(address);
        drop(gone);
    }

    pub(crate) fn cut(&self, from: &str, to: &str) {
        self.wires.lock().cuts.insert((from.into(), to.into()));
    }

    /// Everything comes through again, and as fast as ever.
    pub(crate) fn heal(&self) {
        let pipes: Vec<_> = {
            let mut wires = self.wires.lock();
            wires.cuts.clear();
            wires.slow = Duration::ZERO;
            wires.pipes.iter().map(|(_, pipe)| pipe.clone()).collect()
        };
        for pipe in pipes {
            pipe.lock().wake();
        }
    }

    pub(crate) fn slow_down(&self, by: Duration) {
        self.wires.lock().slow = by;
    }

    /// The machine is without power: what it was about to say is never heard.
    pub(crate) fn silence(&self, address: &str) {
        let wires = self.wires.lock();
        for (_, pipe) in wires.pipes.iter().filter(|(ends, _)| ends.from == address || ends.to == address) {
            pipe.lock().is_silent = true;
        }
    }

    /// Breaks a connection of chance.
    pub(crate) fn break_one(&self) {
        let pipe = {
            let mut wires = self.wires.lock();
            wires.pipes.retain(|(_, pipe)| Arc::strong_count(pipe) > 1);
            let count = wires.pipes.len() as u64;
            if count == 0 {
                return;
            }
            let at = self.executor.random(|random| random.below(count)) as usize;
            wires.pipes[at].1.clone()
        };
        let mut pipe = pipe.lock();
        pipe.is_broken = true;
        pipe.wake();
    }

    fn is_cut(&self, ends: &Ends) -> bool {
        self.wires.lock().cuts.contains(&(ends.from.clone(), ends.to.clone()))
    }

    fn delay(&self) -> Duration {
        let slow = self.wires.lock().slow.as_micros() as u64;
        let micros = self.executor.random(|random| {
            let usual = if random.one_in(60) { random.range(2_000, 60_000) } else { random.range(50, 1_500) };
            usual + random.below(slow + 1)
        });
        Duration::from_micros(micros)
    }

    async fn dial(self, from: String, to: String) -> io::Result<Connection> {
        let there = Ends { from: from.clone(), to: to.clone() };
        let back = Ends { from: to.clone(), to: from };
        let begun = self.executor.now();
        loop {
            runtime::sleep(self.delay() * 2).await;
            if !self.is_cut(&there) && !self.is_cut(&back) {
                break;
            }
            if self.executor.now() > begun + DIAL_PATIENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
            runtime::sleep(Duration::from_millis(20)).await;
        }
        let host = self.wires.lock().hosts.get(&to).cloned();
        let Some((life, store)) = host.filter(|(life, _)| self.executor.is_alive(*life)) else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let (one, other): (Arc<Mutex<Pipe>>, Arc<Mutex<Pipe>>) = Default::default();
        {
            let mut wires = self.wires.lock();
            wires.pipes.retain(|(_, pipe)| Arc::strong_count(pipe) > 1);
            wires.pipes.extend([(there.clone(), one.clone()), (back.clone(), other.clone())]);
        }
        let (there, back) = ((there, one), (back, other));
        let far = End { net: self.clone(), incoming: there.clone(), outgoing: back.clone() };
        let near = End { net: self.clone(), incoming: back, outgoing: there };
        drop(runtime::spawn_of(&self.executor, Some(life), async move {
            // How a connection ends is of no interest here.
            let _ = store.serve(Box::new(far)).await;
        }));
        Ok(Box::new(near))
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("from", &self.from).finish_non_exhaustive()
    }
}

impl Transport for Way {
    fn dial(&self, peer: &Peer) -> BoxFuture<'static, io::Result<Connection>> {
        self.net.clone().dial(self.from.clone(), peer.address.clone()).boxed()
    }
}

// === impl Pipe ===

impl Pipe {
    fn wake(&mut self) {
        [self.reader.take(), self.writer.take()].into_iter().flatten().for_each(Waker::wake);
    }
}

// === impl End ===

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let is_cut = self.net.is_cut(&self.incoming.0);
        let now = self.net.executor.now();
        let mut pipe = self.incoming.1.lock();
        pipe.reader = Some(context.waker().clone());
        if pipe.is_silent || is_cut {
            return Poll::Pending;
        }
        if pipe.is_broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let Some((due, part)) = pipe.parts.front_mut() else { return Poll::Pending };
        if *due > now {
            let due = *due;
            drop(pipe);
            self.net.executor.wake_at(None, due, context.waker().clone());
            return Poll::Pending;
        }
        if part.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let taken = part.len().min(out.remaining());
        out.put_slice(&part[..taken]);
        part.drain(..taken);
        if part.is_empty() {
            pipe.parts.pop_front();
        }
        pipe.bytes -= taken;
        if let Some(writer) = pipe.writer.take() {
            drop(pipe);
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let due = self.net.executor.now() + self.net.delay();
        let mut pipe = self.outgoing.1.lock();
        if pipe.is_broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if pipe.bytes >= UNDER_WAY_BYTES_MAX {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        pipe.send(due, bytes.to_vec());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Pipe {
    fn send(&mut self, due: Duration, bytes: Vec<u8>) {
        self.last_due = self.last_due.max(due);
        self.bytes += bytes.len();
        let due = self.last_due;
        self.parts.push_back((due, bytes));
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let due = self.net.executor.now() + self.net.delay();
        // What was sent still arrives, and then the end.
        self.outgoing.1.lock().send(due, Vec::new());
        let mut incoming = self.incoming.1.lock();
        incoming.is_broken = true;
        incoming.wake();
    }
}
