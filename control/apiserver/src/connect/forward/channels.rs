//! Forwarding over channels: the n-th port of the query has channel 2n for its bytes and 2n+1 for what went wrong. Every message
//! begins with its channel; the first one of each channel tells the port.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::StreamExt;
use futures::future::join_all;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::relay::Pod;
use crate::connect::backend::Security;
use crate::connect::wire::{Gone, Reader, Writer};

/// In protocol 5, a message that says that a channel is done.
const CLOSED: u8 = 255;
/// So many pieces wait for the pod before the client is not read any more.
const PIECES_MAX: usize = 16;

/// Forwards until the client or the pod is done.
pub(super) async fn serve(reader: Reader, writer: Writer, pod: &Pod, ports: &[u16]) -> io::Result<()> {
    let (outgoing, pieces): (Vec<_>, Vec<_>) = ports.iter().map(|_| mpsc::channel(PIECES_MAX)).unzip();
    let relays = ports.iter().zip(pieces).zip((0..).step_by(2));
    let relays = join_all(relays.map(|((port, pieces), channel)| relay(pod, &writer, channel, *port, pieces)));
    tokio::select! {
        read = read(reader, outgoing) => read,
        _ = relays => Ok(()),
    }
}

async fn read(mut reader: Reader, outgoing: Vec<mpsc::Sender<Bytes>>) -> io::Result<()> {
    let mut outgoing: Vec<Option<mpsc::Sender<Bytes>>> = outgoing.into_iter().map(Some).collect();
    while let Some(mut message) = reader.next().await? {
        let Ok(channel) = message.try_get_u8() else { continue };
        let closed = channel == CLOSED;
        let channel = if closed { message.try_get_u8().unwrap_or(CLOSED) } else { channel };
        // The client has nothing to say about what went wrong.
        let Some(outgoing) = outgoing.get_mut(usize::from(channel / 2)).filter(|_| channel.is_multiple_of(2)) else {
            continue;
        };
        if closed {
            *outgoing = None;
        } else if let Some(outgoing) = outgoing
            && !message.is_empty()
        {
            // The pod may have stopped reading for good, and still be sending: that is its affair.
            let _ = outgoing.send(message).await;
        }
    }
    Ok(())
}

async fn relay(pod: &Pod, writer: &Writer, channel: u8, port: u16, pieces: mpsc::Receiver<Bytes>) -> Result<(), Gone> {
    let say = |channel, bytes: &[u8]| writer.send(message(channel, bytes));
    say(channel, &port.to_le_bytes()).await?;
    say(channel + 1, &port.to_le_bytes()).await?;
    match pod.dial(port, Security::Plain, ReceiverStream::new(pieces).map(Ok)).await {
        Err(why) => say(channel + 1, why.as_bytes()).await,
        Ok(mut incoming) => {
            while let Some(bytes) = incoming.next().await {
                match bytes {
                    Ok(bytes) => say(channel, &bytes).await?,
                    Err(why) => return say(channel + 1, why.as_bytes()).await,
                }
            }
            Ok(())
        }
    }
}

fn message(channel: u8, bytes: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(bytes.len() + 1);
    message.put_u8(channel);
    message.put_slice(bytes);
    message.freeze()
}
