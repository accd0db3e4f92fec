//! The long-lived parts of this process: started one by one, ended together, none forgotten.

use std::future::Future;

use anyhow::anyhow;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Parts that run until they are asked to stop.
pub(crate) struct Running {
    stop: CancellationToken,
    parts: JoinSet<(&'static str, anyhow::Result<()>)>,
}

impl Running {
    pub(crate) fn new() -> Self {
        Self { stop: CancellationToken::new(), parts: JoinSet::new() }
    }

    /// A future that ends when the parts are asked to stop.
    pub(crate) fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        self.stop.clone().cancelled_owned()
    }

    /// Starts a part.
    pub(crate) fn start<E>(&mut self, name: &'static str, part: impl Future<Output = Result<(), E>> + Send + 'static)
    where
        E: Into<anyhow::Error> + Send,
    {
        self.parts.spawn(async move { (name, part.await.map_err(Into::into)) });
    }

    /// Returns when a part has ended although nobody asked it to.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        match self.parts.join_next().await {
            None => std::future::pending().await,
            Some(ended) => why(ended).unwrap_or_else(|| anyhow!("a part of the program ended too early")),
        }
    }

    /// Asks all parts to stop and waits for them; gives the first complaint.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let mut complaint = None;
        while let Some(ended) = self.parts.join_next().await {
            complaint = complaint.or_else(|| why_failed(ended));
        }
        complaint.map_or(Ok(()), Err)
    }
}

type Ended = Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>;

fn why(ended: Ended) -> Option<anyhow::Error> {
    match ended {
        Ok((name, Ok(()))) => Some(anyhow!("the {name} ended")),
        other => why_failed(other),
    }
}

fn why_failed(ended: Ended) -> Option<anyhow::Error> {
    match ended {
        Ok((_, Ok(()))) => None,
        Ok((name, Err(error))) => Some(error.context(format!("the {name} failed"))),
        Err(error) => Some(anyhow!("a part of the program panicked: {error}")),
    }
}

/// Returns when the person or the system asks the program to end.
pub(crate) async fn asked_to_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}
