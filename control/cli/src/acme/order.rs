//! One order, from the wish to the secret.

use std::fmt;
use std::time::Duration;

use anyhow::{anyhow, bail};
use api::{Key, Object};
use client::{Client, DeleteOptions};
use ingress::acme::{Challenge, Proof, Wish};
use instant_acme::{
    AuthorizationStatus, ChallengeType, Error, Identifier, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::directory::Conversation;
use super::keeping::{Issued, keep};
use super::{Config, account};

/// How long an order may take in all: a directory may look at a host from many places, and again when it sees nothing.
const PATIENCE: Duration = Duration::from_secs(300);
/// How a directory is asked whether it has made up its mind, if it does not say how itself.
const POLLING: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).backoff(1.5).timeout(Duration::from_secs(120));
/// How long proofs hang before the directory is told of them: by then every node's edge, which hears of them at once or
/// not at all, shows them.
const SETTLING: Duration = Duration::from_secs(1);
/// How often an order is begun anew because the directory took a number used once for one used twice.
const NONCES_MAX: usize = 5;
/// How long a directory is left alone that has had too many questions, and does not say for how long.
const RATE_PAUSE: SignedDuration = SignedDuration::from_hours(1);

/// What carries out orders.
pub(super) struct Orders {
    config: Config,
    client: Client,
    /// Two orders at once shall not make two accounts.
    opening: Mutex<()>,
}

/// Why there is no certificate.
pub(super) struct Failure {
    /// For a person.
    pub(super) words: String,
    /// Before when the directory does not want to be asked again.
    pub(super) not_before: Option<Timestamp>,
}

/// What a directory said, in its own words.
#[derive(Debug)]
pub(super) struct Refused(Error);

// === impl Orders ===

impl Orders {
    pub(super) fn new(config: Config, client: Client) -> Self {
        Self { config, client, opening: Mutex::default() }
    }

    pub(super) fn directory(&self) -> &str {
        self.config.directory.url()
    }

    /// Orders a certificate and keeps it.
    pub(super) async fn carry_out(&self, wish: &Wish) -> Result<(), Failure> {
        let mut tries = 1..=NONCES_MAX;
        loop {
            let conversation = self.config.directory.speak().map_err(|error| Failure::new(&error, None))?;
            let ordered = self.order(wish, conversation.clone()).await;
            let kept = match ordered {
                Err(error) if is(&error, "badNonce") && tries.next().is_some() => continue,
                Err(error) => Err(error),
                Ok(issued) => keep(&self.client, wish, &issued, self.directory()).await,
            };
            return kept.map_err(|error| Failure::new(&error, conversation.not_before()));
        }
    }

    /// Orders a certificate; whatever comes of it, no proof is left behind.
    async fn order(&self, wish: &Wish, conversation: Conversation) -> anyhow::Result<Issued> {
        let mut hung = Vec::new();
        let issued = timeout(PATIENCE, self.proved(wish, conversation, &mut hung)).await;
        for proof in hung {
            if let Err(error) = self.client.delete(&proof, &DeleteOptions::default()).await {
                tracing::debug!(%proof, %error, "left behind");
            }
        }
        issued.map_err(|_| anyhow!("the directory did not come to an end within {} s", PATIENCE.as_secs()))?
    }

    /// Orders a certificate. Notes in `hung` which proofs it hung out.
    async fn proved(&self, wish: &Wish, conversation: Conversation, hung: &mut Vec<Key>) -> anyhow::Result<Issued> {
        let account = {
            let _opening = self.opening.lock().await;
            account::open(&self.client, self.directory(), self.config.email.as_deref(), conversation).await?
        };
        let identifiers: Vec<Identifier> = wish.hosts.iter().cloned().map(Identifier::Dns).collect();
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await.map_err(Refused::from)?;
        if order.state().status == OrderStatus::Pending {
            for proof in proofs(&mut order, wish.challenge).await? {
                hung.push(proof.key().clone());
                match self.client.create(&proof).await {
                    // A directory may ask again what it asked before: it hangs already.
                    Err(error) if error.is_conflict() => {}
                    created => drop(created?),
                }
            }
            sleep(SETTLING).await;
            settled(&mut order, wish.challenge).await?;
        }
        let key = order.finalize().await.map_err(Refused::from)?;
        let chain = order.poll_certificate(&POLLING).await.map_err(Refused::from)?;
        Ok(Issued { chain, key })
    }
}

