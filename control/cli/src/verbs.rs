//! The short verbs: delete, scale, rollout, version.

use std::time::Duration;

use anyhow::{Context, bail};
use api::{GroupKind, Key, Kinds, kinds};
use client::{Client, ClientError, DeleteOptions, ListOptions, WatchEvent};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::access::{self, Cluster};
use crate::args::{Delete, RolloutStatus, Scale, Version};
use crate::what::{self, What};
use crate::{again, durations, manifests};

/// How long a deletion is waited for before one is told that it goes on.
const DELETE_PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn delete(args: Delete) -> anyhow::Result<()> {
    let cluster = access::cluster(&args.access)?;
    let mut keys = Vec::new();
    if !args.files.is_empty() {
        for manifest in manifests::read(&args.files)? {
            keys.push(manifest_key(&cluster.client, &manifest.object, &cluster.namespace).await?);
        }
    }
    if !args.what.is_empty() {
        for what in what::parse(&cluster.client, &args.what).await? {
            keys.extend(meant(&cluster, &what, &args).await?);
        }
    }
    if keys.is_empty() && args.files.is_empty() && args.what.is_empty() {
        bail!("say what to delete: KIND/NAME, KIND with -l or --all, or -f FILE");
    }
    let mut options = DeleteOptions { propagation_policy: Some("Background".into()), ..DeleteOptions::default() };
    options.grace_period_seconds = args.grace_period;
    for key in &keys {
        cluster.client.delete(key, &options).await?;
        println!("{} \"{}\" deleted", told_kind(key), key.name());
    }
    if !args.no_wait {
        for key in &keys {
            let gone = tokio::time::timeout(DELETE_PATIENCE, gone(&cluster.client, key)).await;
            gone.map_err(|_| anyhow::anyhow!("{key} is still being deleted; finalizers or a long grace hold it"))??;
        }
    }
    Ok(())
}

async fn meant(cluster: &Cluster, what: &What, args: &Delete) -> anyhow::Result<Vec<Key>> {
    if what.name.is_some() {
        return Ok(vec![what.key(&cluster.namespace)?]);
    }
    if args.selector.is_none() && !args.all {
        bail!("name one of the {}, or say which with -l, or --all", what.names.plural);
    }
    let options = ListOptions { labels: args.selector.clone(), fields: None };
    let kind = GroupKind::interned(what.names.group, what.names.kind);
    let (objects, _) = cluster.client.list(kind, Some(&cluster.namespace), &options).await?;
    Ok(objects.iter().map(|object| object.key().clone()).collect())
}

/// The key of what a manifest describes.
pub(crate) async fn manifest_key(client: &Client, object: &Value, namespace: &str) -> anyhow::Result<Key> {
    let member = |value: &Value, name: &str| {
        value.as_str().map(str::to_owned).with_context(|| format!("a manifest has no {name}"))
    };
    let kind = member(&object["kind"], "kind")?;
    let version = member(&object["apiVersion"], "apiVersion")?;
    let name = member(&object["metadata"]["name"], "metadata.name")?;
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let find = |kinds: &Kinds| {
        let mut names = kinds.all().iter().map(|kind| kind.names());
        names.find(|names| names.group == group && names.kind == kind)
    };
    let known = match find(&Kinds::default()) {
        Some(known) => Some(known),
        None => find(&*client.kinds().await?),
    };
    let Some(names) = known else { bail!("no matches for kind {kind:?} in version {version:?}") };
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or(namespace);
    Ok(what::key(names, namespace, &name))
}

fn told_kind(key: &Key) -> String {
    match key.kind().group {
        "" => key.kind().kind.to_lowercase(),
        group => format!("{}.{group}", key.kind().kind.to_lowercase()),
    }
}

/// Returns once there is no such object.
pub(crate) async fn gone(client: &Client, key: &Key) -> Result<(), ClientError> {
    let until = |object: Option<&api::Object>| object.is_none().then_some(());
    watch_until(client, key, until).await
}

