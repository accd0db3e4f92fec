//! Forwarding over SPDY streams: for each connection the client opens one stream for its bytes and one for what went wrong, both
//! with the same request id and port.

use std::collections::HashMap;
use std::io;

use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_stream::wrappers::ReceiverStream;

use super::relay::{Incoming, Pod};
use crate::connect::backend::Security;
use crate::connect::wire::{Gone, Reader, Writer};
use crate::spdy::{self, Decoder, Encoder, Frame};

/// Connections at once; a browser opens six to a host.
const CONNECTIONS_MAX: usize = 1000;
/// So many pieces wait for the pod before the client is not read any more.
const PIECES_MAX: usize = 16;

/// Why forwarding ended before the client was done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the connection broke")]
    Connection(#[from] io::Error),
    #[error(transparent)]
    Spdy(#[from] spdy::Malformed),
    #[error(transparent)]
    Gone(#[from] Gone),
    #[error("more than {CONNECTIONS_MAX} connections are open")]
    Many,
}

/// What a stream that the client opens is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Data,
    Error,
}

/// A pair of streams that is not whole yet.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pair {
    data: Option<u32>,
    error: Option<u32>,
}

/// A connection to the pod.
struct Connection {
    /// None once the client has sent everything.
    outgoing: Option<mpsc::Sender<Bytes>>,
    relay: AbortHandle,
}

struct Session<'a> {
    pod: &'a Pod,
    writer: Writer,
    encoder: Encoder,
    pairs: HashMap<String, Pair>,
    /// By the number of the data stream.
    connections: HashMap<u32, Connection>,
}

/// Forwards until the client is done.
pub(super) async fn serve(mut reader: Reader, writer: Writer, pod: &Pod) -> Result<(), Broken> {
    let mut decoder = Decoder::new();
    let mut session =
        Session { pod, writer, encoder: Encoder::new(), pairs: HashMap::new(), connections: HashMap::new() };
    let mut relays = JoinSet::new();
    loop {
        tokio::select! {
            read = reader.next() => {
                let Some(bytes) = read? else { return Ok(()) };
                decoder.push(&bytes);
                while let Some(frame) = decoder.next()? {
                    if frame == Frame::GoAway {
                        return Ok(());
                    }
                    session.hear(frame, &mut relays).await?;
                }
            }
            Some(ended) = relays.join_next() => {
                if let Ok(stream) = ended {
                    session.connections.remove(&stream);
                }
            }
        }
    }
}

// === impl Session ===

impl Session<'_> {
    async fn hear(&mut self, frame: Frame, relays: &mut JoinSet<u32>) -> Result<(), Broken> {
        match frame {
            Frame::Open { stream, headers, ends } => self.opened(stream, &headers, ends, relays).await?,
            Frame::Data { stream, bytes, ends } => self.sent(stream, bytes, ends).await?,
            Frame::Reset(stream) => {
                if let Some(connection) = self.connections.remove(&stream) {
                    connection.relay.abort();
                }
            }
            Frame::Ping(number) => self.writer.send(spdy::pong(number)).await?,
            Frame::GoAway => {}
        }
        Ok(())
    }

    async fn opened(
        &mut self,
        stream: u32,
        headers: &[(String, String)],
        ends: bool,
        relays: &mut JoinSet<u32>,
    ) -> Result<(), Broken> {
        let Some((request, purpose, port)) = understood(stream, headers) else {
            return Ok(self.writer.send(spdy::reset(stream)).await?);
        };
        if self.pairs.len() + self.connections.len() >= CONNECTIONS_MAX {
            return Err(Broken::Many);
        }
        self.writer.send(self.encoder.accept(stream)?).await?;
        let pair = self.pairs.entry(request.clone()).or_default();
        match purpose {
            Purpose::Data => pair.data = Some(stream),
            Purpose::Error => pair.error = Some(stream),
        }
        let Pair { data: Some(data), error: Some(error) } = *pair else { return Ok(()) };
        self.pairs.remove(&request);
        let (outgoing, pieces) = mpsc::channel(PIECES_MAX);
        let relay = Relay { pod: self.pod.clone(), writer: self.writer.clone(), data, error };
        let relay = relays.spawn(relay.run(port, pieces));
        let outgoing = (!(ends && purpose == Purpose::Data)).then_some(outgoing);
        self.connections.insert(data, Connection { outgoing, relay });
        Ok(())
    }

    async fn sent(&mut self, stream: u32, bytes: Bytes, ends: bool) -> Result<(), Broken> {
        let Some(connection) = self.connections.get_mut(&stream) else { return Ok(()) };
        let length = bytes.len();
        if let Some(outgoing) = &connection.outgoing
            && length > 0
        {
            // The pod may have stopped reading for good, and still be sending: that is its affair.
            let _ = outgoing.send(bytes).await;
        }
        if ends {
            connection.outgoing = None;
        }
        if length > 0 {
            self.writer.send(spdy::more(stream, length)).await?;
        }
        Ok(())
    }
}

