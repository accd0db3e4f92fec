//! What the node counts, as Prometheus reads it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use network::policy::Direction;

use crate::context::Context;
use crate::image::Fetched;

/// The text format's own type.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn metrics(State(context): State<Arc<Context>>) -> impl IntoResponse {
    let denied = |direction| context.fabric.policy().map_or(0, |policy| policy.denials().count(direction));
    let denied = denials(denied(Direction::Ingress), denied(Direction::Egress));
    ([(CONTENT_TYPE, FORMAT)], denied + &fetched(context.images.fetched()))
}

fn denials(ingress: u64, egress: u64) -> String {
    const NAME: &str = "coracle_network_policy_denied_total";
    format!(
        "# HELP {NAME} Connections and datagrams that NetworkPolicies did not let through, by the end that denied them.\n\
         # TYPE {NAME} counter\n\
         {NAME}{{direction=\"ingress\"}} {ingress}\n\
         {NAME}{{direction=\"egress\"}} {egress}\n"
    )
}

fn fetched(Fetched { from_registries, from_beside }: Fetched) -> String {
    const NAME: &str = "coracle_images_fetched_total";
    format!(
        "# HELP {NAME} Components that were fetched, by who gave them.\n\
         # TYPE {NAME} counter\n\
         {NAME}{{from=\"registry\"}} {from_registries}\n\
         {NAME}{{from=\"node\"}} {from_beside}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_is_counted_by_itself() {
        let text = denials(3, 0);
        assert!(text.contains("# TYPE coracle_network_policy_denied_total counter\n"), "{text}");
        assert!(
            text.ends_with("{direction=\"ingress\"} 3\ncoracle_network_policy_denied_total{direction=\"egress\"} 0\n")
        );
    }
}