/// Watches one object until `done` makes something of it; `None` stands for its absence.
pub(crate) async fn watch_until<T>(
    client: &Client,
    key: &Key,
    mut done: impl FnMut(Option<&api::Object>) -> Option<T>,
) -> Result<T, ClientError> {
    let options = ListOptions { fields: Some(format!("metadata.name={}", key.name())), labels: None };
    let namespace = Some(key.namespace()).filter(|namespace| !namespace.is_empty());
    loop {
        let (objects, mut after) = again::ask(|| client.list(key.kind(), namespace, &options)).await?;
        if let Some(made) = done(objects.first()) {
            return Ok(made);
        }
        let watched: Result<T, ClientError> = async {
            loop {
                let mut events = client.watch(key.kind(), namespace, &options, after).await?;
                while let Some(event) = events.next().await? {
                    let made = match &event {
                        WatchEvent::Applied(object) => done(Some(object)),
                        WatchEvent::Deleted(_) => done(None),
                        WatchEvent::Bookmark(_) => None,
                    };
                    if let Some(made) = made {
                        return Ok(made);
                    }
                    after = match event {
                        WatchEvent::Applied(object) | WatchEvent::Deleted(object) => object.revision(),
                        WatchEvent::Bookmark(revision) => revision,
                    };
                }
            }
        }
        .await;
        match watched {
            // What was missed meanwhile is in the next list.
            Err(error) if error.is_expired() || error.may_pass() => {}
            other => return other,
        }
    }
}

pub(crate) async fn scale(args: Scale) -> anyhow::Result<()> {
    let cluster = access::cluster(&args.access)?;
    for what in what::parse(&cluster.client, &args.what).await? {
        let key = what.key(&cluster.namespace)?;
        let path = format!("{}/scale", client::object_path(&key, what.names));
        let patch = json!({"spec": {"replicas": args.replicas}}).to_string();
        cluster.client.send(http::Method::PATCH, &path, Some("application/merge-patch+json"), patch).await?;
        println!("{} scaled", what::told(what.names, key.name()));
    }
    Ok(())
}

pub(crate) async fn rollout_status(args: RolloutStatus) -> anyhow::Result<()> {
    let cluster = access::cluster(&args.access)?;
    let [what] = what::parse(&cluster.client, &[args.what])
        .await?
        .try_into()
        .map_err(|_| anyhow::anyhow!("name one deployment"))?;
    let key = what.key(&cluster.namespace)?;
    if key.kind() != kinds::DEPLOYMENT {
        bail!("the rollout of {} cannot be followed; deployments can", what.names.plural);
    }
    let mut last = String::new();
    let watching = watch_until(&cluster.client, &key, |object| {
        let Some(object) = object else { return Some(Err(format!("deployment {:?} is gone", key.name()))) };
        match object.decode::<Deployment>() {
            Err(error) => Some(Err(error.to_string())),
            Ok(deployment) => match rollout(&deployment) {
                Rollout::Waiting(why) => {
                    if why != last {
                        println!("{why}");
                        last = why;
                    }
                    None
                }
                Rollout::Done => Some(Ok(())),
                Rollout::Failed(why) => Some(Err(why)),
            },
        }
    });
    let ended = tokio::time::timeout(durations::parse(&args.timeout)?, watching).await;
    ended.map_err(|_| anyhow::anyhow!("timed out waiting for the rollout"))??.map_err(anyhow::Error::msg)?;
    println!("deployment {:?} successfully rolled out", key.name());
    Ok(())
}

/// How far a rollout is.
#[derive(Debug, PartialEq)]
pub(crate) enum Rollout {
    Waiting(String),
    Done,
    Failed(String),
}

