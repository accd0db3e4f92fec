//! What new objects cost their namespace's quotas.
//!
//! One transaction creates the objects and says what they have used up, guarded by the quotas' revisions: whoever shares them
//! and is slower looks again. Pods, claims, jobs and ReplicaSets are made on a tab; what the cluster writes for itself, such as
//! accounts and endpoints, is never refused, and counted once it is there.

use api::quantity::Quantity;
use api::{Key, Object, catalog, kinds, quota};
use k8s_openapi::api::core::v1::ResourceQuota;
use state::{Event, Snapshot, Txn};

use crate::Look;

/// The quotas of a namespace, as they were read and as they are once everything on the tab is there.
#[derive(Clone)]
pub(crate) struct Tab<'a> {
    pub(crate) view: &'a Snapshot,
    pub(crate) look: Look<'a>,
    quotas: Vec<(Object, Object)>,
}

// === impl Tab ===

impl<'a> Tab<'a> {
    /// An empty one for the namespace of `key`.
    pub(crate) fn open(key: &Key, view: &'a Snapshot, look: Look<'a>) -> Self {
        let quotas = view.list_in(kinds::RESOURCE_QUOTA, key.namespace()).map(|quota| (quota.clone(), quota.clone()));
        Self { view, look, quotas: quotas.collect() }
    }

    /// Puts an object on it; or the refusal in words, and nothing is charged.
    pub(crate) fn charge(&mut self, object: &Object) -> Result<(), String> {
        if self.quotas.is_empty() {
            return Ok(());
        }
        let Some(kind) = catalog::by_kind(object.key().kind()) else { return Ok(()) };
        let quotas = self.quotas.iter().map(|(_, charged)| charged);
        let charged = quota::charge(quotas, kind.names(), None, object, self.look.now);
        let charged = charged.map_err(|refusal| refusal.message)?;
        let charged: Vec<Object> = charged.into_iter().map(|(_, charged)| charged).collect();
        for quota in charged {
            if let Some((_, known)) = self.quotas.iter_mut().find(|(read, _)| read.key() == quota.key()) {
                *known = quota;
            }
        }
        Ok(())
    }

    /// Charges everything that is on it.
    pub(crate) fn settle(self) -> Txn {
        let changed = self.quotas.into_iter().filter(|(read, charged)| read.body() != charged.body());
        changed.fold(Txn::default(), |txn, (read, charged)| txn.and(Txn::replace(&read, charged)))
    }
}

/// Whether a quota may now let through what it refused before.
pub(crate) fn has_more_room(event: &Event) -> bool {
    let (Some(before), Some(after)) = (event.before(), event.after()) else { return true };
    let read = |object: &Object| object.decode::<ResourceQuota>().ok().and_then(|quota| quota.status.clone());
    let (Some(before), Some(after)) = (read(before), read(after)) else { return true };
    let less_used = before.used.iter().flatten().any(|(name, amount)| {
        let now = after.used.as_ref().and_then(|used| used.get(name));
        now.is_none_or(|now| Quantity::of(now) < Quantity::of(amount))
    });
    less_used || before.hard != after.hard
}

#[cfg(test)]
mod tests {
    use api::Revision;
    use serde_json::json;

    use super::*;
    use crate::Controller;
    use crate::notation::{noon, object};
    use crate::replica_set::ReplicaSets;

    fn world() -> Snapshot {
        let hard = json!({"pods": "3"});
        let status = json!({"hard": hard, "used": {"pods": "0"}});
        let quota = object(kinds::RESOURCE_QUOTA, "default/team", json!({"spec": {"hard": hard}, "status": status}));
        let set = |name: &str| {
            let labels = json!({"app": name});
            let template =
                json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "a:v1"}]}});
            let spec = json!({"replicas": 2, "selector": {"matchLabels": labels}, "template": template});
            object(kinds::REPLICA_SET, &format!("default/{name}"), json!({"apiVersion": "apps/v1", "spec": spec}))
        };
        let home = object(kinds::NAMESPACE, "default", json!({}));
        let account = object(kinds::SERVICE_ACCOUNT, "default/default", json!({}));
        Snapshot::load(Revision(1), [quota, set("a"), set("b"), home, account].map(|it| it.at(Revision(1))))
    }

    fn look(view: &Snapshot, set: &str, seed: u64) -> Vec<Txn> {
        ReplicaSets.reconcile(&kinds::REPLICA_SET.key("default", set), view, Look::new(noon(), seed)).txns
    }

    /// What the quota says is used, and how many pods there are.
    fn counted(view: &Snapshot) -> (String, usize) {
        let quota = view.get(&kinds::RESOURCE_QUOTA.key("default", "team")).expect("a quota").to_value().expect("JSON");
        (quota["status"]["used"]["pods"].as_str().unwrap_or_default().to_owned(), view.count(kinds::POD))
    }

    #[test]
    fn of_two_who_share_the_last_room_one_looks_again_and_is_refused() {
        let view = world();
        let (first, second) = (look(&view, "a", 1), look(&view, "b", 2));
        let (view, _) = view.apply(&first[0]).expect("every guard holds");
        assert_eq!(counted(&view), ("2".into(), 2));
        view.apply(&second[0]).expect_err("the quota has changed");
        let (view, _) = view.apply(&look(&view, "b", 3)[0]).expect("every guard holds");
        assert_eq!(counted(&view), ("3".into(), 3));
        let told = view.list(kinds::EVENT).map(|event| event.to_value().expect("JSON")["message"].clone());
        let told: Vec<String> = told.filter_map(|message| Some(message.as_str()?.to_owned())).collect();
        let refused = "Error creating: pods \"b-\" is forbidden: exceeded quota: team, requested: pods=1, used: pods=3, limited: pods=3";
        assert!(told.iter().any(|message| message == refused), "{told:?}");
        assert_eq!(look(&view, "b", 4), [], "it is told once");
    }
}
