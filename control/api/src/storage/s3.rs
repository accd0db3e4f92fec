//! Volumes that are the objects below a prefix of an S3-compatible store: how manifests say where they are, and who may get in.
//!
//! A class of storage says it by its `parameters`, a volume by the `volumeAttributes` of its `csi` source, both in the same words.
//! Who may get in is in a secret, named by the parameters and the reference that every CSI driver has for it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{CSIPersistentVolumeSource, Secret, SecretReference};

/// Who makes such volumes; also the driver that they name, and the finalizer that holds one until its objects are seen to.
pub const S3: &str = "coracle.dev/s3";

/// Where a volume's objects are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The server, as a URL; none is Amazon's own of the region.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// The bucket, which has to be there.
    pub bucket: String,
    /// What the keys of all objects begin with, without slashes at its ends; empty is the whole bucket.
    pub prefix: String,
}

/// Who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The key by name.
    pub access_key_id: String,
    /// The key itself.
    pub secret_access_key: String,
    /// What keys that are lent for a while come with.
    pub session_token: Option<String>,
    /// Certificates (PEM) of the authority that the server's is from, beside those that the machine trusts.
    pub authority: Option<Vec<u8>>,
}

const ENDPOINT: &str = "endpoint";
const REGION: &str = "region";
const BUCKET: &str = "bucket";
const PREFIX: &str = "prefix";
const WORDS: [&str; 4] = [ENDPOINT, REGION, BUCKET, PREFIX];
/// As every client of such a store has it.
const REGION_DEFAULT: &str = "us-east-1";

/// The parameters of a class that say which secret lets nodes in.
const SECRET_NAME: &str = "csi.storage.k8s.io/node-stage-secret-name";
const SECRET_NAMESPACE: &str = "csi.storage.k8s.io/node-stage-secret-namespace";

/// The words for a key and its parts in a secret; the second are the names that Amazon's own clients read.
const ACCESS_KEY: [&str; 2] = ["accessKeyID", "AWS_ACCESS_KEY_ID"];
const SECRET_KEY: [&str; 2] = ["secretAccessKey", "AWS_SECRET_ACCESS_KEY"];
const TOKEN: [&str; 2] = ["sessionToken", "AWS_SESSION_TOKEN"];
const AUTHORITY: &str = "ca.crt";

// === impl Location ===

impl Location {
    /// Where a volume says that its objects are.
    pub fn of(source: &CSIPersistentVolumeSource) -> Result<Self, String> {
        let none = BTreeMap::new();
        Self::read(source.volume_attributes.as_ref().unwrap_or(&none))
    }