/// The secrets that prove the hosts that the directory wants to see proved.
async fn proofs(order: &mut Order, challenge: Challenge) -> anyhow::Result<Vec<Object>> {
    let mut proofs = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(Refused::from)?;
        let host = authorization.identifier().to_string();
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let Some(asked) = authorization.challenge(kind(challenge)) else {
            bail!("{host}: the directory does not take {}", challenge.name())
        };
        let answer = asked.key_authorization();
        let proof = match challenge {
            Challenge::Http01 => Proof::Http { host, token: asked.token.clone(), answer: answer.as_str().to_owned() },
            Challenge::TlsAlpn01 => {
                let digest = answer.digest().as_ref().try_into();
                Proof::Tls { host, digest: digest.map_err(|_| anyhow!("a digest has 32 bytes"))? }
            }
        };
        proofs.push(proof.secret()?);
    }
    Ok(proofs)
}

/// Lets the directory look at the proofs, and waits for what it says.
async fn settled(order: &mut Order, challenge: Challenge) -> anyhow::Result<()> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(Refused::from)?;
        if authorization.status == AuthorizationStatus::Pending
            && let Some(mut asked) = authorization.challenge(kind(challenge))
        {
            asked.set_ready().await.map_err(Refused::from)?;
        }
    }
    let refused = match order.poll_ready(&POLLING).await {
        Ok(OrderStatus::Ready) => return Ok(()),
        Ok(status) => anyhow!("the order is {status:?}"),
        Err(error) => Refused(error).into(),
    };
    // An order tells little of why it failed; what it was made of does.
    Err(unproved(order).await.unwrap_or(refused))
}

/// What the directory says of the hosts that it does not believe to be ours.
async fn unproved(order: &mut Order) -> Option<anyhow::Error> {
    let mut told = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        for problem in state.challenges.iter().filter_map(|challenge| challenge.error.as_ref()) {
            told.push(format!("{}: {}", state.identifier(), words(problem)));
        }
    }
    (!told.is_empty()).then(|| anyhow!(told.join("; ")))
}

fn kind(challenge: Challenge) -> ChallengeType {
    match challenge {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

/// Whether the directory said that this is the problem.
fn is(error: &anyhow::Error, problem: &str) -> bool {
    error.downcast_ref::<Refused>().and_then(Refused::problem).is_some_and(|said| short(said) == problem)
}

fn short(problem: &Problem) -> &str {
    let kind = problem.r#type.as_deref().unwrap_or("about:blank");
    kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind)
}

/// A problem for a person.
fn words(problem: &Problem) -> String {
    let detail = problem.detail.as_deref().unwrap_or("the directory does not say why");
    let parts = problem.subproblems.iter().map(|part| format!("; {part}")).collect::<String>();
    format!("{detail} ({}){parts}", short(problem))
}

// === impl Failure ===

impl Failure {
    fn new(error: &anyhow::Error, not_before: Option<Timestamp>) -> Self {
        let is_too_much = is(error, "rateLimited");
        let later = || Timestamp::now().checked_add(RATE_PAUSE).ok();
        let not_before = not_before.or_else(|| if is_too_much { later() } else { None });
        Self { words: crate::told(error), not_before }
    }
}

// === impl Refused ===

impl Refused {
    fn problem(&self) -> Option<&Problem> {
        match &self.0 {
            Error::Api(problem) => Some(problem),
            _ => None,
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problem() {
            Some(problem) => f.write_str(&words(problem)),
            None => self.0.fmt(f),
        }
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
