//! From figures to a number of replicas: `current × value ÷ target`, with doubt on the side of what is there.
//!
//! Pods that are only starting say little about the load: they do not count on the way down, and as idle on the way up. Pods
//! without a figure count as just what is aimed at on the way down, and as idle on the way up. What then points the other way, or
//! lies within the tolerance, changes nothing.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::readings::{Reading, Readings};
use super::target::Read;
use api::quantity::Quantity;

use crate::pods;

/// A ratio that is no further from one changes nothing.
const TOLERANCE: f64 = 0.1;
/// A pod that began so lately may still be busy with beginning.
const CPU_INITIALIZATION: SignedDuration = SignedDuration::from_mins(5);
/// A pod that was never ready since it began, but for so long.
const INITIAL_READINESS: SignedDuration = SignedDuration::from_secs(30);

/// What is aimed at.
pub(super) enum Aim {
    /// So many percent of what each pod asks for, which is told in thousandths.
    Utilization { percent: i32, requests: BTreeMap<String, i64> },
    /// So many thousandths on average.
    Average { milli: i64 },
}

/// What there is of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    /// How much of what is aimed at.
    ratio: f64,
    pub(super) percent: Option<i32>,
    pub(super) average_milli: i64,
}

/// Which pods may be judged by their figures.
struct Grouped {
    ready: usize,
    unready: Vec<String>,
    missing: Vec<String>,
}

/// How many replicas are proposed, and by what.
pub(super) fn proposed(
    current: i32,
    aim: &Aim,
    of_processor: bool,
    pods: &[Read<'_>],
    mut readings: Readings,
    now: Timestamp,
) -> Result<(i32, Found), String> {
    if pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".to_owned());
    }
    let Grouped { ready, unready, missing } = grouped(pods, &mut readings, of_processor, now);
    if readings.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    let found = aim.found(&readings)?;
    let is_up = found.ratio > 1.0;
    if missing.is_empty() && (unready.is_empty() || !is_up) {
        let same = is_tolerable(found.ratio);
        return Ok((if same { current } else { rounded_up(found.ratio, ready) }, found));
    }
    let idle = Reading { milli: 0, at: now, window: SignedDuration::ZERO };
    for pod in missing {
        let milli = match found.ratio {
            ratio if ratio < 1.0 => aim.as_aimed(&pod),
            ratio if ratio > 1.0 => 0,
            _ => continue,
        };
        readings.insert(pod, Reading { milli, ..idle });
    }
    if is_up {
        readings.extend(unready.into_iter().map(|pod| (pod, idle)));
    }
    let doubted = aim.found(&readings)?.ratio;
    let turned = (found.ratio < 1.0 && doubted > 1.0) || (is_up && doubted < 1.0);
    if is_tolerable(doubted) || turned {
        return Ok((current, found));
    }
    let replicas = rounded_up(doubted, readings.len());
    let against = (doubted < 1.0 && replicas > current) || (doubted > 1.0 && replicas < current);
    Ok((if against { current } else { replicas }, found))
}

fn is_tolerable(ratio: f64) -> bool {
    (1.0 - ratio).abs() <= TOLERANCE
}

fn rounded_up(ratio: f64, pods: usize) -> i32 {
    // What is too large for the type is the largest of it.
    (ratio * pods as f64).ceil() as i32
}

