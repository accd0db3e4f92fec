//! What an autoscaler measures, of what it aims at: `cpu: 12%/50%`.

use k8s_openapi::api::autoscaling::v2::{MetricSpec, MetricStatus, MetricTarget, MetricValueStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const SHOWN_MAX: usize = 2;
const UNKNOWN: &str = "<unknown>";

/// The metrics, each with what is known of it; the status has them in the same order.
pub(super) fn written(metrics: &[MetricSpec], current: &[MetricStatus]) -> String {
    if metrics.is_empty() {
        return "<none>".into();
    }
    let shown: Vec<String> =
        metrics.iter().enumerate().take(SHOWN_MAX).map(|(index, metric)| one(metric, current.get(index))).collect();
    let rest = metrics.len().saturating_sub(SHOWN_MAX);
    let more = if rest == 0 { String::new() } else { format!(" + {rest} more...") };
    format!("{}{more}", shown.join(", "))
}

fn one(metric: &MetricSpec, current: Option<&MetricStatus>) -> String {
    if let Some(source) = &metric.external {
        return of_value(&source.target, current.and_then(|it| it.external.as_ref()).map(|it| &it.current));
    }
    if let Some(source) = &metric.object {
        return of_value(&source.target, current.and_then(|it| it.object.as_ref()).map(|it| &it.current));
    }
    if let Some(source) = &metric.pods {
        let average = current.and_then(|it| it.pods.as_ref()).and_then(|it| it.current.average_value.as_ref());
        return format!("{}/{}", amount(average), amount(source.target.average_value.as_ref()));
    }
    if let Some(source) = &metric.resource {
        let current = current.and_then(|it| it.resource.as_ref()).map(|it| &it.current);
        return format!("{}: {}", source.name, of_use(&source.target, current));
    }
    if let Some(source) = &metric.container_resource {
        let current = current.and_then(|it| it.container_resource.as_ref()).map(|it| &it.current);
        return format!("{}: {}", source.name, of_use(&source.target, current));
    }
    "<unknown type>".into()
}

fn of_value(target: &MetricTarget, current: Option<&MetricValueStatus>) -> String {
    match &target.average_value {
        Some(aim) => {
            let average = current.and_then(|current| current.average_value.as_ref());
            format!("{}/{} (avg)", amount(average), aim.0)
        }
        None => {
            let value = current.and_then(|current| current.value.as_ref());
            format!("{}/{}", amount(value), amount(target.value.as_ref()))
        }
    }
}

fn of_use(target: &MetricTarget, current: Option<&MetricValueStatus>) -> String {
    match &target.average_value {
        Some(aim) => {
            let average = current.and_then(|current| current.average_value.as_ref());
            format!("{}/{}", amount(average), aim.0)
        }
        None => {
            let percent = |percent: Option<i32>, otherwise: &str| {
                percent.map_or_else(|| otherwise.into(), |percent| format!("{percent}%"))
            };
            let used = percent(current.and_then(|current| current.average_utilization), UNKNOWN);
            format!("{used}/{}", percent(target.average_utilization, "<auto>"))
        }
    }
}

fn amount(amount: Option<&Quantity>) -> &str {
    amount.map_or(UNKNOWN, |amount| amount.0.as_str())
}
