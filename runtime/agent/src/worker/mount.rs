//! Making a pod's volumes, and bringing them up to date.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::{Key, kinds};
use client::TokenWanted;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use tokio::time::timeout;

use super::{Mail, Worker};
use crate::context::Context;
use crate::desired::Uid;
use crate::pod::{Happening, NotMounted};
use crate::volumes::tokens::{Ask, Held, Tokens};
use crate::volumes::{self, Placed, Planned, Store};

/// What is brought up to date, and when it is to be again.
pub(crate) struct Updated {
    /// Volumes that could not be.
    pub(crate) failed: Vec<NotMounted>,
    /// When the first token is to be replaced.
    pub(crate) due: Option<Timestamp>,
}

/// Where a pod's volumes are made.
struct Roots {
    disk: PathBuf,
    /// For those that hold secrets.
    memory: PathBuf,
    /// What is not the pod's alone.
    store: Store,
}

/// No volume tells the pod's address.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What every namespace has is written a moment after it; a pod that is as quick need not be told of a failure.
const SETTLING: Duration = Duration::from_secs(1);

/// How soon a token that could not be replaced is asked for again.
const TOKEN_RETRY: SignedDuration = SignedDuration::from_secs(30);

impl Worker {
    pub(super) fn mount(&mut self) {
        let (context, pod, roots, uid) = (self.context.clone(), self.pod(), self.roots(), self.uid.clone());
        let turn = self.tokens.clone();
        self.spawn(async move {
            let mut tokens = turn.lock().await;
            if let Err(why) = renew(&context, &pod, &uid, &mut tokens).await {
                return Mail::Happened(Happening::NotMounted(why));
            }
            match placed(&context, &pod, roots, &tokens).await {
                Ok(placed) => Mail::Placed(placed, tokens.next_due()),
                Err(why) => Mail::Happened(Happening::NotMounted(why)),
            }
        });
    }

    /// Writes again what holds files. Guests see it at once, and whole; what cannot be made stays as it was.
    pub(super) fn update_volumes(&mut self) {
        if self.placed.is_empty() {
            return;
        }
        let (context, pod, roots, uid) = (self.context.clone(), self.pod(), self.roots(), self.uid.clone());
        let turn = self.tokens.clone();
        self.spawn(async move {
            let mut tokens = turn.lock().await;
            let renewed = renew(&context, &pod, &uid, &mut tokens).await;
            let retry = renewed.is_err().then(|| Timestamp::now() + TOKEN_RETRY);
            let view = context.view();
            let updates = volumes::updates(&pod, &context.around(&view, NOWHERE), &tokens);
            let writing = tokio::task::spawn_blocking(move || {
                let written = updates.into_iter().map(|update| roots.write(&update?));
                written.filter_map(Result::err).collect::<Vec<NotMounted>>()
            });
            let written = writing.await.unwrap_or_default();
            let failed = renewed.err().into_iter().chain(written).collect();
            Mail::Updated(Updated { failed, due: retry.or(tokens.next_due()) })
        });
    }

    fn roots(&self) -> Roots {
        let config = &self.context.config;
        Roots {
            disk: self.directory().join("volumes"),
            memory: self.directory_in_memory().join("volumes"),
            store: Store {
                local: config.volumes_dir(),
                host_paths: config.host_paths.clone(),
                quotas: self.context.quotas.clone(),
            },
        }
    }
}

/// Makes every volume; if what one needs is not there yet, it may come within a moment.
async fn placed(
    context: &Context,
    pod: &Arc<Pod>,
    roots: Roots,
    tokens: &Tokens,
) -> Result<BTreeMap<String, Placed>, NotMounted> {
    let mut views = context.view.clone();
    let mut plan = || {
        let view = views.borrow_and_update().clone();
        volumes::plan(pod, &context.around(&view, NOWHERE), tokens)
    };
    let mut planned = plan();
    if planned.as_ref().is_err_and(|why| !why.unsupported) {
        let mut views = context.view.clone();
        let settled = timeout(SETTLING, async {
            loop {
                if views.changed().await.is_err() {
                    return;
                }
                planned = plan();
                if planned.is_ok() {
                    return;
                }
            }
        });
        // Settled or not, what was planned last says it.
        let _ = settled.await;
    }
    let planned = planned?;
    let writing = tokio::task::spawn_blocking(move || {
        planned.into_iter().map(|volume| Ok((volume.name.clone(), roots.write(&volume)?))).collect()
    });
    writing.await.unwrap_or_else(|error| {
        Err(NotMounted { volume: String::new(), message: error.to_string(), unsupported: false })
    })
}

/// Asks for the tokens that are due. One that still holds is not missed when its successor does not come.
async fn renew(context: &Context, pod: &Pod, uid: &Uid, tokens: &mut Tokens) -> Result<(), NotMounted> {
    let due = tokens.due(Ask::all(pod), Timestamp::now());
    if due.is_empty() {
        return Ok(());
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let key = kinds::POD.key(namespace, pod.metadata.name.as_deref().unwrap_or_default());
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
    let account: Key = kinds::SERVICE_ACCOUNT.key(namespace, account);
    let mut trouble = None;
    for ask in due {
        let wanted = TokenWanted { audience: ask.audience.as_deref(), seconds: ask.seconds, pod: (&key, uid) };
        match context.client.token(&account, &wanted).await {
            Ok(token) => tokens.keep(ask, Held { text: token.text, expires: token.expires }),
            Err(error) => trouble = Some((error, ask)),
        }
    }
    match trouble {
        None => Ok(()),
        Some((error, ask)) => Err(NotMounted {
            volume: volumes::tokens::volume_of(pod, &ask),
            message: format!("failed to fetch token: {error}"),
            unsupported: false,
        }),
    }
}

// === impl Roots ===

impl Roots {
    fn write(&self, volume: &Planned) -> Result<Placed, NotMounted> {
        let root = if volume.secret { &self.memory } else { &self.disk };
        volumes::write(root, &self.store, volume).map_err(|error| NotMounted {
            volume: volume.name.clone(),
            message: error.to_string(),
            unsupported: false,
        })
    }
}
