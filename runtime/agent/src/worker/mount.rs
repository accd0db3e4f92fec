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
use crate::volumes::remote::Trouble;
use crate::volumes::tokens::{Ask, Held, Tokens};
use crate::volumes::{self, Content, Placed, Planned, Store};

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
            match placed(&context, (&pod, &uid), roots, &tokens).await {
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

    /// The pod's containers have ended: what it wrote to volumes that are elsewhere is brought there.
    pub(super) fn unmount(&mut self) {
        let (context, pod, uid) = (self.context.clone(), self.pod(), self.uid.clone());
        self.spawn(async move {
            let view = context.view();
            let known = volumes::remotes(&pod, &context.around(&view, NOWHERE));
            let unmounted = context.remotes.unmount(&uid, known).await;
            Mail::Happened(match unmounted {
                Ok(()) => Happening::Unmounted,
                Err((volume, trouble)) => Happening::NotUnmounted(elsewhere(&volume, &trouble)),
            })
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
    (pod, uid): (&Arc<Pod>, &Uid),
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
    let mut placed = BTreeMap::new();
    let (remote, own): (Vec<Planned>, Vec<Planned>) =
        planned?.into_iter().partition(|volume| matches!(volume.content, Content::Remote(_)));
    for volume in &remote {
        let Content::Remote(wanted) = &volume.content else { continue };
        let mounted = context.remotes.mount(wanted, &key_of(pod), uid).await;
        placed.insert(volume.name.clone(), mounted.map_err(|trouble| elsewhere(&volume.name, &trouble))?);
    }
    let writing = tokio::task::spawn_blocking(move || {
        own.into_iter().map(|volume| Ok((volume.name.clone(), roots.write(&volume)?))).collect()
    });
    let written: Result<BTreeMap<String, Placed>, NotMounted> = writing.await.unwrap_or_else(|error| {
        let message = error.to_string();
        Err(NotMounted { volume: String::new(), message, unsupported: false, is_elsewhere: false })
    });
    placed.extend(written?);
    Ok(placed)
}

fn key_of(pod: &Pod) -> Key {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    kinds::POD.key(namespace, pod.metadata.name.as_deref().unwrap_or_default())
}

fn elsewhere(volume: &str, trouble: &Trouble) -> NotMounted {
    NotMounted { volume: volume.to_owned(), message: trouble.to_string(), unsupported: false, is_elsewhere: true }
}

/// Asks for the tokens that are due. One that still holds is not missed when its successor does not come.
async fn renew(context: &Context, pod: &Pod, uid: &Uid, tokens: &mut Tokens) -> Result<(), NotMounted> {
    let due = tokens.due(Ask::all(pod), Timestamp::now());
    if due.is_empty() {
        return Ok(());
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let key = key_of(pod);
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
    let account: Key = kinds::SERVICE_ACCOUNT.key(namespace, account);
    let mut trouble = None;
    let kept = context.config.kept.as_ref();
    for ask in due {
        // Whoever is alone has nobody to ask; what the pod had is good for those who still believe it.
        let had = || kept.filter(|kept| kept.is_alone() && tokens.text(&ask).is_none())?.token(uid, &ask);
        if let Some(held) = had() {
            tokens.keep(ask, held);
            continue;
        }
        let wanted = TokenWanted { audience: ask.audience.as_deref(), seconds: ask.seconds, pod: (&key, uid) };
        match context.client.token(&account, &wanted).await {
            Ok(token) => {
                let held = Held { text: token.text, expires: token.expires };
                if let Some(kept) = kept {
                    kept.keep_token(uid, &ask, &held);
                }
                tokens.keep(ask, held);
            }
            Err(error) => trouble = Some((error, ask)),
        }
    }
    match trouble {
        None => Ok(()),
        Some((error, ask)) => Err(NotMounted {
            volume: volumes::tokens::volume_of(pod, &ask),
            message: format!("failed to fetch token: {error}"),
            unsupported: false,
            is_elsewhere: false,
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
            is_elsewhere: false,
        })
    }
}
