//! The library's own suite for storage, run on the log and the state machine.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::{Machine, Types};
use crate::Config;
use crate::disk::{Disk, Real};
use crate::image::Image;
use crate::log::Log;
use crate::world::World;

struct Fresh;

impl StoreBuilder<Types, Log, Machine, TempDir> for Fresh {
    async fn build(&self) -> Result<(TempDir, Log, Machine), StorageError<Types>> {
        let directory = tempfile::tempdir().expect("a directory");
        let sealer = crate::seal::Sealer::alone();
        let mut config = Config::new(directory.path());
        config.log.segment_bytes = 4 << 10;
        config.log.memory_bytes_max = 1 << 10;
        let disk: Arc<dyn Disk> = Arc::new(Real);
        let (image, standing, past) =
            Image::open(&Real, &directory.path().join("image.redb"), config.image, sealer.clone()).expect("an image");
        let log = Log::open(&disk, &directory.path().join("log"), config.log, sealer).expect("a log");
        let world = Arc::new(World::new(config.history, past.base, past.events, past.world));
        Ok((directory, log, Machine::new(world, image, crate::proposals::Proposals::new(1), &standing)))
    }
}

#[test]
fn the_log_and_the_machine_keep_the_contract_of_raft() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(Suite::test_all(Fresh)).expect("the suite passes");
}
