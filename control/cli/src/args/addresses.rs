//! Which addresses the cluster gives. The words are Kubernetes'.

use anyhow::{Context, ensure};
use clap::Args;
use ipnet::Ipv4Net;

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Addresses {
    /// The range of which every pod's address is, told to all servers alike; each node is given ranges of 256 addresses of it, so that
    /// the usual one is enough for 256 nodes
    #[arg(long, env = "CORACLE_CLUSTER_CIDR", default_value = "10.42.0.0/16", value_name = "RANGE", value_parser = pods)]
    pub(crate) cluster_cidr: Ipv4Net,
}

fn pods(text: &str) -> anyhow::Result<Ipv4Net> {
    let range: Ipv4Net = text.parse().ok().context("not a range of IPv4 addresses, as 10.42.0.0/16 is one")?;
    let services = Ipv4Net::new_assert([10, 43, 0, 0].into(), 16);
    ensure!(range == range.trunc(), "{range} is an address of {}", range.trunc());
    ensure!(range.prefix_len() <= 24, "{range} has fewer addresses than a node is given");
    ensure!(!range.contains(&services) && !services.contains(&range), "{range} meets {services}, which are services'");
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_given_whole_ranges_that_are_not_the_services() {
        let check = |text: &str, expected: Result<(), &str>| {
            assert_eq!(pods(text).map(drop).map_err(|why| why.to_string()), expected.map_err(str::to_owned));
        };
        check("10.42.0.0/16", Ok(()));
        check("10.128.0.0/9", Ok(()));
        check("10.0.0.0/8", Err("10.0.0.0/8 meets 10.43.0.0/16, which are services'"));
        check("10.43.7.0/24", Err("10.43.7.0/24 meets 10.43.0.0/16, which are services'"));
        check("10.42.0.0/33", Err("not a range of IPv4 addresses, as 10.42.0.0/16 is one"));
        check("10.42.0.0/25", Err("10.42.0.0/25 has fewer addresses than a node is given"));
        check("10.42.1.0/16", Err("10.42.1.0/16 is an address of 10.42.0.0/16"));
    }
}
