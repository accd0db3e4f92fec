//! The listener of a node that has no API server to share a port with.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::{Tunnel, identity};

/// A peer that has not shaken hands by then is not going to.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After an accept that failed (out of file descriptors, say) the next one waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers the nodes that dial `listener`, until `shutdown`.
pub async fn listen(tunnel: Tunnel, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let tls = tunnel.shared.identity.answering().map_err(io::Error::other)?;
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let connections = TaskTracker::new();
    let closing = tunnel.shared.closing.clone();
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let answered = answered(tunnel.clone(), acceptor.clone(), stream);
                    let closing = closing.clone();
                    connections.spawn(async move { closing.run_until_cancelled(answered).await });
                }
                Err(error) => {
                    warn!(%error, "cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = shutdown => {}
        () = closing.cancelled() => {}
        () = accepting => {}
    }
    closing.cancel();
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn answered(tunnel: Tunnel, acceptor: TlsAcceptor, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set nodelay");
    }
    let stream = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "no handshake"),
        Err(_) => return debug!("no handshake in time"),
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    match shown.and_then(|certificate| identity::node_of(certificate)) {
        Some(node) => tunnel.answer(stream, node).await,
        None => debug!("a certificate that is no node's"),
    }
}
