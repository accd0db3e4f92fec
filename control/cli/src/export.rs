//! `coracle export` and `coracle import`: what a namespace holds, as a file of manifests, and back into this or another cluster.
//!
//! The file is YAML that `kubectl` reads as well. It holds what people have said, and not what this cluster made of it
//! ([`portable`]). Importing is careful: everything is looked at before anything is written, and what is there already is left alone.

mod portable;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, bail};
use api::{GroupKind, Key, Names, Object, Scope, kinds};
use client::{Client, DeleteOptions, ListOptions};
use http::Method;
use serde_json::{Value, json};

use crate::args::{Export, Import};
use crate::progress::say;
use crate::{access, manifests, verbs, what};
use portable::{Addresses, OWNERS};

/// What others need before they can be: these kinds in this order, then all else, and pods last.
const FIRST: [GroupKind; 9] = [
    kinds::SERVICE_ACCOUNT,
    kinds::SECRET,
    kinds::CONFIG_MAP,
    kinds::LIMIT_RANGE,
    kinds::PERSISTENT_VOLUME_CLAIM,
    kinds::ROLE,
    kinds::ROLE_BINDING,
    kinds::SERVICE,
    kinds::BUCKET,
];

/// A new namespace is furnished in milliseconds; a busy machine gets more.
const FURNISHED_PATIENCE: Duration = Duration::from_secs(30);
const FURNISHED_PAUSE: Duration = Duration::from_millis(50);

/// One object of a file, and where it goes.
struct Wanted {
    key: Key,
    names: &'static Names,
    object: Value,
    /// Who owns it, by kind and name: `apiVersion`, `kind`, `name` and whatever else a reference says but the uid.
    owners: Vec<Value>,
}

