//! Certificates for Ingresses, ordered from an ACME directory: one loop in the cluster, on the leader.
//!
//! What is wanted, and when, [`ingress::acme`] says. Here it is ordered, kept in a secret, and told as an event of the
//! Ingresses that asked. The directory is not talked to before somebody asks; asking agrees to its terms.

mod account;
mod directory;
mod keeping;
mod order;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::Key;
use client::{Client, DeleteOptions};
use ingress::acme::{Attempts, Due, SOURCES, Wish, proofs, wishes};
use jiff::Timestamp;
use state::Snapshot;
use store::{ReadError, Store};
use tokio::task::JoinSet;

pub(crate) use directory::Directory;

use crate::events::Tale;
use order::{Failure, Orders};

/// Orders under way at once: enough that a host that nobody reaches does not hold up others, few enough for any directory.
const ORDERS_MAX: usize = 4;
/// How long to wait before asking again whether this member leads.
const LEADERSHIP_PAUSE: Duration = Duration::from_secs(5);
/// The clock is looked at this often at least: it may have been put forward, or the machine have slept.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// Where certificates come from.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) directory: Directory,
    /// Where the directory may write to.
    pub(crate) email: Option<String>,
}

/// What is wished for, and what has become of it.
struct Desk {
    store: Store,
    client: Client,
    orders: Arc<Orders>,
    attempts: Attempts,
    under_way: Vec<Wish>,
    tasks: JoinSet<(Wish, Result<(), Failure>)>,
}

/// Orders what is wanted until `shutdown`.
pub(crate) async fn run(
    config: Config,
    store: Store,
    client: Client,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let orders = Arc::new(Orders::new(config, client.clone()));
    let (attempts, under_way, tasks) = (Attempts::default(), Vec::new(), JoinSet::new());
    let desk = Desk { store, client, orders, attempts, under_way, tasks };
    tokio::select! {
        ended = desk.serve() => ended,
        () = shutdown => Ok(()),
    }
}

// === impl Desk ===

