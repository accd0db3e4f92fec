//! A command's streams as streams of SPDY: the client opens one for each, and the errors' stream says how it ended.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use api::stdio::{ERROR, Piece, RESIZE, STDERR, STDIN, STDOUT};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;

use super::asked::Asked;
use super::session::Session;
use crate::connect::wire::{Gone, Reader, Writer};
use crate::spdy::{self, Decoder, Encoder, Frame};

/// As Kubernetes has it: a client opens all its streams within this.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);
/// What a client may send on one stream before it has opened the others; Go's clients send nothing.
const EARLY_BYTES_MAX: usize = 1 << 20;

/// Why the streams ended before the command did.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the connection broke")]
    Connection(#[from] io::Error),
    #[error(transparent)]
    Spdy(#[from] spdy::Malformed),
    #[error(transparent)]
    Gone(#[from] Gone),
    #[error("the client did not open all its streams")]
    Unopened,
}

/// The client's side of a conversation.
struct Client<'a> {
    reader: &'a mut Reader,
    decoder: Decoder,
    encoder: Encoder,
    writer: Writer,
    /// The streams, by the channel each is for.
    by_channel: BTreeMap<u8, u32>,
}

/// Carries frames until the command has ended or the client is gone.
pub(super) async fn serve(
    reader: &mut Reader,
    writer: Writer,
    asked: &Asked,
    outgoing: mpsc::Sender<Bytes>,
    session: impl Future<Output = Result<Session, Value>>,
) -> Result<(), Broken> {
    let by_channel = BTreeMap::new();
    let mut client =
        Client { reader, decoder: Decoder::new(), encoder: Encoder::new(), writer: writer.clone(), by_channel };
    let early = tokio::time::timeout(OPEN_PATIENCE, client.open(asked)).await.map_err(|_| Broken::Unopened)??;
    let streams = client.by_channel.clone();
    tokio::select! {
        told = tell(&writer, &streams, session) => told,
        heard = client.hear(early, outgoing) => heard,
    }
}

async fn tell(
    writer: &Writer,
    streams: &BTreeMap<u8, u32>,
    session: impl Future<Output = Result<Session, Value>>,
) -> Result<(), Broken> {
    let ended = match session.await {
        Err(refused) => refused.to_string().into(),
        Ok(mut session) => loop {
            match session.next().await {
                Piece { channel: ERROR, bytes } => break bytes,
                Piece { channel, bytes } => {
                    if let (STDOUT | STDERR, Some(stream)) = (channel, streams.get(&channel)) {
                        writer.send(spdy::data(*stream, bytes, false)).await?;
                    }
                }
            }
        },
    };
    for channel in [STDOUT, STDERR] {
        if let Some(stream) = streams.get(&channel) {
            writer.send(spdy::data(*stream, Bytes::new(), true)).await?;
        }
    }
    if let Some(stream) = streams.get(&ERROR) {
        writer.send(spdy::data(*stream, ended, true)).await?;
    }
    Ok(())
}

// === impl Client ===

impl Client<'_> {
    /// Waits until the streams are open that were asked for; gives back what came too early.
    async fn open(&mut self, asked: &Asked) -> Result<Vec<Frame>, Broken> {
        let wanted = [(ERROR, true), (STDIN, asked.stdin), (STDOUT, asked.stdout), (STDERR, asked.stderr)];
        let (mut early, mut early_bytes) = (Vec::new(), 0);
        while wanted.iter().any(|(channel, wanted)| *wanted && !self.by_channel.contains_key(channel)) {
            let Some(frame) = self.next().await? else { return Err(Broken::Unopened) };
            match frame {
                Frame::Open { stream, headers, ends: _ } => self.opened(stream, &headers).await?,
                frame => {
                    // Each counts for more than its bytes, so that empty ones have a limit too.
                    early_bytes +=
                        size_of::<Frame>() + if let Frame::Data { bytes, .. } = &frame { bytes.len() } else { 0 };
                    if early_bytes > EARLY_BYTES_MAX {
                        return Err(Broken::Unopened);
                    }
                    early.push(frame);
                }
            }
        }
        Ok(early)
    }

    async fn opened(&mut self, stream: u32, headers: &[(String, String)]) -> Result<(), Broken> {
        let purpose = headers.iter().find(|(name, _)| name == "streamtype").map(|(_, purpose)| purpose.as_str());
        let channel = match purpose {
            Some("error") => ERROR,
            Some("stdin") => STDIN,
            Some("stdout") => STDOUT,
            Some("stderr") => STDERR,
            Some("resize") => RESIZE,
            _ => return Ok(self.writer.send(spdy::reset(stream)).await?),
        };
        self.by_channel.insert(channel, stream);
        Ok(self.writer.send(self.encoder.accept(stream)?).await?)
    }

    /// Ends when the client does.
    async fn hear(&mut self, early: Vec<Frame>, outgoing: mpsc::Sender<Bytes>) -> Result<(), Broken> {
        let mut early = early.into_iter();
        loop {
            let frame = match early.next() {
                Some(frame) => Some(frame),
                None => self.next().await?,
            };
            match frame {
                None | Some(Frame::GoAway) => return Ok(()),
                Some(Frame::Open { stream, headers, .. }) => self.opened(stream, &headers).await?,
                Some(Frame::Data { stream, bytes, ends }) => self.sent(stream, bytes, ends, &outgoing).await?,
                // A client gives up each of its streams at the end; a connection that goes says so by itself.
                Some(Frame::Reset(_)) => {}
                Some(Frame::Ping(number)) => self.writer.send(spdy::pong(number)).await?,
            }
        }
    }

    async fn sent(
        &mut self,
        stream: u32,
        bytes: Bytes,
        ends: bool,
        outgoing: &mpsc::Sender<Bytes>,
    ) -> Result<(), Broken> {
        let length = bytes.len();
        let channel = self.by_channel.iter().find(|(_, known)| **known == stream).map(|(channel, _)| *channel);
        if let Some(channel @ (STDIN | RESIZE)) = channel {
            // A node that takes no more has said why, or is about to.
            if length > 0 {
                let _ = outgoing.send(Piece::new(channel, bytes).encode()).await;
            }
            if ends && channel == STDIN {
                let _ = outgoing.send(Piece::close(STDIN).encode()).await;
            }
        }
        if length > 0 {
            self.writer.send(spdy::more(stream, length)).await?;
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Frame>, Broken> {
        loop {
            if let Some(frame) = self.decoder.next()? {
                return Ok(Some(frame));
            }
            let Some(bytes) = self.reader.next().await? else { return Ok(None) };
            self.decoder.push(&bytes);
        }
    }
}
