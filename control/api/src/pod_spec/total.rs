//! What a pod comes to when its containers are added up.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use crate::quantity::Quantity;

/// Amounts by their name.
type Amounts = BTreeMap<String, Quantity>;

/// What containers have of something each, together: they run side by side, with side-cars; the others before them one after the
/// other, beside the side-cars so far.
pub fn total(spec: &PodSpec, amounts: impl Fn(&Container) -> Amounts) -> Amounts {
    let mut lasting = Amounts::new();
    let mut peak = Amounts::new();
    for container in spec.init_containers.iter().flatten() {
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut lasting, amounts(container));
            raise(&mut peak, lasting.clone());
        } else {
            let mut beside = lasting.clone();
            add(&mut beside, amounts(container));
            raise(&mut peak, beside);
        }
    }
    for container in &spec.containers {
        add(&mut lasting, amounts(container));
    }
    raise(&mut lasting, peak);
    let overhead = spec.overhead.iter().flatten().map(|(name, amount)| (name.clone(), Quantity::of(amount)));
    for (name, amount) in overhead {
        if let Some(known) = lasting.get_mut(&name) {
            *known += amount;
        }
    }
    lasting
}

fn add(sum: &mut Amounts, more: Amounts) {
    for (name, amount) in more {
        *sum.entry(name).or_default() += amount;
    }
}

fn raise(most: &mut Amounts, others: Amounts) {
    for (name, amount) in others {
        let known = most.entry(name).or_default();
        *known = (*known).max(amount);
    }
}
