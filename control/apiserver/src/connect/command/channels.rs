//! A command's streams in WebSocket messages, each of which begins with its channel.

use api::stdio::{CLOSE, ERROR, Piece, RESIZE, STDERR, STDIN, STDOUT};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde_json::Value;
use tokio::sync::mpsc;

use super::asked::Asked;
use super::session::Session;
use super::streams::Broken;
use crate::connect::wire::{Reader, Writer};

/// Carries pieces until the command has ended or the client is gone.
pub(super) async fn serve(
    reader: &mut Reader,
    writer: Writer,
    asked: &Asked,
    outgoing: mpsc::Sender<Bytes>,
    session: impl Future<Output = Result<Session, Value>>,
) -> Result<(), Broken> {
    tokio::select! {
        told = tell(&writer, asked, session) => told,
        read = read(reader, asked, outgoing) => read,
    }
}

async fn tell(
    writer: &Writer,
    asked: &Asked,
    session: impl Future<Output = Result<Session, Value>>,
) -> Result<(), Broken> {
    let mut session = match session.await {
        Ok(session) => session,
        Err(refused) => return Ok(writer.send(message(ERROR, refused.to_string().as_bytes())).await?),
    };
    loop {
        let Piece { channel, bytes } = session.next().await;
        let is_wanted = match channel {
            STDOUT => asked.stdout,
            STDERR => asked.stderr,
            ERROR => true,
            _ => false,
        };
        if is_wanted {
            writer.send(message(channel, &bytes)).await?;
        }
        if channel == ERROR {
            return Ok(());
        }
    }
}

/// Ends when the client does.
async fn read(reader: &mut Reader, asked: &Asked, outgoing: mpsc::Sender<Bytes>) -> Result<(), Broken> {
    while let Some(mut message) = reader.next().await? {
        let Ok(channel) = message.try_get_u8() else { continue };
        let is_wanted = match channel {
            STDIN => asked.stdin && !message.is_empty(),
            RESIZE => asked.tty,
            CLOSE => asked.stdin && *message == [STDIN],
            _ => false,
        };
        if is_wanted {
            // A node that takes no more has said why, or is about to.
            let _ = outgoing.send(Piece::new(channel, message).encode()).await;
        }
    }
    Ok(())
}

fn message(channel: u8, bytes: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(bytes.len() + 1);
    message.put_u8(channel);
    message.put_slice(bytes);
    message.freeze()
}
