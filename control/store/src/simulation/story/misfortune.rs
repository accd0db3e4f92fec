//! What happens to members and to the network between them, and how all is well again.

use std::time::Duration;

use super::super::disk::Kept;
use super::super::stage::address;
use super::{MEMBERS, Story, TROUBLE};
use crate::runtime;

impl Story {
    pub(super) async fn trouble(&self) -> Result<(), String> {
        let end = self.stage.executor.now() + TROUBLE;
        while self.stage.executor.now() < end {
            runtime::sleep(Duration::from_millis(self.stage.toss(|random| random.range(60, 350)))).await;
            let place = self.stage.toss(|random| random.below(MEMBERS as u64)) as usize;
            let other = (place + 1 + self.stage.toss(|random| random.below(MEMBERS as u64 - 1)) as usize) % MEMBERS;
            match self.stage.toss(|random| random.below(16)) {
                0 | 1 => self.crash(place, None).await?,
                2 => self.crash(place, Some(Kept::Nothing)).await?,
                3 => self.crash(place, Some(Kept::Beginning)).await?,
                4 => self.crash(place, Some(Kept::Any)).await?,
                5 | 6 => self.crash_while_writing(place).await?,
                7 => self.stage.net.cut(&address(place), &address(other)),
                8 => self.stage.isolate(place),
                9 | 10 => self.stage.net.heal(),
                11 => self.stage.net.break_one(),
                12 => self.stage.net.slow_down(Duration::from_millis(self.stage.toss(|random| random.below(80)))),
                13 => {
                    if let Some((life, _)) = self.stage.store(place) {
                        self.stage
                            .executor
                            .stop(life, Duration::from_millis(self.stage.toss(|random| random.range(50, 1_500))));
                    }
                }
                14 => {
                    if let Some((life, _)) = self.stage.store(place) {
                        self.stage
                            .executor
                            .jump(life, Duration::from_millis(self.stage.toss(|random| random.range(50, 3_000))));
                    }
                }
                _ => self.stage.black_out(Kept::Any).await?,
            }
        }
        Ok(())
    }

    async fn crash(&self, place: usize, power: Option<Kept>) -> Result<(), String> {
        self.stage.end(place, power);
        runtime::sleep(Duration::from_millis(self.stage.toss(|random| random.range(1, 600)))).await;
        self.stage.start(place).await
    }

    /// Has the power fail in the midst of some write that is still to come.
    async fn crash_while_writing(&self, place: usize) -> Result<(), String> {
        let Some((life, _)) = self.stage.store(place) else { return self.stage.start(place).await };
        let disk = self.stage.disk(place);
        disk.end_after(self.stage.toss(|random| random.below(40)));
        for _ in 0..30 {
            runtime::sleep(Duration::from_millis(10)).await;
            if !self.stage.executor.is_alive(life) {
                break;
            }
        }
        let kept = self.stage.toss(|random| [Kept::Nothing, Kept::Beginning, Kept::Any][random.below(3) as usize]);
        self.crash(place, Some(kept)).await
    }

    /// Bits turn in the files of one member, while it runs or while it does not, and it is started again: it notices, or it was nothing.
    /// One that has noticed is filled by the others, and the cluster is whole again before the next bit turns.
    pub(super) async fn rot(&self) -> Result<(), String> {
        for _ in 0..4 {
            runtime::sleep(Duration::from_millis(self.stage.toss(|random| random.range(200, 500)))).await;
            let place = self.stage.toss(|random| random.below(MEMBERS as u64)) as usize;
            let old = self.stage.store(place).ok_or("nobody ends here")?.1.member();
            if self.stage.toss(|random| random.one_in(3)) {
                self.flip(place);
                runtime::sleep(Duration::from_millis(self.stage.toss(|random| random.below(150)))).await;
                self.stage.end(place, None);
            } else {
                self.stage.end(place, None);
                self.flip(place);
            }
            self.stage.start(place).await?;
            // What lies in the log is looked at when it is read. Whoever has ended then is started again, as by whatever looks after it.
            runtime::sleep(Duration::from_millis(400)).await;
            if matches!(self.stage.ask(place, |store| async move { store.leads().await }).await, Some(Err(_))) {
                self.stage.end(place, None);
                self.stage.start(place).await?;
            }
            self.stage.whole(MEMBERS).await?;
            let new = self.stage.store(place).ok_or("nobody ends here")?.1.member();
            self.notes.lock().noticed += u64::from(new != old);
        }
        Ok(())
    }

    fn flip(&self, place: usize) {
        let disk = self.stage.disk(place);
        let files = disk.files();
        let (path, length) = &files[self.stage.toss(|random| random.below(files.len() as u64)) as usize];
        disk.flip(path, self.stage.toss(|random| random.below(*length as u64 * 8)));
    }

    /// All is well again, and once more after a power cut that leaves nothing but what was synced.
    pub(super) async fn recover(&self) -> Result<(), String> {
        self.stage.net.heal();
        for place in 0..MEMBERS {
            if self.stage.store(place).is_none() {
                self.stage.end(place, None);
                self.stage.start(place).await?;
            }
        }
        for place in 0..MEMBERS {
            self.stage.writes(place, &format!("last{place}"), u64::MAX - place as u64).await?;
        }
        self.stage.black_out(Kept::Nothing).await?;
        self.stage.agree().await?;
        // The watchers catch up.
        runtime::sleep(Duration::from_millis(700)).await;
        Ok(())
    }
}
