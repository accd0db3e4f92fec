//! Time, tasks and threads, as the store uses them.
//!
//! Tokio, and nothing beside it: everything here is another name for what tokio has. What is gained is that no other module names
//! tokio's clock or its tasks, so that under test all of it can be had from a [simulation](crate::simulation) instead, whose
//! hours pass in a moment and pass the same way each time.

#[cfg(not(test))]
mod real;
#[cfg(not(test))]
pub(crate) use real::*;

#[cfg(test)]
pub(crate) use crate::simulation::runtime::*;