/// Which request a stream belongs to, what it is for, and which port it means.
fn understood(stream: u32, headers: &[(String, String)]) -> Option<(String, Purpose, u16)> {
    let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let purpose = match header("streamtype")? {
        "data" => Purpose::Data,
        "error" => Purpose::Error,
        _ => return None,
    };
    let port = header("port")?.parse().ok().filter(|port| *port != 0)?;
    // Clients that number no requests open the error stream right before the one for data.
    let first = || if purpose == Purpose::Error { stream } else { stream.saturating_sub(2) };
    let request = header("requestid").map_or_else(|| format!("stream {}", first()), Into::into);
    Some((request, purpose, port))
}

/// One connection under way.
struct Relay {
    pod: Pod,
    writer: Writer,
    data: u32,
    error: u32,
}

// === impl Relay ===

impl Relay {
    /// Carries bytes until the pod has sent everything; tells which data stream that was.
    async fn run(self, port: u16, outgoing: mpsc::Receiver<Bytes>) -> u32 {
        // A client that is gone is noticed by whoever reads it.
        let _ = self.carry(port, outgoing).await;
        self.data
    }

    async fn carry(&self, port: u16, outgoing: mpsc::Receiver<Bytes>) -> Result<(), Gone> {
        let outgoing = ReceiverStream::new(outgoing).map(Ok);
        let why = match self.pod.dial(port, Security::Plain, outgoing).await {
            Ok(incoming) => self.pass_on(incoming).await?,
            Err(why) => Some(why),
        };
        self.writer.send(spdy::data(self.error, why.unwrap_or_default().into(), true)).await?;
        self.writer.send(spdy::data(self.data, Bytes::new(), true)).await
    }

    /// Passes on what the pod sends; tells what went wrong, if something did.
    async fn pass_on(&self, mut incoming: Incoming) -> Result<Option<String>, Gone> {
        while let Some(bytes) = incoming.next().await {
            match bytes {
                Ok(bytes) => self.writer.send(spdy::data(self.data, bytes, false)).await?,
                Err(why) => return Ok(Some(why)),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stream: u32, headers: &[(&str, &str)], expect: Option<(&str, Purpose, u16)>) {
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let expect = expect.map(|(request, purpose, port)| (request.to_owned(), purpose, port));
        assert_eq!(understood(stream, &headers), expect);
    }

    #[test]
    fn streams_of_one_request_find_each_other() {
        let of = |kind| [("streamtype", kind), ("port", "8080"), ("requestid", "4")];
        check(1, &of("error"), Some(("4", Purpose::Error, 8080)));
        check(3, &of("data"), Some(("4", Purpose::Data, 8080)));
        check(5, &[("streamtype", "error"), ("port", "80")], Some(("stream 5", Purpose::Error, 80)));
        check(7, &[("streamtype", "data"), ("port", "80")], Some(("stream 5", Purpose::Data, 80)));
    }

    #[test]
    fn a_stream_for_nothing_known_is_not_understood() {
        check(1, &[("streamtype", "stdin"), ("port", "80")], None);
        check(1, &[("streamtype", "data"), ("port", "0")], None);
        check(1, &[("streamtype", "data")], None);
        check(1, &[], None);
    }
}
