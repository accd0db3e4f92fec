//! The one engine of a host.
//!
//! Instances come from a pool of prepared slots with copy-on-write images: starting one takes microseconds. Every guest
//! carries epoch checks, so that it can be made to give way and be stopped.

use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;
use wasmtime::{Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::config::Config;

/// The most a 32-bit memory can be. Whole reservations spare every access its bounds check.
const MEMORY_BYTES_MAX: usize = 4 << 30;

/// Kept of a memory when its instance goes, to spare the next one page faults.
const MEMORY_RESIDENT_BYTES: usize = 1 << 20;

/// Kept of a table.
const TABLE_RESIDENT_BYTES: usize = 64 << 10;

/// Kept of a stack.
const STACK_RESIDENT_BYTES: usize = 16 << 10;

/// A component made by a language's tool chain links many small core modules; Python's is the largest, with fourteen.
const CORE_INSTANCES_PER_INSTANCE: u32 = 16;

/// Memories and tables that there are for each instance; who needs more takes the place of several.
const MEMORIES_PER_INSTANCE: u32 = 2;
const TABLES_PER_INSTANCE: u32 = 4;

/// An address space of 128 TiB has room for hardly more memories of 4 GiB: a larger pool has one for each instance.
const MEMORIES_MAX: u32 = 28_000;

/// The most that one instance may take of each, in instances.
const INSTANCES_PER_COMPONENT_MAX: u32 = 16;

/// Below this a pool that does not fit is not tried smaller.
const INSTANCES_MIN: u32 = 16;

/// Raised when the way components are made from modules changes, so that what was cached before is made again.
const RECIPE: &[u8] = b"adapter 50, recipe 1";

/// The engine, its pool as large as configured or as the address space allows: for how many instances it is.
pub(crate) fn engine(config: &Config) -> wasmtime::Result<(Engine, u32)> {
    let mut instances = config.instances_max.max(1);
    loop {
        match Engine::new(&tuned(Some(instances))) {
            Ok(engine) => return Ok((engine, instances)),
            Err(error) if instances / 2 < INSTANCES_MIN => return Err(error),
            Err(error) => {
                tracing::warn!(instances, %error, "the instance pool does not fit, trying half of it");
                instances /= 2;
            }
        }
    }
}

/// An engine that only compiles, for the engine above.
pub(crate) fn compiler() -> wasmtime::Result<Engine> {
    Engine::new(&tuned(None))
}

/// Names what compiled code depends on: compiler, flags, processor, version.
pub(crate) fn compatibility(engine: &Engine) -> String {
    struct Sink(Sha256);
    impl std::hash::Hasher for Sink {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            0
        }
    }
    let mut sink = Sink(Sha256::new_with_prefix(RECIPE));
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut sink);
    hex::encode(&sink.0.finalize()[..8])
}

/// With or without a pool the compiled code is the same.
fn tuned(pool: Option<u32>) -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config.epoch_interruption(true).memory_init_cow(true).async_stack_size(2 << 20).max_wasm_stack(512 << 10);
    if let Some(instances) = pool {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(instances)));
    }
    config
}

/// How many instances of the usual size one of this component counts for, in a pool of so many.
pub(crate) fn size(component: &Component, pool: u32) -> usize {
    let Some(needs) = component.resources_required() else { return INSTANCES_PER_COMPONENT_MAX as usize };
    let instances = [needs.num_memories.div_ceil(memories_each(pool)), needs.num_tables.div_ceil(TABLES_PER_INSTANCE)];
    instances.into_iter().fold(1, u32::max) as usize
}

/// The memories that there are for each of so many instances.
fn memories_each(instances: u32) -> u32 {
    if instances.saturating_mul(MEMORIES_PER_INSTANCE) <= MEMORIES_MAX { MEMORIES_PER_INSTANCE } else { 1 }
}

fn pooling(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_PER_INSTANCE))
        .total_memories(instances.saturating_mul(memories_each(instances)))
        .total_tables(instances.saturating_mul(TABLES_PER_INSTANCE))
        .max_core_instances_per_component(CORE_INSTANCES_PER_INSTANCE * 4)
        .max_memories_per_component(MEMORIES_PER_INSTANCE * INSTANCES_PER_COMPONENT_MAX)
        .max_tables_per_component(TABLES_PER_INSTANCE * INSTANCES_PER_COMPONENT_MAX)
        .total_stacks(instances)
        .max_tables_per_module(4)
        .max_memory_size(MEMORY_BYTES_MAX)
        .linear_memory_keep_resident(MEMORY_RESIDENT_BYTES)
        .table_keep_resident(TABLE_RESIDENT_BYTES)
        .async_stack_keep_resident(STACK_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto)
        .decommit_batch_size(16);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_compiles_for_the_pool() {
        let config = Config { instances_max: 1, ..Config::new("unused") };
        let (pooled, _) = engine(&config).expect("a pool of one fits");
        assert_eq!(compatibility(&pooled), compatibility(&compiler().expect("it needs no memory")));
    }
}
