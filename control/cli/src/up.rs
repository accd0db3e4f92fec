//! `coracle up`: a whole cluster in this process, and the applications one asked for.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use api::{Key, kinds};
use client::Client;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend, IngressServiceBackend};
use network::PortRef;

use crate::apply::{self, Outcome};
use crate::args::Up;
use crate::control::{Control, Options};
use crate::data_dir::{self, DataDir};
use crate::manifests;
use crate::node;
use crate::progress::{self, Progress};
use crate::push;
use crate::running::asked_to_end;
use crate::snapshot;
use crate::trouble;
use crate::verbs::{self, Rollout};

/// How long an application may take to come up before one is told that it has not.
const ROLLOUT_PATIENCE: Duration = Duration::from_secs(120);

/// How long the ingress may take to hear of pods that are there.
const ROUTE_PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn run(args: Up) -> anyhow::Result<()> {
    // What was written wrong is said before anything is started.
    let manifests = if args.files.is_empty() { Vec::new() } else { manifests::read(&args.files)? };
    let progress = Progress::new();
    let data = DataDir::take(data_dir::path(args.machine.data_dir.as_deref())?)?;
    let name = node::name(args.machine.node_name.as_deref())?;

    let step = progress.step("control plane");
    let acme = args.acme.config()?;
    let audit = args.audit.config()?;
    let keys = args.encryption_keys.as_deref();
    let signing = args.signing.cluster_signing_duration;
    let options = Options {
        data: &data,
        listen: args.listen,
        names: &[],
        node: Some(&name),
        signing,
        acme,
        audit,
        loss: args.loss.clone().of_one_process(),
        addresses: args.addresses,
        keys,
        snapshots: snapshot::wanted(&args.snapshots)?,
        coming: None,
        levels: args.machine.levels(),
    };
    let mut control = Control::start(options).await?;
    step.done(&format!("https://{}", control.reachable()));

    let step = progress.step("node");
    let options = node::Options {
        data: &data,
        name: &name,
        machine: &args.machine,
        defaults: &node::LAPTOP,
        api: control.address,
        trust: control.authority.trust().clone(),
        door: control.door()?,
        is_apart: false,
        kept: None,
    };
    let (view, client) = (control.store.view(), control.node_client()?);
    let mut node = node::Node::start(options, view, client).await?;
    let addresses = node::Addresses { api: Some(control.address), ..node.addresses.clone() };
    addresses.write(&data)?;
    step.done(&name);

    let client = control.client()?;
    let services = node.services.clone();
    let applying = async {
        bring_up(&progress, &client, manifests, &addresses, services).await?;
        progress::say("");
        progress::say(&next_steps(&data, &addresses));
        progress::say("Ctrl-C stops it.");
        asked_to_end().await.map_err(anyhow::Error::from)
    };
    let ended = tokio::select! {
        ended = applying => ended,
        asked = asked_to_end() => asked.map_err(Into::into),
        error = control.failed() => Err(error),
        error = node.failed() => Err(error),
    };
    let step = progress.step("stopping");
    let stopped = node.stop().await;
    let stopped = ended.and(stopped).and(control.stop().await);
    if stopped.is_ok() {
        step.done("everything is kept");
    }
    stopped
}

/// Applies the manifests, waits for their deployments, and says where they answer.
async fn bring_up(
    progress: &Progress,
    client: &Client,
    mut manifests: Vec<manifests::Manifest>,
    addresses: &node::Addresses,
    services: network::Services,
) -> anyhow::Result<()> {
    if manifests.is_empty() {
        return Ok(());
    }
    let step = progress.step("images");
    let pushed = push::push_local(client, &mut manifests).await?;
    step.done(&if pushed.is_empty() { "none of them local".into() } else { pushed.join(", ") });

    let step = progress.step("apply");
    let mut applied: Vec<(Key, Outcome)> = Vec::new();
    for manifest in &manifests {
        let (key, outcome) = apply::one(client, &manifest.object, "default").await?;
        applied.push((key, outcome));
    }
    step.done(&format!("{} objects", applied.len()));

    for (key, _) in applied.iter().filter(|(key, _)| key.kind() == kinds::DEPLOYMENT) {
        let step = progress.step(format!("deployment {}", key.name()));
        tokio::select! {
            told = rolled_out(client, key, |why| step.note(why)) => step.done(&told?),
            error = trouble::watch(client, key, |trouble| step.warn(trouble)) => error?,
        }
    }
    let mut urls = BTreeSet::new();
    for (key, _) in applied.iter().filter(|(key, _)| key.kind() == kinds::INGRESS) {
        let ingress = client.get(key).await?.decode::<Ingress>()?;
        // A URL that is told answers; one whose pods do not come up is told all the same, and answers 503.
        let _ = tokio::time::timeout(ROUTE_PATIENCE, answered(&ingress, key.namespace(), services.clone())).await;
        urls.extend(urls_of(&ingress, addresses));
    }
    if !urls.is_empty() {
        progress::say("");
        for url in urls {
            // The one line that other programs may want to read.
            println!("{url}");
        }
    }
    Ok(())
}