impl Desk {
    async fn serve(mut self) -> anyhow::Result<()> {
        let mut view = self.store.view();
        let mut seen = Snapshot::default();
        let (mut wanted, mut strays) = (Vec::new(), Vec::new());
        loop {
            let world = view.borrow_and_update().clone();
            if SOURCES.iter().any(|kind| !world.agrees(&seen, *kind)) {
                wanted = wishes(&world, self.orders.directory());
                strays = proofs(&world);
                self.attempts.keep(&wanted);
            }
            seen = world;
            let pause = self.round(&seen, &wanted, &strays).await?;
            tokio::select! {
                changed = view.changed() => if changed.is_err() { return Ok(()) },
                Some(ended) = self.tasks.join_next() => {
                    let (wish, result) = ended?;
                    let world = view.borrow().clone();
                    self.end(&world, &wish, result).await;
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Begins what is due, and says when to look again if nothing happens.
    async fn round(&mut self, world: &Snapshot, wanted: &[Wish], strays: &[Key]) -> anyhow::Result<Duration> {
        let now = Timestamp::now();
        let due: Vec<Wish> = due(wanted, &self.under_way, &self.attempts, now).into_iter().cloned().collect();
        // Left behind by a process that ended too early.
        let strays = if self.under_way.is_empty() { strays } else { &[] };
        if (!due.is_empty() || !strays.is_empty()) && !self.leads().await? {
            return Ok(LEADERSHIP_PAUSE);
        }
        for stray in strays {
            let uid = world.get(stray).map(|proof| proof.meta().uid.to_string()).unwrap_or_default();
            if let Err(error) = self.client.delete(stray, &DeleteOptions::default().only(&uid)).await {
                tracing::debug!(proof = %stray, %error, "left behind");
            }
        }
        for wish in due {
            tracing::info!(secret = %wish.secret, hosts = ?wish.hosts, "certificate ordered");
            self.under_way.push(wish.clone());
            let orders = self.orders.clone();
            self.tasks.spawn(async move {
                let result = orders.carry_out(&wish).await;
                (wish, result)
            });
        }
        let moments = wanted.iter().map(|wish| moment(wish, &self.attempts)).filter(|moment| *moment > now);
        let next = moments.min().and_then(|moment| Duration::try_from(moment.duration_since(now)).ok());
        Ok(next.unwrap_or(PAUSE_MAX).min(PAUSE_MAX))
    }

    async fn leads(&self) -> anyhow::Result<bool> {
        match self.store.leads().await {
            Ok(leads) => Ok(leads),
            Err(ReadError::NotLeader { .. }) => Ok(false),
            Err(error @ ReadError::Closed) => Err(error.into()),
        }
    }

    async fn end(&mut self, world: &Snapshot, wish: &Wish, result: Result<(), Failure>) {
        self.under_way.retain(|other| other.secret != wish.secret);
        let hosts: Vec<&str> = wish.hosts.iter().map(String::as_str).collect();
        let (secret, hosts) = (wish.secret.name(), hosts.join(", "));
        match result {
            Ok(()) => {
                self.attempts.succeeded(&wish.secret);
                tracing::info!(secret = %wish.secret, %hosts, "certificate issued");
                let message = format!("secret {secret} has a certificate for {hosts}");
                self.tell(world, wish, "Normal", "CertificateIssued", &message).await;
            }
            Err(failure) => {
                let again = self.attempts.failed(wish, Timestamp::now(), failure.not_before);
                tracing::warn!(secret = %wish.secret, %hosts, why = failure.words, %again, "no certificate");
                let message = format!("secret {secret} gets no certificate for {hosts}: {}", failure.words);
                self.tell(world, wish, "Warning", "CertificateFailed", &message).await;
            }
        }
    }

    async fn tell(&self, world: &Snapshot, wish: &Wish, tone: &'static str, reason: &'static str, message: &str) {
        for ingress in &wish.ingresses {
            let tale = Tale { ingress, tone, reason, message, by: "coracle-acme" };
            if let Err(error) = tale.tell(&self.client, world, Timestamp::now()).await {
                tracing::debug!(%ingress, %error, "event not written");
            }
        }
    }
}

/// When a wish is to be carried out.
fn moment(wish: &Wish, attempts: &Attempts) -> Timestamp {
    let due = match wish.due {
        Due::AtOnce => Timestamp::MIN,
        Due::At(moment) => moment,
    };
    attempts.wait(wish).map_or(due, |wait| wait.max(due))
}

/// What to begin now: as much as there is room for, and no host twice, as one could not be proved in two ways at once.
fn due<'a>(wanted: &'a [Wish], under_way: &[Wish], attempts: &Attempts, now: Timestamp) -> Vec<&'a Wish> {
    let mut hosts: BTreeSet<&String> = under_way.iter().flat_map(|wish| &wish.hosts).collect();
    let mut chosen = Vec::new();
    for wish in wanted {
        let is_under_way = under_way.iter().any(|other| other.secret == wish.secret);
        let has_room = under_way.len() + chosen.len() < ORDERS_MAX;
        let is_free = wish.hosts.iter().all(|host| !hosts.contains(host));
        if moment(wish, attempts) <= now && !is_under_way && has_room && is_free {
            hosts.extend(&wish.hosts);
            chosen.push(wish);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use api::kinds;
    use ingress::acme::Challenge;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    /// Wishes as `secret:host,host`, with `+` before what is due in a minute.
    fn wanted(text: &str) -> Vec<Wish> {
        let read = |word: &str| {
            let (word, due) = match word.strip_prefix('+') {
                Some(later) => (later, Due::At(NOW + jiff::SignedDuration::from_mins(1))),
                None => (word, Due::At(NOW)),
            };
            let (secret, hosts) = word.split_once(':').expect("secret:hosts");
            let (secret, hosts) = (kinds::SECRET.key("n", secret), hosts.split(',').map(str::to_owned).collect());
            Wish { secret, hosts, ingresses: Vec::new(), challenge: Challenge::Http01, due }
        };
        text.split_whitespace().map(read).collect()
    }

    fn check(wishes: &str, under_way: &str, failed: &str, expected: &str) {
        let mut attempts = Attempts::default();
        for wish in wanted(failed) {
            attempts.failed(&wish, NOW, None);
        }
        let wishes = wanted(wishes);
        let told = due(&wishes, &wanted(under_way), &attempts, NOW);
        let told: Vec<&str> = told.iter().map(|wish| wish.secret.name()).collect();
        assert_eq!(told.join(" "), expected, "{wishes:?}");
    }

    #[test]
    fn what_is_due_is_begun() {
        check("a:a b:b +c:c", "", "", "a b");
        check("a:a b:b", "a:a", "", "b");
        check("a:a b:b", "", "b:b", "a");
    }

    #[test]
    fn there_is_room_for_so_many() {
        check("a:a b:b c:c d:d e:e", "", "", "a b c d");
        check("a:a b:b c:c d:d e:e", "a:a x:x y:y", "", "b");
    }

    #[test]
    fn a_host_is_proved_once_at_a_time() {
        check("a:x,y b:y,z c:z", "", "", "a c");
        check("a:x,y b:z", "c:y", "", "b");
    }

    #[test]
    fn it_is_looked_at_again_when_something_is_due() {
        let mut attempts = Attempts::default();
        let wishes = wanted("a:a +b:b");
        let until = attempts.failed(&wishes[0], NOW, None);
        attempts.failed(&wishes[1], NOW, None);
        assert_eq!(moment(&wishes[0], &attempts), until);
        assert_eq!(moment(&wishes[1], &attempts), until);
        assert_eq!(moment(&wishes[1], &Attempts::default()), NOW + jiff::SignedDuration::from_mins(1));
    }
}
