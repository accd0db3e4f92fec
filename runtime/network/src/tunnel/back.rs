//! The ways back: a node holds a connection to each server and answers over it, so that those who cannot dial it reach it.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::serve::{self, Asker};
use super::{BACK, Tunnel, link};

/// Pauses between tries grow from the first to the second.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(2);

/// Holds a connection to every server there is, for ever.
pub(super) async fn keep(tunnel: &Tunnel) {
    let mut servers = tunnel.shared.servers.clone();
    let mut holding = JoinSet::new();
    let mut held: HashMap<String, AbortHandle> = HashMap::new();
    loop {
        let known = servers.get();
        for (_, lost) in held.extract_if(|server, _| !known.contains(server)) {
            lost.abort();
        }
        for server in known.iter().filter(|server| !held.contains_key(*server)).cloned().collect::<Vec<_>>() {
            held.insert(server.clone(), holding.spawn(hold(tunnel.clone(), server)));
        }
        while holding.try_join_next().is_some() {}
        if !servers.changed().await {
            return std::future::pending().await;
        }
    }
}

/// Holds the connection to one, for ever.
async fn hold(tunnel: Tunnel, server: String) {
    let mut pause = RETRY_FIRST;
    loop {
        let dialled = Instant::now();
        match tunnel.shared.identity.dialling_server(BACK) {
            Err(error) => debug!(%server, %error, "no way back"),
            Ok(tls) => match link::dial(&server, link::host(&server), tls).await {
                Err(error) => debug!(%server, %error, "no way back"),
                Ok(stream) => {
                    serve::node(&tunnel, stream, Asker::Server).await;
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
