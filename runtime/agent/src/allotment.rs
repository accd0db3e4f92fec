//! What of a node is promised to which pod.
//!
//! Scheduling has counted before, from afar; a node counts once more, because only it sees in which order pods come to it and are
//! resized. It adds up what pods ask for, not what they use, and its answers are in the words of a kubelet. Pure: who asks is told,
//! and who has to wait is remembered until there is room.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use api::pod_spec;
use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;

use crate::desired::Uid;
use crate::eviction::priority;
use crate::machine::Machine;
use crate::pod::{Rejected, Unfit};

/// The node's promises.
#[derive(Debug, Default)]
pub(crate) struct Allotments {
    /// What cannot be told has no end.
    capacity: [Option<Quantity>; RESOURCES.len()],
    promised: HashMap<Uid, Asked>,
    /// All that is promised, together.
    total: Asked,
    /// Who waits for room, as they came.
    waiting: Vec<Waiting>,
}

/// A pod that would be resized if there were room.
#[derive(Debug)]
struct Waiting {
    uid: Uid,
    pod: Arc<Pod>,
    asked: Asked,
}

/// What there is of a node, and what each pod asks for.
const RESOURCES: [&str; 4] = ["cpu", "memory", "ephemeral-storage", "pods"];

/// How much of each.
type Asked = [Quantity; RESOURCES.len()];

/// What there is too little of, in the units of a kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Short {
    resource: &'static str,
    requested: i64,
    used: i64,
    capacity: i64,
}

/// Guarantees are kept first.
const GUARANTEED: &str = "Guaranteed";

// === impl Allotments ===

impl Allotments {
    /// Nothing of the machine is promised.
    pub(crate) fn new(machine: &Machine) -> Self {
        let amounts = machine.quantities();
        let capacity = RESOURCES.map(|name| Some(Quantity::of(&Written(amounts.get(name)?.clone()))));
        Self { capacity, ..Self::default() }
    }

    /// Promises a pod that comes what it asks for; or why it may not come.
    pub(crate) fn admit(&mut self, uid: &Uid, pod: &Pod) -> Result<(), Rejected> {
        let asked = asked_by(pod);
        match self.short(uid, &asked) {
            None => {
                self.promise(uid, asked);
                Ok(())
            }
            Some(short) => Err(short.rejected()),
        }
    }

    /// A pod that is here already has what it asked for.
    pub(crate) fn keep(&mut self, uid: &Uid, pod: &Pod) {
        self.promise(uid, asked_by(pod));
    }

    /// Promises a pod that is here what it asks for now; or why that cannot be, or not yet. Who may have it later waits.
    pub(crate) fn resize(&mut self, uid: &Uid, pod: &Arc<Pod>) -> Result<(), Unfit> {
        self.waiting.retain(|waiting| waiting.uid != *uid);
        let asked = asked_by(pod);
        if let Some(why) = self.infeasible(&asked) {
            return Err(why);
        }
        match self.short(uid, &asked) {
            None => {
                self.promise(uid, asked);
                Ok(())
            }
            Some(short) => {
                self.waiting.push(Waiting { uid: uid.clone(), pod: pod.clone(), asked });
                Err(Unfit { reason: pod_spec::resize::DEFERRED, message: short.words() })
            }
        }
    }

    /// Nothing is promised to a pod any more.
    pub(crate) fn release(&mut self, uid: &Uid) {
        if let Some(had) = self.promised.remove(uid) {
            had.into_iter().zip(&mut self.total).for_each(|(had, total)| *total -= had);
        }
        self.waiting.retain(|waiting| waiting.uid != *uid);
    }

    fn promise(&mut self, uid: &Uid, asked: Asked) {
        let had = self.promised.insert(uid.clone(), asked).unwrap_or_default();
        for ((total, asked), had) in self.total.iter_mut().zip(asked).zip(had) {
            *total += asked - had;
        }
    }

