//! The way back: a node holds a connection to the server and answers over it, so that those who cannot dial it reach it.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::debug;

use super::serve::{self, Asker};
use super::{BACK, Relay, Tunnel, link};

/// Pauses between tries grow from the first to the second.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(2);

/// Holds the connection, for ever.
pub(super) async fn keep(tunnel: &Tunnel) {
    let Relay::Server(server) = &tunnel.shared.relay else { return std::future::pending().await };
    let mut pause = RETRY_FIRST;
    loop {
        let dialled = Instant::now();
        match tunnel.shared.identity.dialling_server(BACK) {
            Err(error) => debug!(%error, "no way back"),
            Ok(tls) => match link::dial(server, link::host(server), tls).await {
                Err(error) => debug!(%error, "no way back"),
                Ok(stream) => {
                    serve::node(tunnel, stream, Asker::Server).await;
                    // One that is ended at once is as good as none.
                    if dialled.elapsed() > RETRY_LAST {
                        pause = RETRY_FIRST;
                    }
                }
            },
        }
        sleep(pause).await;
        pause = (pause * 2).min(RETRY_LAST);
    }
}
