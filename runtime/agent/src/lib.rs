//! One node: the pods the cluster wants here become workloads, and what becomes of them becomes their status.
pub mod address;
mod config;
mod desired;
pub mod environment;
#[cfg(test)]
mod fixture;
pub mod image;
pub mod logs;
pub mod pod;
mod quantity;
pub mod volumes;

pub use config::{Config, Resources};
pub use desired::{Desired, Uid, Wanted, desired};
