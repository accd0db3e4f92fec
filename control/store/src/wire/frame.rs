//! Frames on a stream of bytes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::codec::{Malformed, Stored};

/// A batch of entries is cut at a few MiB, and no object is larger than that.
const FRAME_BYTES_MAX: u32 = 64 << 20;

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
    let mut body = Vec::new();
    // Grows with what really comes.
    stream.take(length.into()).read_to_end(&mut body).await?;
    if body.len() < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(T::decode(&body)?))
}

/// Writes a frame and sends it off.
pub(crate) async fn write(stream: &mut (impl AsyncWrite + Unpin), message: &impl Stored) -> io::Result<()> {
    let mut frame = vec![0; 4];
    message.encode(&mut frame);
    let length = u32::try_from(frame.len() - 4).ok().filter(|length| *length <= FRAME_BYTES_MAX);
    let length = length.ok_or(Malformed { what: "frame: it is too long" })?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    stream.write_all(&frame).await?;
    stream.flush().await
}