    /// Those who waited and have room now: it is promised to them. Who matters more comes first, then who came first.
    pub(crate) fn grant(&mut self) -> Vec<(Uid, Arc<Pod>)> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        let turn = |waiting: &Waiting| {
            let class = waiting.pod.spec.as_ref().map_or("", pod_spec::quality);
            (Reverse(priority(&waiting.pod)), class != GUARANTEED)
        };
        waiting.sort_by_key(turn);
        let mut granted = Vec::new();
        for one in waiting {
            if self.short(&one.uid, &one.asked).is_none() {
                self.promise(&one.uid, one.asked);
                granted.push((one.uid, one.pod));
            } else {
                self.waiting.push(one);
            }
        }
        granted
    }

    /// What there is too little of for a pod to have more of it than it has. Less of something is always there.
    fn short(&self, uid: &Uid, asked: &Asked) -> Option<Short> {
        let has = self.promised.get(uid).copied().unwrap_or_default();
        (0..RESOURCES.len()).filter(|at| asked[*at] > has[*at]).find_map(|at| {
            let amounts = [asked[at], self.total[at] - has[at], self.capacity[at]?];
            let [requested, used, capacity] = amounts.map(|amount| counted(RESOURCES[at], amount));
            (requested + used > capacity).then_some(Short { resource: RESOURCES[at], requested, used, capacity })
        })
    }

    /// Why the machine could not give it to anybody.
    fn infeasible(&self, asked: &Asked) -> Option<Unfit> {
        RESOURCES.iter().zip(asked).zip(self.capacity).find_map(|((name, asked), capacity)| {
            let (requested, capacity) = (counted(name, *asked), counted(name, capacity?));
            let message =
                format!("Node didn't have enough capacity: {name}, requested: {requested}, capacity: {capacity}");
            (requested > capacity).then_some(Unfit { reason: pod_spec::resize::INFEASIBLE, message })
        })
    }
}

// === impl Short ===

impl Short {
    fn words(self) -> String {
        let Self { resource, requested, used, capacity } = self;
        format!(
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
        )
    }

    fn rejected(self) -> Rejected {
        let reason = match self.resource {
            "cpu" => "OutOfcpu",
            "memory" => "OutOfmemory",
            "pods" => "OutOfpods",
            _ => "OutOfephemeral-storage",
        };
        Rejected { reason, message: format!("Pod was rejected: {}", self.words()) }
    }
}

/// Processors are counted in thousandths, all else in whole units.
fn counted(name: &str, amount: Quantity) -> i64 {
    if name == "cpu" { amount.milli_value() } else { amount.value() }
}