async fn rolled_out(client: &Client, key: &Key, mut note: impl FnMut(&str)) -> anyhow::Result<String> {
    let watching = verbs::watch_until(client, key, |object| {
        let deployment = object?.decode::<Deployment>().ok()?;
        match verbs::rollout(&deployment) {
            Rollout::Waiting(why) => {
                note(&why);
                None
            }
            Rollout::Failed(why) => Some(why),
            Rollout::Done => {
                let ready = deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
                Some(format!("{ready} available"))
            }
        }
    });
    match tokio::time::timeout(ROLLOUT_PATIENCE, watching).await {
        Ok(told) => Ok(told?),
        Err(_) => Ok(format!("not available yet; `coracle describe deploy/{}` tells why", key.name())),
    }
}

/// Returns when every service that an ingress leads to has somebody behind it.
async fn answered(ingress: &Ingress, namespace: &str, mut services: network::Services) {
    let backends: Vec<&IngressServiceBackend> =
        backends(ingress).filter_map(|backend| backend.service.as_ref()).collect();
    let is_answered = |table: &network::ServiceTable, backend: &IngressServiceBackend| {
        let wanted = match backend.port.as_ref().and_then(|port| port.name.as_deref()) {
            Some(name) => PortRef::Name(name),
            None => PortRef::Number(backend.port.as_ref().and_then(|port| port.number).unwrap_or(0) as u16),
        };
        let service = table.service(namespace, &backend.name);
        service.and_then(|service| service.port(wanted).ok()).is_some_and(|port| !port.endpoints.is_empty())
    };
    loop {
        let table = services.get();
        if backends.iter().all(|backend| is_answered(&table, backend)) || !services.changed().await {
            return;
        }
    }
}

fn backends(ingress: &Ingress) -> impl Iterator<Item = &IngressBackend> {
    let spec = ingress.spec.iter();
    let rules = spec.clone().flat_map(|spec| spec.rules.iter().flatten());
    let paths = rules.flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths));
    paths.map(|path| &path.backend).chain(spec.flat_map(|spec| &spec.default_backend))
}

/// The URLs at which an ingress answers on this machine.
fn urls_of(ingress: &Ingress, addresses: &node::Addresses) -> Vec<String> {
    let spec = ingress.spec.clone().unwrap_or_default();
    let secured: BTreeSet<&String> = spec.tls.iter().flatten().flat_map(|tls| tls.hosts.iter().flatten()).collect();
    let mut urls = Vec::new();
    for rule in spec.rules.iter().flatten() {
        let host = rule.host.clone();
        let secure = host.as_ref().is_some_and(|host| secured.contains(host));
        let (scheme, address, usual) =
            if secure { ("https", addresses.ingress_https, 443) } else { ("http", addresses.ingress_http, 80) };
        let Some(address) = address else { continue };
        let port = if address.port() == usual { String::new() } else { format!(":{}", address.port()) };
        let host = host.unwrap_or_else(|| host_of(address)).replace('*', "www");
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            urls.push(format!("{scheme}://{host}{port}{}", path.path.as_deref().unwrap_or("/")));
        }
    }
    urls
}

fn host_of(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

fn next_steps(data: &DataDir, addresses: &node::Addresses) -> String {
    let kubeconfig = data.join("kubeconfig");
    let mut lines = vec![
        format!("export KUBECONFIG={}", shown(&kubeconfig)),
        "kubectl get pods -o wide    # or: coracle get pods -o wide".into(),
    ];
    if let Some(dns) = addresses.dns {
        lines.push(format!("dig @{} -p {} kubernetes.default.svc.cluster.local", dns.ip(), dns.port()));
    }
    lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().any(char::is_whitespace) { format!("'{text}'") } else { text }
}