    fn read(words: &BTreeMap<String, String>) -> Result<Self, String> {
        let word = |name: &str| words.get(name).map(|word| word.trim()).filter(|word| !word.is_empty());
        let Some(bucket) = word(BUCKET) else { return Err(format!("{BUCKET}: Required value")) };
        let endpoint = word(ENDPOINT);
        if let Some(endpoint) = endpoint.filter(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
            return Err(format!("{ENDPOINT}: Invalid value: \"{endpoint}\": has to begin with https:// or http://"));
        }
        let prefix = word(PREFIX).unwrap_or_default().trim_matches('/');
        if prefix.split('/').any(|part| matches!(part, "." | "..")) || prefix.contains("//") {
            return Err(format!("{PREFIX}: Invalid value: \"{prefix}\": has to be names, joined by single slashes"));
        }
        Ok(Self {
            endpoint: endpoint.map(|url| url.trim_end_matches('/').to_owned()),
            region: word(REGION).unwrap_or(REGION_DEFAULT).to_owned(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

/// What a class makes its volume of this name from, for a claim: a folder of its own below the prefix of the class.
pub fn source(
    parameters: &BTreeMap<String, String>,
    volume: &str,
    namespace: &str,
    claim: &str,
) -> Result<CSIPersistentVolumeSource, String> {
    let is_known = |name: &str| WORDS.contains(&name) || [SECRET_NAME, SECRET_NAMESPACE].contains(&name);
    if let Some(unknown) = parameters.keys().find(|name| !is_known(name)) {
        return Err(format!("parameters[{unknown}]: not a parameter of {S3}"));
    }
    let place = Location::read(parameters).map_err(|why| format!("parameters.{why}"))?;
    let prefix = if place.prefix.is_empty() { volume.to_owned() } else { format!("{}/{volume}", place.prefix) };
    let words = [(REGION, Some(place.region)), (BUCKET, Some(place.bucket)), (ENDPOINT, place.endpoint)];
    let words = words.into_iter().chain([(PREFIX, Some(prefix))]);
    let filled = |name: &str| {
        let template = parameters.get(name).map(String::as_str).unwrap_or_default();
        let filled = template.replace("${pv.name}", volume).replace("${pvc.namespace}", namespace);
        filled.replace("${pvc.name}", claim)
    };
    let secret = match (filled(SECRET_NAME), filled(SECRET_NAMESPACE)) {
        (name, namespace) if name.is_empty() && namespace.is_empty() => None,
        (name, _) if name.is_empty() => return Err(format!("parameters[{SECRET_NAME}]: Required value")),
        (_, namespace) if namespace.is_empty() => {
            return Err(format!("parameters[{SECRET_NAMESPACE}]: Required value"));
        }
        (name, namespace) => Some(SecretReference { name: Some(name), namespace: Some(namespace) }),
    };
    Ok(CSIPersistentVolumeSource {
        driver: S3.into(),
        volume_handle: volume.into(),
        volume_attributes: Some(words.filter_map(|(name, word)| Some((name.to_owned(), word?))).collect()),
        node_stage_secret_ref: secret,
        ..CSIPersistentVolumeSource::default()
    })
}

// === impl Credentials ===

impl Credentials {
    /// What a secret holds.
    pub fn of(secret: &Secret) -> Result<Self, String> {
        let text = |names: [&str; 2]| {
            let data = secret.data.as_ref()?;
            let found = names.iter().find_map(|name| data.get(*name))?;
            Some(String::from_utf8_lossy(&found.0).trim().to_owned()).filter(|text| !text.is_empty())
        };
        let needed = |names: [&str; 2]| {
            let name = secret.metadata.name.as_deref().unwrap_or_default();
            text(names).ok_or_else(|| format!("secret \"{name}\" has no {} (or {})", names[0], names[1]))
        };
        Ok(Self {
            access_key_id: needed(ACCESS_KEY)?,
            secret_access_key: needed(SECRET_KEY)?,
            session_token: text(TOKEN),
            authority: secret.data.as_ref().and_then(|data| data.get(AUTHORITY)).map(|found| found.0.clone()),
        })
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.access_key_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of the parameters of a class, `name=value` in words, for the volume `v` of the claim `shop/data`.
    fn check(parameters: &str, expect: &str) {
        let pairs = parameters.split_whitespace().filter_map(|pair| pair.split_once('='));
        let parameters = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let told = source(&parameters, "v", "shop", "data").map(|source| {
            let place = Location::of(&source).expect("a place");
            let secret =
                source.node_stage_secret_ref.map(|it| format!(" by {}/{}", it.namespace.unwrap(), it.name.unwrap()));
            let endpoint = place.endpoint.unwrap_or_else(|| "amazon".into());
            format!("{endpoint} {} {}/{}{}", place.region, place.bucket, place.prefix, secret.unwrap_or_default())
        });
        assert_eq!(told.unwrap_or_else(|why| why), expect);
    }

    #[test]
    fn a_class_says_where_its_volumes_are() {
        check("bucket=b", "amazon us-east-1 b/v");
        check("bucket=b prefix=/apps/ region=eu endpoint=http://s:9/", "http://s:9 eu b/apps/v");
        check("prefix=a", "parameters.bucket: Required value");
        check(
            "bucket=b endpoint=s:9",
            "parameters.endpoint: Invalid value: \"s:9\": has to begin with https:// or http://",
        );
        let path = "parameters.prefix: Invalid value: \"a/../b\": has to be names, joined by single slashes";
        check("bucket=b prefix=a/../b", path);
        check("bucket=b bucketName=c", "parameters[bucketName]: not a parameter of coracle.dev/s3");
    }

    #[test]
    fn a_class_says_which_secret_lets_in() {
        let both = format!("bucket=b {SECRET_NAME}=${{pvc.name}}-key {SECRET_NAMESPACE}=${{pvc.namespace}}");
        check(&both, "amazon us-east-1 b/v by shop/data-key");
        check(
            &format!("bucket=b {SECRET_NAME}=key"),
            "parameters[csi.storage.k8s.io/node-stage-secret-namespace]: Required value",
        );
    }

    #[test]
    fn a_secret_holds_a_key_by_one_of_two_names() {
        let check = |data: serde_json::Value, expect: &str| {
            let secret = serde_json::json!({"metadata": {"name": "key"}, "data": data});
            let secret: Secret = serde_json::from_value(secret).expect("a secret");
            let told = Credentials::of(&secret).map(|it| format!("{it:?} {}", it.secret_access_key));
            assert_eq!(told.unwrap_or_else(|why| why), expect);
        };
        check(serde_json::json!({"accessKeyID": "bWU=", "secretAccessKey": "c2VjcmV0Cg=="}), "Credentials(me) secret");
        check(
            serde_json::json!({"AWS_ACCESS_KEY_ID": "bWU=", "AWS_SECRET_ACCESS_KEY": "c2VjcmV0"}),
            "Credentials(me) secret",
        );
        let none = "secret \"key\" has no secretAccessKey (or AWS_SECRET_ACCESS_KEY)";
        check(serde_json::json!({"accessKeyID": "bWU="}), none);
    }
}
