//! How many replicas there should be, by what their pods use and are asked: the algorithm of Kubernetes.
//!
//! Each metric proposes a number, the greatest counts; what cannot be known is taken for what changes least. What was proposed
//! lately, and how fast it changed, is kept with the autoscaler itself, so that the next look, here or on another member, goes on
//! where this one ended. Figures are not asked for here: they lie in the world that is looked at, put there for this look.
//!
//! With `minReplicas: 0` nothing is left where nothing is asked. A request that waits for a service of the missing pods then
//! counts as a wish for one of them, and is heeded at once, whatever was proposed lately.

mod aim;
mod demand;
mod history;
mod metrics;
mod pace;
mod readings;
mod target;
#[cfg(test)]
mod tests;
mod told;

use std::sync::Arc;

use api::{Key, Object, kinds, measured};
use jiff::SignedDuration;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec};
use state::{Event, Snapshot, Txn};

use crate::edit::replaced;
use crate::{Controller, Look, Plan};
use history::History;
use target::Target;
use told::Account;

pub(crate) use demand::{decides_who_is_woken, is_woken};

/// The controller of autoscalers.
pub(crate) struct HorizontalPodAutoscalers;

/// How often it is looked at what pods use: as often as Kubernetes does.
const PERIOD: SignedDuration = SignedDuration::from_secs(15);

/// Why somebody comes to where nobody was.
const WAITED_FOR: &str = "requests wait for a pod";

/// How many replicas there shall be, and why.
struct Decided {
    replicas: i32,
    reason: String,
}

// === impl HorizontalPodAutoscalers ===

impl Controller for HorizontalPodAutoscalers {
    fn name(&self) -> &'static str {
        "horizontal-pod-autoscaler"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        let key = event.key();
        match key.kind() {
            // Its status changes with every look, which is no reason for another.
            kinds::HORIZONTAL_POD_AUTOSCALER if spec(event.before()) != spec(event.after()) => vec![key.clone()],
            measured::METRIC_VALUE => demand::scalers(view, key.namespace()).map(|it| it.key().clone()).collect(),
            _ => Vec::new(),
        }
    }

    fn pods_to_measure(&self, key: &Key, view: &Snapshot) -> Option<Vec<Key>> {
        let scaler = view.get(key)?.decode::<HorizontalPodAutoscaler>().ok()?;
        let reference = &scaler.spec.as_ref()?.scale_target_ref;
        let pods = Target::find(reference, key.namespace(), view).ok().and_then(|target| target.pods(view).ok());
        Some(pods.unwrap_or_default().into_iter().map(|(object, _)| object.key().clone()).collect())
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key).filter(|it| !it.meta().is_terminating()) else { return Plan::nothing() };
        let Ok(scaler) = object.decode::<HorizontalPodAutoscaler>() else { return Plan::nothing() };
        let Some(spec) = &scaler.spec else { return Plan::nothing() };
        let mut account = Account::of(&scaler);
        let mut history = History::of(&scaler);
        let txn = scale(object, spec, &mut account, &mut history, view, look);
        let told = replaced::<HorizontalPodAutoscaler>(object, |scaler| {
            history.keep(scaler);
            account.keep(scaler, look);
        });
        let tales = account.tales(object, view, look);
        tales.into_iter().fold(Plan::of(told.and(txn)), Plan::also).again_at(Some(look.now + PERIOD))
    }
}

fn spec(object: Option<&Object>) -> Option<HorizontalPodAutoscalerSpec> {
    let scaler: Arc<HorizontalPodAutoscaler> = object?.decode().ok()?;
    scaler.spec.clone()
}

/// Decides, and says what came of it; what comes back gives the target as many replicas.
fn scale(
    object: &Object,
    spec: &HorizontalPodAutoscalerSpec,
    account: &mut Account,
    history: &mut History,
    view: &Snapshot,
    look: Look<'_>,
) -> Txn {
    let target = match Target::find(&spec.scale_target_ref, object.key().namespace(), view) {
        Ok(target) => target,
        Err(why) => {
            account.warns("FailedGetScale", &why);
            let told = format!("the HPA controller was unable to get the target's current scale: {why}");
            account.says("AbleToScale", false, "FailedGetScale", &told);
            return Txn::default();
        }
    };
    let able = "the HPA controller was able to get the target's current scale";
    account.says("AbleToScale", true, "SucceededGetScale", able);
    history.begin(target.wanted, look.now);
    account.current = target.wanted;
    let Some(decided) = decide(object, spec, &target, account, history, view, look) else { return Txn::default() };
    account.desired = decided.replicas;
    if decided.replicas == target.wanted {
        return Txn::default();
    }
    match target.with(decided.replicas, look) {
        Ok(txn) => {
            let told = format!("the HPA controller was able to update the target scale to {}", decided.replicas);
            account.says("AbleToScale", true, "SucceededRescale", &told);
            account.tells("SuccessfulRescale", &format!("New size: {}; reason: {}", decided.replicas, decided.reason));
            account.rescaled = true;
            history.scaled(decided.replicas - target.wanted, look.now);
            txn
        }
        Err(why) => {
            let told = format!("New size: {}; reason: {}; error: {why}", decided.replicas, decided.reason);
            account.warns("FailedRescale", &told);
            let told = format!("the HPA controller was unable to update the target scale: {why}");
            account.says("AbleToScale", false, "FailedUpdateScale", &told);
            account.desired = target.wanted;
            Txn::default()
        }
    }
}

/// How many replicas there shall be; `None` where that cannot be told.
fn decide(
    object: &Object,
    spec: &HorizontalPodAutoscalerSpec,
    target: &Target<'_>,
    account: &mut Account,
    history: &mut History,
    view: &Snapshot,
    look: Look<'_>,
) -> Option<Decided> {
    let (least, most, current) = (spec.min_replicas.unwrap_or(1), spec.max_replicas, target.wanted);
    let decided = |replicas: i32, reason: &str| Some(Decided { replicas, reason: reason.to_owned() });
    if current == 0 && least != 0 {
        let told = "scaling is disabled since the replica count of the target is zero";
        account.says("ScalingActive", false, "ScalingDisabled", told);
        return decided(0, "");
    }
    if current > most {
        return decided(most, "Current number of replicas above Spec.MaxReplicas");
    }
    if current < least {
        return decided(least, "Current number of replicas below Spec.MinReplicas");
    }
    let wish = demand::of(target, view);
    if wish.is_some() && current > 0 && !target.is_ready(view) {
        // Who was called is on the way: there is nothing yet to judge by.
        return decided(current, "");
    }
    let asked = metrics::Asked { spec, target, wish, view, look };
    let wanted = match asked.replicas(object, account) {
        Some(proposed) => {
            let reason = match proposed.replicas {
                some if some > current && current == 0 => WAITED_FOR.to_owned(),
                more if more > current => format!("{} above target", proposed.metric),
                fewer if fewer < current => "All metrics below target".to_owned(),
                _ => String::new(),
            };
            let paced = pace::paced(spec, current, proposed.replicas, history, look.now);
            account.paced(&paced);
            Decided { replicas: paced.replicas, reason }
        }
        None if wish.is_some() && current == 0 => Decided { replicas: 0, reason: String::new() },
        None => return None,
    };
    match wish.kept(wanted.replicas, spec) {
        kept if kept > current.max(wanted.replicas) => decided(kept, WAITED_FOR),
        kept => Some(Decided { replicas: kept, ..wanted }),
    }
}
