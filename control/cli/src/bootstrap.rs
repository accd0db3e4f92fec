//! Bootstrap tokens: with one, a machine joins until it ends or has been used; they are secrets of the namespace `kube-system`.
//!
//! What a machine is given is the fingerprint of the cluster's authority and the token, so that each knows the other.

use anyhow::{Context, bail};
use api::{Object, kinds};
use client::{Client, DeleteOptions, ListOptions};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use crate::args::{CreateToken, TokenCommand, TokenRole};
use crate::{access, durations, get};

const NAMESPACE: &str = "kube-system";
const PREFIX: &str = "bootstrap-token-";
const TYPE: &str = "bootstrap.kubernetes.io/token";
/// As the API server counts them.
const USES_LEFT: &str = "coracle-uses-left";
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const ID_CHARS: usize = 6;
const SECRET_CHARS: usize = 16;

pub(crate) async fn run(command: TokenCommand, now: Timestamp) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create(args) => create(&args, now).await,
        TokenCommand::List(args) => list(&access::cluster(&args)?.client).await,
        TokenCommand::Delete(args) => {
            let client = access::cluster(&args.access)?.client;
            for token in &args.tokens {
                let id = id_of(token);
                let key = kinds::SECRET.key(NAMESPACE, &format!("{PREFIX}{id}"));
                client.delete(&key, &DeleteOptions::default()).await?;
                println!("bootstrap token \"{id}\" deleted");
            }
            Ok(())
        }
    }
}

async fn create(args: &CreateToken, now: Timestamp) -> anyhow::Result<()> {
    let client = access::cluster(&args.access)?.client;
    let life = durations::parse(&args.ttl)?;
    let (id, secret) = (letters(ID_CHARS), letters(SECRET_CHARS));
    let mut data = vec![
        ("token-id", id.clone()),
        ("token-secret", secret.clone()),
        ("usage-bootstrap-authentication", "true".to_owned()),
        ("usage-bootstrap-signing", "true".to_owned()),
    ];
    if args.uses > 0 {
        data.push((USES_LEFT, args.uses.to_string()));
    }
    if !life.is_zero() {
        let until = now.checked_add(SignedDuration::try_from(life)?).context("the token would end after all time")?;
        data.push(("expiration", until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
    }
    if let Some(description) = &args.description {
        data.push(("description", description.clone()));
    }
    let of_role = (args.role == TokenRole::Server).then(|| apiserver::BOOTSTRAP_SERVERS.to_owned());
    let groups: Vec<String> = args.groups.iter().cloned().chain(of_role).collect();
    if !groups.is_empty() {
        data.push(("auth-extra-groups", groups.join(",")));
    }
    let token = Secret {
        metadata: ObjectMeta {
            name: Some(format!("{PREFIX}{id}")),
            namespace: Some(NAMESPACE.into()),
            ..ObjectMeta::default()
        },
        data: Some(data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).collect()),
        type_: Some(TYPE.into()),
        ..Secret::default()
    };
    client.create(&Object::from_value(kinds::SECRET, &serde_json::to_value(&token)?)?).await?;
    println!("{}.{id}.{secret}", fingerprint(&client).await?);
    Ok(())
}

async fn list(client: &Client) -> anyhow::Result<()> {
    let options = ListOptions { fields: Some(format!("type={TYPE}")), ..ListOptions::default() };
    let (tokens, _) = client.list(kinds::SECRET, Some(NAMESPACE), &options).await?;
    let mut lines = vec![["ID", "EXPIRES", "USES", "GROUPS", "DESCRIPTION"].map(str::to_owned).to_vec()];
    for token in tokens {
        let secret = token.decode::<Secret>()?;
        let says = |name: &str| {
            let value = secret.data.as_ref().and_then(|data| data.get(name));
            value.map_or_else(|| "<none>".to_owned(), |value| String::from_utf8_lossy(&value.0).into_owned())
        };
        lines.push(["token-id", "expiration", USES_LEFT, "auth-extra-groups", "description"].map(says).to_vec());
    }
    print!("{}", get::aligned(&lines));
    Ok(())
}

/// The id of a token that was printed, with or without what is around it.
fn id_of(token: &str) -> &str {
    let parts: Vec<&str> = token.split('.').collect();
    match parts.as_slice() {
        [_, id, _] | [id, ..] => id,
        [] => token,
    }
}

/// What a machine compares the cluster's authority with.
async fn fingerprint(client: &Client) -> anyhow::Result<String> {
    let published = client.get(&kinds::CONFIG_MAP.key(NAMESPACE, "kube-root-ca.crt")).await?;
    let published = published.decode::<ConfigMap>()?;
    let Some(authority) = published.data.as_ref().and_then(|data| data.get("ca.crt")) else {
        bail!("the cluster does not tell its authority")
    };
    let authority =
        CertificateDer::from_pem_slice(authority.as_bytes()).context("the cluster's authority is not PEM")?;
    Ok(hex::encode(Sha256::digest(authority)))
}

/// Letters that nobody foresees; of no letter there are more than of another but by one in a hundred thousand.
fn letters(count: usize) -> String {
    let draw = || (uuid::Uuid::new_v4().as_u64_pair().1 & 0xffff_ffff) as usize % LETTERS.len();
    (0..count).map(|_| char::from(LETTERS[draw()])).collect()
}
