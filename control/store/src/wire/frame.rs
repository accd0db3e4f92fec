//! Frames on a stream of bytes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::codec::{Malformed, Stored};

/// A batch of entries is cut at a few MiB, and no object is larger than that.
const FRAME_BYTES_MAX: u32 = 64 << 20;

/// Frames that wait for each other to be sent off: enough that calls of the system do not show.
pub(crate) const TOGETHER_BYTES: usize = 64 << 10;

/// Reads the next frame; `None` where the other end closed the stream between two.
pub(crate) async fn read<T: Stored>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length[..1]).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    stream.read_exact(&mut length[1..]).await?;
    let length = u32::from_le_bytes(length);
    if length > FRAME_BYTES_MAX {
        return Err(Malformed { what: "frame: it is too long" }.into());
    }
    let mut body = Vec::with_capacity((length as usize).min(TOGETHER_BYTES));
    // Grows with what really comes.
    stream.take(length.into()).read_to_end(&mut body).await?;
    if body.len() < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(T::decode(&body)?))
}

/// Writes a frame and sends it off.
pub(crate) async fn write(stream: &mut (impl AsyncWrite + Unpin), message: &impl Stored) -> io::Result<()> {
    let mut frame = Vec::new();
    put(&mut frame, message)?;
    stream.write_all(&frame).await?;
    stream.flush().await
}

/// Writes frames that come until there will be no more. What has come meanwhile is sent off together.
pub(crate) async fn write_all<T: Stored>(
    stream: &mut (impl AsyncWrite + Unpin),
    mut messages: mpsc::Receiver<T>,
) -> io::Result<()> {
    let mut frames = Vec::new();
    while let Some(message) = messages.recv().await {
        put(&mut frames, &message)?;
        while frames.len() < TOGETHER_BYTES
            && let Ok(message) = messages.try_recv()
        {
            put(&mut frames, &message)?;
        }
        stream.write_all(&frames).await?;
        stream.flush().await?;
        frames.clear();
        frames.shrink_to(TOGETHER_BYTES);
    }
    Ok(())
}

/// Appends a frame.
fn put(frames: &mut Vec<u8>, message: &impl Stored) -> Result<(), Malformed> {
    let start = frames.len();
    frames.extend_from_slice(&[0; 4]);
    message.encode(frames);
    let length = u32::try_from(frames.len() - start - 4).ok().filter(|length| *length <= FRAME_BYTES_MAX);
    let length = length.ok_or(Malformed { what: "frame: it is too long" })?;
    frames[start..start + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}