pub(crate) async fn export(args: Export) -> anyhow::Result<()> {
    let cluster = access::cluster(&args.access)?;
    let namespace = &cluster.namespace;
    cluster.client.get(&kinds::NAMESPACE.cluster_key(namespace)).await?;
    let mut objects = Vec::new();
    let all = cluster.client.kinds().await?;
    let mut seen = BTreeSet::new();
    for kind in all.all() {
        let kind = kind.group_kind();
        let names = cluster.client.names(kind).await?;
        if names.scope != Scope::Namespaced || !seen.insert(kind) {
            continue;
        }
        match cluster.client.list(kind, Some(namespace), &ListOptions::default()).await {
            Ok((found, _)) => objects.extend(found),
            // Some kinds are only ever asked.
            Err(error) if matches!(error.code(), Some(404 | 405)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let addresses = if args.addresses { Addresses::Kept } else { Addresses::Left };
    let exported = portable::exported(&objects, addresses)?;
    let of_file = |object: &&Object| {
        let is_it =
            |one: &Value| one["kind"] == "PersistentVolumeClaim" && one["metadata"]["name"] == object.key().name();
        object.key().kind() == kinds::PERSISTENT_VOLUME_CLAIM && exported.iter().any(is_it)
    };
    if let Some(folder) = &args.volumes {
        let claims: Vec<&Object> = objects.iter().filter(of_file).collect();
        volumes::save(&cluster.client, &claims, folder).await?;
    }
    println!("# namespace {namespace}: {} objects", exported.len());
    for object in &exported {
        print!("---\n{}", serde_saphyr::to_string(object)?);
    }
    let secrets = exported.iter().filter(|object| object["kind"] == "Secret").count();
    if secrets > 0 {
        say(&format!(
            "warning: the {secrets} secrets are in it as anybody can read them; keep the file as you would keep them"
        ));
    }
    if args.volumes.is_none() && exported.iter().any(|object| object["kind"] == "PersistentVolumeClaim") {
        say("warning: of claims only what they ask for is in it, not what is in their volumes (--volumes DIR)");
    }
    Ok(())
}

pub(crate) async fn import(args: Import) -> anyhow::Result<()> {
    let cluster = access::cluster(&args.access)?;
    let client = &cluster.client;
    let found = manifests::read(std::slice::from_ref(&args.file))?;
    let namespace = match &args.access.namespace {
        Some(namespace) => namespace.clone(),
        None => only_namespace(&found)?,
    };
    let mut wanted = look(client, found.into_iter().map(|manifest| manifest.object), &namespace).await?;
    let packed = match &args.volumes {
        Some(folder) => volumes::look(folder, &wanted)?,
        None => BTreeMap::new(),
    };
    if args.volumes_only {
        return volumes::fill(client, &packed).await;
    }
    for one in &mut wanted {
        if let Some(packed) = packed.get(&one.key) {
            packed.name_in(&mut one.object);
        }
    }
    let taken = taken(client, &wanted).await?;
    if !taken.is_empty() {
        bail!("namespace {namespace} has some of it already, and nothing was changed: {}", taken.join(", "));
    }
    let home = kinds::NAMESPACE.cluster_key(&namespace);
    let is_new = match client.get(&home).await {
        Ok(_) => false,
        Err(error) if error.is_not_found() => true,
        Err(error) => return Err(error.into()),
    };
    if args.dry_run {
        if !is_new {
            judged(client, &wanted).await?;
        }
        for one in &wanted {
            let filled = packed.get(&one.key).map(|packed| format!(", and filled from {}", packed.file().display()));
            println!("{} would be created{}", what::told(one.names, one.key.name()), filled.unwrap_or_default());
        }
        return Ok(());
    }
    if is_new {
        let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        client.create(&Object::from_tree(kinds::NAMESPACE, made)?).await?;
        furnished(client, &namespace).await?;
    }
    if let Err(refused) = judged(client, &wanted).await {
        if is_new {
            client.delete(&home, &DeleteOptions::default()).await?;
        }
        return Err(refused.context("nothing was changed"));
    }
    if is_new {
        println!("namespace/{namespace} created");
    }
    write(client, &wanted).await?;
    volumes::fill(client, &packed).await
}

/// The server says of each what it would say: nothing is written before all of them would be taken.
async fn judged(client: &Client, wanted: &[Wanted]) -> anyhow::Result<()> {
    for one in wanted {
        create(client, one, one.object.clone(), "?dryRun=All").await?;
    }
    Ok(())
}

/// Waits until a new namespace has the account that its pods are of.
async fn furnished(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let account = kinds::SERVICE_ACCOUNT.key(namespace, "default");
    let waiting = async {
        while let Err(error) = client.get(&account).await {
            if !error.is_not_found() {
                return Err(error);
            }
            tokio::time::sleep(FURNISHED_PAUSE).await;
        }
        Ok(())
    };
    let waited = tokio::time::timeout(FURNISHED_PATIENCE, waiting).await;
    waited.with_context(|| format!("namespace {namespace} was created, but is not given its account"))??;
    Ok(())
}

/// The namespace that all objects of a file are of.
fn only_namespace(manifests: &[manifests::Manifest]) -> anyhow::Result<String> {
    let named = manifests.iter().filter_map(|manifest| manifest.object["metadata"]["namespace"].as_str());
    let named: BTreeSet<&str> = named.collect();
    match named.into_iter().collect::<Vec<_>>()[..] {
        [one] => Ok(one.to_owned()),
        [] => bail!("the file names no namespace; say which with -n"),
        _ => bail!("the file is of several namespaces; say with -n which one all of it goes to"),
    }
}

/// What is to be written, in order; an object that nobody here knows, or that is of no namespace, is refused.
async fn look(client: &Client, objects: impl Iterator<Item = Value>, namespace: &str) -> anyhow::Result<Vec<Wanted>> {
    let mut wanted = Vec::new();
    for mut object in objects {
        object["metadata"]["namespace"] = namespace.into();
        let key = verbs::manifest_key(client, &object, namespace).await?;
        let names = client.names(key.kind()).await?;
        if names.scope != Scope::Namespaced {
            bail!("{} belongs to no namespace", what::told(names, key.name()));
        }
        let mut owners = Vec::new();
        if let Some(annotations) = object["metadata"].get_mut("annotations").and_then(Value::as_object_mut)
            && let Some(text) = annotations.remove(OWNERS)
        {
            let text = text.as_str().unwrap_or_default();
            owners = serde_json::from_str(text).with_context(|| format!("{key}: metadata.annotations[{OWNERS}]"))?;
        }
        wanted.push(Wanted { key, names, object, owners });
    }
    let rank = |kind: GroupKind| {
        let last = if kind == kinds::POD { FIRST.len() + 1 } else { FIRST.len() };
        FIRST.iter().position(|first| *first == kind).unwrap_or(last)
    };
    wanted.sort_by_key(|one| rank(one.key.kind()));
    Ok(wanted)
}

/// What is there already.
async fn taken(client: &Client, wanted: &[Wanted]) -> anyhow::Result<Vec<String>> {
    let mut taken = Vec::new();
    for one in wanted {
        match client.get(&one.key).await {
            Ok(_) => taken.push(what::told(one.names, one.key.name())),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(taken)
}

/// Creates all, owners before what they own.
async fn write(client: &Client, wanted: &[Wanted]) -> anyhow::Result<()> {
    let mut uids: BTreeMap<Key, String> = BTreeMap::new();
    let mut left: Vec<&Wanted> = wanted.iter().collect();
    while !left.is_empty() {
        let owners_of = |one: &Wanted| -> Vec<Key> { one.owners.iter().map(|owner| owner_key(one, owner)).collect() };
        let is_due = |one: &Wanted| owners_of(one).iter().all(|owner| uids.contains_key(owner));
        let (due, later): (Vec<&Wanted>, Vec<&Wanted>) = left.iter().partition(|one| is_due(one));
        if due.is_empty() {
            let names: Vec<String> = later.iter().map(|one| what::told(one.names, one.key.name())).collect();
            bail!("who owns them is not in the file, or they own each other: {}", names.join(", "));
        }
        for one in due {
            let mut object = one.object.clone();
            let owners = one.owners.iter().map(|owner| {
                let mut owner = owner.clone();
                owner["uid"] = uids[&owner_key(one, &owner)].as_str().into();
                owner
            });
            let owners: Vec<Value> = owners.collect();
            if !owners.is_empty() {
                object["metadata"]["ownerReferences"] = owners.into();
            }
            let made = create(client, one, object, "").await?;
            uids.insert(one.key.clone(), made.meta().uid.to_string());
            println!("{} created", what::told(one.names, one.key.name()));
        }
        left = later;
    }
    Ok(())
}

fn owner_key(of: &Wanted, owner: &Value) -> Key {
    let text = |name: &str| owner[name].as_str().unwrap_or_default();
    let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
    of.key.sibling(GroupKind::interned(group, text("kind")), text("name"))
}

async fn create(client: &Client, one: &Wanted, object: Value, query: &str) -> anyhow::Result<Object> {
    let told = || format!("cannot create {}", what::told(one.names, one.key.name()));
    let path = format!("{}{query}", client::collection_path(one.names, Some(one.key.namespace()), &[]));
    let made =
        client.send(Method::POST, &path, Some("application/json"), object.to_string()).await.with_context(told)?;
    Object::parse(one.key.kind(), made).with_context(told)
}
