//! Between a stream in memory and a real one.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Reader, Stream, Writer};

/// How much is read from a real socket at once.
const READ_BYTES_MAX: usize = 64 << 10;

/// Carries bytes both ways between `stream` and `io` until both directions have ended, or one has failed. Each end is
/// passed on as it comes, so either side may go on after the other has finished; a failure breaks both.
pub async fn carry(stream: Stream, io: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let (mut incoming, mut outgoing) = tokio::io::split(io);
    let carried = futures::future::try_join(inward(&mut incoming, &mut writer), outward(&mut reader, &mut outgoing));
    let ended = carried.await.map(|((), ())| ());
    if ended.is_err() {
        reader.reset();
        writer.reset();
    }
    ended
}

async fn inward(io: &mut (impl AsyncRead + Unpin), writer: &mut Writer) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ_BYTES_MAX / 4);
        let read = tokio::select! {
            biased;
            // Whoever reads no more will never see what comes, and the peer need not be waited for.
            () = writer.closed() => return Ok(()),
            read = io.read_buf(&mut buffer) => read?,
        };
        if read == 0 {
            writer.finish();
            return Ok(());
        }
        match writer.send_all(buffer.split().freeze()).await {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            sent => sent?,
        }
    }
}

async fn outward(reader: &mut Reader, io: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    loop {
        let chunk: Bytes = reader.chunk(READ_BYTES_MAX).await?;
        if chunk.is_empty() {
            return match io.shutdown().await {
                // The other side has gone already; it cannot be told more than it knows.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
                ended => ended,
            };
        }
        io.write_all(&chunk).await?;
        io.flush().await?;
    }
}