fn asked_by(pod: &Pod) -> Asked {
    let requests = |container: &Container| {
        let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        requests.into_iter().flatten().map(|(name, amount)| (name.clone(), Quantity::of(amount))).collect()
    };
    let asked = pod.spec.as_ref().map(|spec| pod_spec::total(spec, requests)).unwrap_or_default();
    RESOURCES.map(|name| match name {
        "pods" => Quantity::units(1),
        name => asked.get(name).copied().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::shared_pod;

    /// A node of two processors and a gibibyte for three pods.
    fn node() -> Allotments {
        let capacity = [Some(Quantity::units(2)), Some(Quantity::bytes(1 << 30)), None, Some(Quantity::units(3))];
        Allotments { capacity, ..Allotments::default() }
    }

    fn pod(cpu: &str, memory: &str, priority: i32) -> Arc<Pod> {
        shared_pod(&format!(
            r#"{{"priority":{priority},"containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{cpu}","memory":"{memory}"}}}}}}]}}"#
        ))
    }

    fn admitted(node: &mut Allotments, name: &str, cpu: &str, memory: &str, expected: Result<(), &str>) {
        let found = node.admit(&name.into(), &pod(cpu, memory, 0));
        let found = found.map_err(|rejected| format!("{}: {}", rejected.reason, rejected.message));
        assert_eq!(found, expected.map_err(str::to_owned), "{name}");
    }

    fn resized(node: &mut Allotments, name: &str, cpu: &str, memory: &str, expected: Result<(), &str>) {
        let found = node.resize(&name.into(), &pod(cpu, memory, 0));
        let found = found.map_err(|unfit| format!("{}: {}", unfit.reason, unfit.message));
        assert_eq!(found, expected.map_err(str::to_owned), "{name}");
    }

    #[test]
    fn who_comes_to_a_full_node_is_rejected() {
        let mut node = node();
        admitted(&mut node, "a", "1500m", "1Mi", Ok(()));
        let cpu = "OutOfcpu: Pod was rejected: Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000";
        admitted(&mut node, "b", "600m", "1Mi", Err(cpu));
        let memory = "OutOfmemory: Pod was rejected: Node didn't have enough resource: memory, requested: 1073741824, used: 1048576, capacity: 1073741824";
        admitted(&mut node, "b", "500m", "1Gi", Err(memory));
        admitted(&mut node, "b", "0", "0", Ok(()));
        admitted(&mut node, "c", "0", "0", Ok(()));
        let pods =
            "OutOfpods: Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3";
        admitted(&mut node, "d", "0", "0", Err(pods));
        node.release(&"c".into());
        admitted(&mut node, "d", "0", "0", Ok(()));
    }

    #[test]
    fn what_is_too_much_now_is_granted_when_there_is_room() {
        let mut node = node();
        admitted(&mut node, "a", "1", "1Mi", Ok(()));
        admitted(&mut node, "b", "900m", "1Mi", Ok(()));
        let deferred = "Deferred: Node didn't have enough resource: cpu, requested: 1500, used: 900, capacity: 2000";
        resized(&mut node, "a", "1500m", "1Mi", Err(deferred));
        assert_eq!(node.grant().len(), 0);
        let infeasible = "Infeasible: Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000";
        resized(&mut node, "b", "3", "1Mi", Err(infeasible));
        resized(&mut node, "b", "500m", "1Mi", Ok(()));
        let granted = node.grant();
        assert_eq!(granted.iter().map(|(uid, _)| &**uid).collect::<Vec<_>>(), ["a"]);
        let full = "OutOfcpu: Pod was rejected: Node didn't have enough resource: cpu, requested: 1, used: 2000, capacity: 2000";
        admitted(&mut node, "c", "1m", "0", Err(full));
    }

    #[test]
    fn who_matters_more_is_granted_first() {
        let mut node = node();
        for name in ["low", "high"] {
            admitted(&mut node, name, "100m", "0", Ok(()));
        }
        admitted(&mut node, "other", "1800m", "0", Ok(()));
        for (name, priority) in [("low", 0), ("high", 10)] {
            assert!(node.resize(&name.into(), &pod("1500m", "0", priority)).is_err());
        }
        node.release(&"other".into());
        assert_eq!(node.grant().iter().map(|(uid, _)| &**uid).collect::<Vec<_>>(), ["high"]);
        node.release(&"high".into());
        assert_eq!(node.grant().iter().map(|(uid, _)| &**uid).collect::<Vec<_>>(), ["low"]);
    }

    #[test]
    fn whoever_wants_something_else_does_not_wait_any_more() {
        let mut node = node();
        admitted(&mut node, "a", "1", "0", Ok(()));
        admitted(&mut node, "b", "1", "0", Ok(()));
        assert!(node.resize(&"a".into(), &pod("2", "0", 0)).is_err());
        resized(&mut node, "a", "1", "0", Ok(()));
        node.release(&"b".into());
        assert_eq!(node.grant().len(), 0);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Admit(u8, u16),
        Resize(u8, u16),
        Release(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..5_u8, 0..1_500_u16).prop_map(|(uid, cpu)| Step::Admit(uid, cpu)),
            (0..5_u8, 0..2_500_u16).prop_map(|(uid, cpu)| Step::Resize(uid, cpu)),
            (0..5_u8).prop_map(Step::Release),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn no_more_is_promised_than_there_is(steps in steps()) {
            let mut node = node();
            let name = |uid: u8| Uid::from(uid.to_string());
            for step in steps {
                match step {
                    // Who was not taken has nothing to be resized.
                    Step::Resize(uid, _) if !node.promised.contains_key(&name(uid)) => {}
                    Step::Resize(uid, cpu) => drop(node.resize(&name(uid), &pod(&format!("{cpu}m"), "0", 0))),
                    Step::Admit(uid, _) if node.promised.contains_key(&name(uid)) => {}
                    Step::Admit(uid, cpu) => drop(node.admit(&name(uid), &pod(&format!("{cpu}m"), "0", 0))),
                    Step::Release(uid) => node.release(&name(uid)),
                }
                node.grant();
                for (at, capacity) in node.capacity.into_iter().enumerate() {
                    let sum: Quantity = node.promised.values().map(|asked| asked[at]).sum();
                    prop_assert_eq!(sum, node.total[at]);
                    prop_assert!(capacity.is_none_or(|capacity| sum <= capacity));
                }
                prop_assert!(node.waiting.iter().all(|one| node.short(&one.uid, &one.asked).is_some()), "nobody waits for nothing");
            }
        }
    }
}
