//! Bootstrap tokens: `ID.SECRET`, kept as secrets of the namespace `kube-system`, with which machines ask to become nodes.
//!
//! Beside what Kubernetes has them say, one may say how many uses are left, and who had those that are not; one that does not is good
//! for any number of them until it ends.

use std::collections::BTreeMap;

use api::{Key, Object, Reason, StatusError, kinds};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use state::{Snapshot, Txn};

use super::Invalid;
use crate::identity::{BOOTSTRAP_SERVERS, BOOTSTRAP_USER, BOOTSTRAPPERS, Identity, SPENT, unauthorized};
use crate::join::same;

#[derive(Deserialize)]
struct Secret {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

/// Where they are kept.
const NAMESPACE: &str = "kube-system";
/// What the name of a token's secret begins with; its id follows.
const PREFIX: &str = "bootstrap-token-";
/// The type of such a secret.
const TYPE: &str = "bootstrap.kubernetes.io/token";
const ID_CHARS: usize = 6;
const SECRET_CHARS: usize = 16;
/// As Kubernetes has it: so long may be what follows the prefix of a group.
const GROUP_CHARS_MAX: usize = 256;

/// How many uses are left of a token that counts them.
const USES_LEFT: &str = "coracle-uses-left";
/// The machines that had the others, a comma between two of them.
const USED_BY: &str = "coracle-used-by";

/// What showing a token comes to.
#[derive(Debug)]
pub(crate) enum Use {
    /// The machine has had one already.
    Again,
    /// It does not count.
    Free,
    /// One less is left when this has happened.
    Counted(Txn),
}

/// The id and the secret of something that looks like a bootstrap token.
pub(super) fn parts(token: &str) -> Option<(&str, &str)> {
    let is_word = |word: &str, chars| {
        word.len() == chars && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    token.split_once('.').filter(|(id, secret)| is_word(id, ID_CHARS) && is_word(secret, SECRET_CHARS))
}

/// Whoever shows this token.
pub(super) fn holder(id: &str, shown: &str, world: &Snapshot, now: Timestamp) -> Result<Identity, Invalid> {
    let secret = world.get(&key(id)).and_then(Secret::read);
    let secret = secret.ok_or(Invalid::Unknown)?;
    let says = |name: &str| secret.says(name).unwrap_or_default();
    let is_meant = says("token-id") == id && says("usage-bootstrap-authentication") == "true";
    if !same(shown, &says("token-secret")) || !is_meant {
        return Err(Invalid::Unknown);
    }
    match secret.says("expiration").map(|at| at.parse::<Timestamp>()) {
        None => {}
        Some(Ok(until)) if now < until => {}
        Some(_) => return Err(Invalid::Unknown),
    }
    let extra = says("auth-extra-groups");
    let extra: Vec<&str> = extra.split(',').filter(|group| !group.is_empty()).collect();
    if !extra.iter().all(|group| is_group(group)) {
        return Err(Invalid::Unknown);
    }
    let left = secret.says(USES_LEFT).map(|left| left.parse::<u32>());
    let groups: Vec<&str> = match left {
        None => std::iter::once(BOOTSTRAPPERS).chain(extra).collect(),
        Some(Ok(0)) => {
            std::iter::once(SPENT).chain(extra.into_iter().filter(|group| *group == BOOTSTRAP_SERVERS)).collect()
        }
        Some(Ok(_)) => std::iter::once(BOOTSTRAPPERS).chain(extra).collect(),
        Some(Err(_)) => return Err(Invalid::Unknown),
    };
    let groups = groups.into_iter().map(String::from);
    Ok(Identity::known(format!("{BOOTSTRAP_USER}{id}"), groups))
}

/// What it comes to when a machine uses the token of somebody who has shown one.
pub(crate) fn redeem(holder: &Identity, machine: &str, world: &Snapshot) -> Result<Use, StatusError> {
    let id = holder.user.strip_prefix(BOOTSTRAP_USER).ok_or_else(unauthorized)?;
    let object = world.get(&key(id)).ok_or_else(unauthorized)?;
    let secret = Secret::read(object).ok_or_else(unauthorized)?;
    let Some(left) = secret.says(USES_LEFT) else { return Ok(Use::Free) };
    let used = secret.says(USED_BY).unwrap_or_default();
    if used.split(',').any(|before| before == machine) {
        return Ok(Use::Again);
    }
    let Some(left) = left.parse::<u32>().ok().and_then(|left| left.checked_sub(1)) else {
        return Err(StatusError::new(
            Reason::Unauthorized,
            "the token has been used as often as it may be; `coracle token` makes another",
        ));
    };
    let used = if used.is_empty() { machine.to_owned() } else { format!("{used},{machine}") };
    let mut value: Value = serde_json::from_slice(object.body()).map_err(|_| unauthorized())?;
    value["data"][USES_LEFT] = BASE64.encode(left.to_string()).into();
    value["data"][USED_BY] = BASE64.encode(used).into();
    let fresh = Object::from_value(kinds::SECRET, &value).map_err(|_| unauthorized())?;
    Ok(Use::Counted(Txn::replace(object, fresh)))
}

fn key(id: &str) -> Key {
    kinds::SECRET.key(NAMESPACE, &format!("{PREFIX}{id}"))
}

/// Groups that a token may put its holder in: only such as cannot mean anything else.
fn is_group(name: &str) -> bool {
    let Some(name) = name.strip_prefix(BOOTSTRAPPERS).and_then(|name| name.strip_prefix(':')) else { return false };
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= GROUP_CHARS_MAX
        && name.bytes().all(|byte| is_plain(byte) || matches!(byte, b':' | b'-'))
        && name.bytes().last().is_some_and(is_plain)
}

// === impl Secret ===

impl Secret {
    /// A token's secret that stays.
    fn read(object: &Object) -> Option<Self> {
        let secret: Self = serde_json::from_slice(object.body()).ok()?;
        (!object.meta().is_terminating() && secret.kind == TYPE).then_some(secret)
    }

    fn says(&self, name: &str) -> Option<String> {
        String::from_utf8(BASE64.decode(self.data.get(name)?).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Revision;
    use serde_json::{Map, json};

    const TOKEN: &str = "abcdef.0123456789abcdef";

    fn world(changes: &[(&str, &str)]) -> Snapshot {
        let mut data: BTreeMap<&str, &str> = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("expiration", "2026-11-21T12:00:00Z"),
        ]
        .into();
        data.extend(changes.iter().copied());
        let data: Map<_, _> =
            data.iter().map(|(key, value)| ((*key).to_owned(), BASE64.encode(value).into())).collect();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": TYPE, "data": data,
            "metadata": {"name": "bootstrap-token-abcdef", "namespace": NAMESPACE},
        });
        Snapshot::load(Revision(1), [Object::from_value(kinds::SECRET, &secret).expect("an object")])
    }

    fn check(changes: &[(&str, &str)], token: &str, expect: Option<&[&str]>) {
        let world = world(changes);
        let now = "2026-11-21T11:00:00Z".parse().expect("a time");
        let found = parts(token).and_then(|(id, secret)| holder(id, secret, &world, now).ok());
        assert_eq!(found.map(|one| one.groups), expect.map(|groups| groups.iter().map(ToString::to_string).collect()));
    }

    #[test]
    fn a_token_is_what_its_secret_says() {
        let plain = ["system:bootstrappers", "system:authenticated"];
        check(&[], TOKEN, Some(&plain));
        check(&[], "abcdef.0123456789abcdeg", None);
        check(&[], "abcdeg.0123456789abcdef", None);
        check(&[], "abcdef.0123456789ABCDEF", None);
        check(&[("token-id", "other1")], TOKEN, None);
        check(&[("usage-bootstrap-authentication", "false")], TOKEN, None);
        check(&[("expiration", "2026-11-21T11:00:00Z")], TOKEN, None);
        check(&[("expiration", "tomorrow")], TOKEN, None);
    }

    #[test]
    fn it_puts_its_holder_only_in_groups_of_bootstrappers() {
        let more = ["system:bootstrappers", "system:bootstrappers:kubeadm:default", "system:authenticated"];
        check(&[("auth-extra-groups", "system:bootstrappers:kubeadm:default")], TOKEN, Some(&more));
        check(&[("auth-extra-groups", "system:masters")], TOKEN, None);
        check(&[("auth-extra-groups", "system:bootstrappers:-")], TOKEN, None);
        check(&[("auth-extra-groups", "system:bootstrappers:")], TOKEN, None);
    }

    /// What comes of the machines that use a token one after the other.
    fn uses(left: Option<&str>, machines: &[&str], expect: &[&str]) {
        let changes: Vec<(&str, &str)> = left.map(|left| (USES_LEFT, left)).into_iter().collect();
        let mut world = world(&changes);
        let now = "2026-11-21T11:00:00Z".parse().expect("a time");
        let found = machines.iter().map(|machine| {
            let (id, secret) = parts(TOKEN).expect("a token");
            let Ok(holder) = holder(id, secret, &world, now) else { return "unknown" };
            match redeem(&holder, machine, &world) {
                Ok(Use::Again) => "again",
                Ok(Use::Free) => "free",
                Ok(Use::Counted(txn)) => {
                    world = world.apply(&txn).expect("it happens").0;
                    if holder.is_in(SPENT) { "spent" } else { "one" }
                }
                Err(_) => "refused",
            }
        });
        assert_eq!(found.collect::<Vec<_>>(), expect, "{left:?} {machines:?}");
    }

    #[test]
    fn uses_are_counted_by_machine() {
        uses(None, &["a", "b"], &["free", "free"]);
        uses(Some("1"), &["a", "b", "a"], &["one", "refused", "again"]);
        uses(Some("2"), &["a", "a", "b", "c"], &["one", "again", "one", "refused"]);
        uses(Some("0"), &["a"], &["refused"]);
        uses(Some("some"), &["a"], &["unknown"]);
    }

    #[test]
    fn a_spent_token_gives_no_rights() {
        let servers = ("auth-extra-groups", "system:bootstrappers:coracle:servers,system:bootstrappers:kubeadm");
        let spent = [SPENT, BOOTSTRAP_SERVERS, "system:authenticated"];
        check(&[servers, (USES_LEFT, "0")], TOKEN, Some(&spent));
        check(&[(USES_LEFT, "0")], TOKEN, Some(&[SPENT, "system:authenticated"]));
    }
}
