//! One port, and the connection is its bytes: what `coracle port-forward` asks for. The port answers before the protocol is
//! switched, so that a refusal is one of HTTP.

use std::io;

use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::relay::{Incoming, Pod};
use crate::connect::backend::Security;
use crate::connect::wire::{Reader, Writer};

/// So many pieces wait for the pod before the client is not read any more.
const PIECES_MAX: usize = 16;

/// A port that has answered.
pub(super) struct Dialled {
    outgoing: mpsc::Sender<Bytes>,
    incoming: Incoming,
}

// === impl Dialled ===

impl Dialled {
    /// Connects to the port.
    pub(super) async fn new(pod: &Pod, port: u16) -> Result<Self, String> {
        let (outgoing, pieces) = mpsc::channel(PIECES_MAX);
        let incoming = pod.dial(port, Security::Plain, ReceiverStream::new(pieces).map(Ok)).await?;
        Ok(Self { outgoing, incoming })
    }

    /// Carries bytes until the pod has sent everything.
    pub(super) async fn serve(self, mut reader: Reader, writer: Writer) -> io::Result<()> {
        let Self { outgoing, mut incoming } = self;
        let there = async {
            while let Some(bytes) = reader.next().await? {
                if outgoing.send(bytes).await.is_err() {
                    break;
                }
            }
            drop(outgoing);
            Ok(())
        };
        let back = async {
            while let Some(bytes) = incoming.next().await {
                let bytes = bytes.map_err(io::Error::other)?;
                writer.send(bytes).await.map_err(io::Error::other)?;
            }
            Ok::<(), io::Error>(())
        };
        tokio::pin!(there, back);
        tokio::select! {
            back = &mut back => back,
            sent = &mut there => match sent {
                Ok(()) => back.await,
                Err(error) => Err(error),
            },
        }
    }
}