/// Sorts the pods, and takes away the figures of those that do not count.
fn grouped(pods: &[Read<'_>], readings: &mut Readings, of_processor: bool, now: Timestamp) -> Grouped {
    let mut grouped = Grouped { ready: 0, unready: Vec::new(), missing: Vec::new() };
    for (object, pod) in pods {
        let name = object.key().name();
        let is_going = object.meta().is_terminating() || pods::phase(pod) == "Failed";
        let reading = readings.get(name).copied();
        let is_unready = pods::phase(pod) == "Pending"
            || reading.is_some_and(|reading| of_processor && is_starting(pod, &reading, now));
        if is_going || is_unready {
            readings.remove(name);
        }
        match reading {
            _ if is_going => {}
            _ if is_unready => grouped.unready.push(name.to_owned()),
            None => grouped.missing.push(name.to_owned()),
            Some(_) => grouped.ready += 1,
        }
    }
    grouped
}

/// Whether what a pod uses of a processor is what beginning takes.
fn is_starting(pod: &Pod, reading: &Reading, now: Timestamp) -> bool {
    let began = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let (Some(ready), Some(began)) = (pods::condition(pod, "Ready"), began) else { return true };
    let changed = ready.last_transition_time.as_ref().map_or(began.0, |time| time.0);
    let is_not_ready = ready.status == "False";
    if began.0 + CPU_INITIALIZATION > now {
        is_not_ready || reading.at < changed + reading.window
    } else {
        is_not_ready && began.0 + INITIAL_READINESS > changed
    }
}

// === impl Aim ===

impl Aim {
    /// A share of what the pods ask for; each container has to ask for something.
    pub(super) fn utilization(
        percent: i32,
        pods: &[Read<'_>],
        resource: &str,
        container: Option<&str>,
    ) -> Result<Self, String> {
        let requests = pods.iter().map(|(object, pod)| {
            let name = object.key().name();
            Ok((name.to_owned(), request(pod, name, resource, container)?))
        });
        Ok(Self::Utilization { percent, requests: requests.collect::<Result<_, String>>()? })
    }

    fn found(&self, readings: &Readings) -> Result<Found, String> {
        let sum = |readings: &mut dyn Iterator<Item = (i64, i64)>| {
            readings.fold((0_i64, 0_i64, 0_i64), |(used, asked, count), (milli, request)| {
                (used.saturating_add(milli), asked.saturating_add(request), count + 1)
            })
        };
        match self {
            Self::Utilization { percent, requests } => {
                let both = |(pod, reading): (&String, &Reading)| Some((reading.milli, *requests.get(pod)?));
                let (used, asked, count) = sum(&mut readings.iter().filter_map(both));
                if asked == 0 {
                    return Err("no metrics returned matched known pods".to_owned());
                }
                let found = i32::try_from(used.saturating_mul(100) / asked).unwrap_or(i32::MAX);
                let ratio = f64::from(found) / f64::from(*percent);
                Ok(Found { ratio, percent: Some(found), average_milli: used / count })
            }
            Self::Average { milli } => {
                let (used, _, count) = sum(&mut readings.values().map(|reading| (reading.milli, 0)));
                let average_milli = used / count.max(1);
                Ok(Found { ratio: average_milli as f64 / *milli as f64, percent: None, average_milli })
            }
        }
    }

    /// What a pod without a figure is taken to use where fewer would do.
    fn as_aimed(&self, pod: &str) -> i64 {
        match self {
            Self::Utilization { percent, requests } => {
                requests.get(pod).map_or(0, |request| request.saturating_mul(i64::from(*percent).max(100)) / 100)
            }
            Self::Average { milli } => *milli,
        }
    }
}

/// What a pod asks for, in thousandths.
fn request(pod: &Pod, name: &str, resource: &str, container: Option<&str>) -> Result<i64, String> {
    let spec = pod.spec.as_ref();
    let sidecars = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let sidecars = sidecars.filter(|it| it.restart_policy.as_deref() == Some("Always"));
    let all = spec.into_iter().flat_map(|spec| &spec.containers).chain(sidecars);
    let asked = |it: &Container| {
        let amount = it.resources.as_ref().and_then(|resources| resources.requests.as_ref()?.get(resource));
        let missing = || format!("missing request for {resource} in container {} of Pod {name}", it.name);
        amount.map(|amount| Quantity::of(amount).milli_value()).ok_or_else(missing)
    };
    all.filter(|it| container.is_none_or(|name| it.name == name)).map(asked).sum()
}