/// Reads a deployment's status as `kubectl rollout status` does.
pub(crate) fn rollout(deployment: &Deployment) -> Rollout {
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let status = deployment.status.clone().unwrap_or_default();
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let (updated, all, available) =
        (status.updated_replicas.unwrap_or(0), status.replicas.unwrap_or(0), status.available_replicas.unwrap_or(0));
    let waiting =
        |what: String| Rollout::Waiting(format!("Waiting for deployment {name:?} rollout to finish: {what}..."));
    let late = |condition: &k8s_openapi::api::apps::v1::DeploymentCondition| {
        condition.type_ == "Progressing" && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
    };
    if status.observed_generation < deployment.metadata.generation {
        Rollout::Waiting("Waiting for deployment spec update to be observed...".into())
    } else if status.conditions.iter().flatten().any(late) {
        Rollout::Failed(format!("deployment {name:?} exceeded its progress deadline"))
    } else if updated < wanted {
        waiting(format!("{updated} out of {wanted} new replicas have been updated"))
    } else if all > updated {
        waiting(format!("{} old replicas are pending termination", all - updated))
    } else if available < updated {
        waiting(format!("{available} of {updated} updated replicas are available"))
    } else {
        Rollout::Done
    }
}

/// The pod that a word means: its name, `pod/NAME`, or any pod of a workload that selects by labels.
pub(crate) async fn pod_of(cluster: &Cluster, word: &str) -> anyhow::Result<Key> {
    if !word.contains('/') {
        return Ok(kinds::POD.key(&cluster.namespace, word));
    }
    let [what] = what::parse(&cluster.client, &[word.to_owned()])
        .await?
        .try_into()
        .map_err(|_| anyhow::anyhow!("name one pod"))?;
    let key = what.key(&cluster.namespace)?;
    if key.kind() == kinds::POD {
        return Ok(key);
    }
    let owner = cluster.client.get(&key).await?.to_value()?;
    let labels = owner["spec"]["selector"].get("matchLabels").unwrap_or(&owner["spec"]["selector"]);
    let Some(labels) = labels.as_object() else { bail!("{word} selects no pods") };
    let labels: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
    let options = ListOptions { labels: Some(labels.join(",")), fields: None };
    let (pods, _) = cluster.client.list(kinds::POD, Some(&cluster.namespace), &options).await?;
    let running = |pod: &&api::Object| {
        pod.decode::<Pod>()
            .is_ok_and(|pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running"))
    };
    let pod = pods.iter().find(running).or_else(|| pods.first());
    Ok(pod.with_context(|| format!("{word} has no pods"))?.key().clone())
}

pub(crate) async fn version(args: Version) -> anyhow::Result<()> {
    println!("Client Version: v{}", env!("CARGO_PKG_VERSION"));
    if !args.client {
        let cluster = access::cluster(&args.access)?;
        let version: Value = cluster.client.get_json("/version").await?;
        println!("Server Version: {}", version["gitVersion"].as_str().unwrap_or("unknown"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(generation: i64, status: Value, expect: &str) {
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "generation": generation},
            "spec": {"replicas": 3, "selector": {}, "template": {}}, "status": status});
        let told = match rollout(&serde_json::from_value(deployment).expect("a deployment")) {
            Rollout::Waiting(why) | Rollout::Failed(why) => why,
            Rollout::Done => "done".into(),
        };
        assert_eq!(told, expect);
    }

    #[test]
    fn a_rollout_is_told_as_kubectl_tells_it() {
        check(2, json!({"observedGeneration": 1}), "Waiting for deployment spec update to be observed...");
        check(
            1,
            json!({"observedGeneration": 1, "updatedReplicas": 1, "replicas": 3}),
            "Waiting for deployment \"web\" rollout to finish: 1 out of 3 new replicas have been updated...",
        );
        check(
            1,
            json!({"observedGeneration": 1, "updatedReplicas": 3, "replicas": 4}),
            "Waiting for deployment \"web\" rollout to finish: 1 old replicas are pending termination...",
        );
        check(
            1,
            json!({"observedGeneration": 1, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 2}),
            "Waiting for deployment \"web\" rollout to finish: 2 of 3 updated replicas are available...",
        );
        check(1, json!({"observedGeneration": 1, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 3}), "done");
        let late = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]);
        check(
            1,
            json!({"observedGeneration": 1, "conditions": late}),
            "deployment \"web\" exceeded its progress deadline",
        );
    }
}
