//! Questions to one member, many at a time over one connection.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::SILENCE_MAX;
use super::line::Line;
use crate::MemberId;
use crate::runtime::{self, Instant, Task};
use crate::transport::{Peer, Transport};
use crate::wire::{Answer, Asked, Call, Lane, Replied};

/// Asks one member.
pub(crate) struct Caller {
    from: MemberId,
    peer: Peer,
    transport: Arc<dyn Transport>,
    talk: Mutex<Option<Talk>>,
}

/// There was no answer; whether the question arrived is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Silent;

/// One connection's worth of questions.
#[derive(Clone)]
struct Talk {
    ask: mpsc::Sender<Asked>,
    shared: Arc<Shared>,
}

struct Shared {
    open: Mutex<Open>,
    listening: Mutex<Option<Task<()>>>,
}

struct Open {
    next: u64,
    /// None once the connection has ended.
    answers: Option<HashMap<u64, oneshot::Sender<Answer>>>,
    heard: Instant,
}

// === impl Caller ===

impl Caller {
    pub(crate) fn new(from: MemberId, peer: Peer, transport: Arc<dyn Transport>) -> Self {
        Self { from, peer, transport, talk: Mutex::new(None) }
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Asks, and waits so long for an answer.
    pub(crate) async fn ask(&self, call: Call, patience: Duration) -> Result<Answer, Silent> {
        let talk = self.talk();
        let asking = talk.ask(call);
        if let Ok(answer) = runtime::timeout(patience, asking).await {
            return answer;
        }
        // Where others are answered only this question takes long.
        if talk.shared.open.lock().heard.elapsed() >= SILENCE_MAX.min(patience) {
            self.hang_up(&talk);
        }
        Err(Silent)
    }

    /// The connection there is, or one that is now being opened.
    fn talk(&self) -> Talk {
        let mut talk = self.talk.lock();
        if let Some(talk) = talk.as_ref()
            && talk.shared.open.lock().answers.is_some()
        {
            return talk.clone();
        }
        let line = Line::open(self.from, self.peer.clone(), Lane::Calls, self.transport.clone());
        let fresh = Talk::begin(line);
        *talk = Some(fresh.clone());
        fresh
    }

    fn hang_up(&self, ended: &Talk) {
        let mut talk = self.talk.lock();
        if talk.as_ref().is_some_and(|talk| Arc::ptr_eq(&talk.shared, &ended.shared)) {
            *talk = None;
        }
        ended.shared.end();
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("peer", &self.peer).finish_non_exhaustive()
    }
}

// === impl Talk ===

impl Talk {
    fn begin(line: Line<Asked, Replied>) -> Self {
        let open = Open { next: 0, answers: Some(HashMap::new()), heard: Instant::now() };
        let shared = Arc::new(Shared { open: Mutex::new(open), listening: Mutex::new(None) });
        let ask = line.send.clone();
        let listening = runtime::spawn(listen(line, Arc::downgrade(&shared)));
        *shared.listening.lock() = Some(listening);
        Self { ask, shared }
    }

    async fn ask(&self, call: Call) -> Result<Answer, Silent> {
        let (tell, answer) = oneshot::channel();
        let number = {
            let mut open = self.shared.open.lock();
            let number = open.next;
            open.next += 1;
            open.answers.as_mut().ok_or(Silent)?.insert(number, tell);
            number
        };
        let _forgotten = Forgotten { shared: &self.shared, number };
        self.ask.send(Asked { number, call }).await.map_err(|_| Silent)?;
        answer.await.map_err(|_| Silent)
    }
}

/// Whoever no longer waits for an answer is not to be kept in mind.
struct Forgotten<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        if let Some(answers) = self.shared.open.lock().answers.as_mut() {
            answers.remove(&self.number);
        }
    }
}

/// Hands answers to those who wait for them, as long as the connection lasts and anybody has it.
async fn listen(mut line: Line<Asked, Replied>, shared: Weak<Shared>) {
    while let Some(Replied { number, answer }) = line.receive.recv().await {
        let Some(shared) = shared.upgrade() else { return };
        let mut open = shared.open.lock();
        open.heard = Instant::now();
        if let Some(tell) = open.answers.as_mut().and_then(|answers| answers.remove(&number)) {
            // Nobody may wait any more.
            let _ = tell.send(answer);
        }
    }
    if let Some(shared) = shared.upgrade() {
        shared.open.lock().answers = None;
    }
}

// === impl Shared ===

impl Shared {
    fn end(&self) {
        self.open.lock().answers = None;
        if let Some(listening) = self.listening.lock().take() {
            listening.abort();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end();
    }
}
