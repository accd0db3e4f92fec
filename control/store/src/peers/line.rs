//! One connection that was dialled: frames go in, frames come out.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, BufReader};
use tokio::sync::mpsc;

use crate::MemberId;
use crate::codec::Stored;
use crate::runtime::{self, Task};
use crate::transport::{Peer, Transport};
use crate::wire::{self, Hello, Lane, Welcome};

/// Frames that wait to be written or read: as many batches as are under way to one member at most.
pub(crate) const FRAMES_MAX: usize = 64;

/// An open connection, or one that is being opened. Dropped, it is closed.
pub(crate) struct Line<Sent, Received> {
    pub(crate) send: mpsc::Sender<Sent>,
    pub(crate) receive: mpsc::Receiver<Received>,
    carrying: Task<()>,
}

// === impl Line ===

impl<Sent, Received> Line<Sent, Received>
where
    Sent: Stored + Send + Sync + 'static,
    Received: Stored + Send + 'static,
{
    /// Begins to dial. What is sent meanwhile waits; where nobody can be reached, both ends close.
    pub(crate) fn open(from: MemberId, peer: Peer, lane: Lane, transport: Arc<dyn Transport>) -> Self {
        let (send, sent) = mpsc::channel(FRAMES_MAX);
        let (received, receive) = mpsc::channel(FRAMES_MAX);
        let carrying = runtime::spawn(async move {
            if let Err(error) = carry(from, &peer, lane, transport, sent, received).await {
                tracing::debug!(member = peer.member, address = peer.address, ?lane, %error, "no connection");
            }
        });
        Self { send, receive, carrying }
    }
}

impl<Sent, Received> Drop for Line<Sent, Received> {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

async fn carry<Sent: Stored, Received: Stored>(
    from: MemberId,
    peer: &Peer,
    lane: Lane,
    transport: Arc<dyn Transport>,
    sent: mpsc::Receiver<Sent>,
    received: mpsc::Sender<Received>,
) -> io::Result<()> {
    let connection = transport.dial(peer).await?;
    let (reader, mut writer) = tokio::io::split(connection);
    let mut reader = BufReader::with_capacity(wire::TOGETHER_BYTES, reader);
    wire::write(&mut writer, &Hello { from, to: peer.member, lane }).await?;
    let reading = async {
        match wire::read(&mut reader).await? {
            Some(Welcome::Yes) => pour(&mut reader, &received).await,
            Some(Welcome::Other(found)) => Err(io::Error::other(format!("member {found} lives there"))),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    tokio::select! {
        biased;
        ended = reading => ended,
        ended = wire::write_all(&mut writer, sent) => ended,
    }
}

/// Reads frames until the other end closes, or nobody listens here.
pub(super) async fn pour<T: Stored>(
    reader: &mut (impl AsyncRead + Unpin),
    received: &mpsc::Sender<T>,
) -> io::Result<()> {
    while let Some(frame) = wire::read(reader).await? {
        if received.send(frame).await.is_err() {
            break;
        }
    }
    Ok(())
}
