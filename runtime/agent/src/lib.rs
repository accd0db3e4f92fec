//! One node: the pods the cluster wants here become workloads, and what becomes of them becomes their status.
mod config;
mod desired;
#[cfg(test)]
mod fixture;
pub mod pod;
mod quantity;

pub use config::{Config, Resources};
pub use desired::{Desired, Uid, Wanted, desired};
