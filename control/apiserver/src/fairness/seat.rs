//! Waiting for a seat, having it, and giving it back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::scheduler::{Arrival, Limits, Scheduler, Ticket};

/// The seats of one level.
pub(super) struct Seats {
    room: Mutex<Room>,
    /// How long one waits for a turn.
    patience: Duration,
}

struct Room {
    scheduler: Scheduler,
    /// Who is to be told when the turn has come.
    bells: HashMap<Ticket, oneshot::Sender<()>>,
}

/// Seats that somebody has. They are given back when this is dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    flow: Arc<str>,
    cost: u32,
}

/// Somebody who waits, and leaves when this is dropped.
struct Waiting {
    seats: Arc<Seats>,
    flow: Arc<str>,
    ticket: Ticket,
    cost: u32,
    is_seated: bool,
}

/// Too many wait, or it takes too long.
#[derive(Debug)]
pub(super) struct NoSeat;

// === impl Seats ===

impl Seats {
    pub(super) fn new(limits: Limits, patience: Duration) -> Arc<Self> {
        let room = Room { scheduler: Scheduler::new(limits), bells: HashMap::new() };
        Arc::new(Self { room: Mutex::new(room), patience })
    }

    /// Waits for a turn of this flow.
    pub(super) async fn take(self: &Arc<Self>, flow: Arc<str>, wanted: u32) -> Result<Seat, NoSeat> {
        let (cost, mut waiting, turn) = {
            let mut room = self.room.lock();
            let cost = room.scheduler.cost(wanted);
            match room.scheduler.arrive(&flow, wanted) {
                Arrival::Refused => return Err(NoSeat),
                Arrival::Seated => return Ok(Seat { seats: self.clone(), flow, cost }),
                Arrival::Waits(ticket) => {
                    let (bell, turn) = oneshot::channel();
                    room.bells.insert(ticket, bell);
                    let waiting = Waiting { seats: self.clone(), flow: flow.clone(), ticket, cost, is_seated: false };
                    (cost, waiting, turn)
                }
            }
        };
        match timeout(self.patience, turn).await {
            Ok(Ok(())) => {
                waiting.is_seated = true;
                Ok(Seat { seats: self.clone(), flow, cost })
            }
            _ => Err(NoSeat),
        }
    }
}

// === impl Room ===

impl Room {
    fn call(&mut self, turns: Vec<Ticket>) {
        for ticket in turns {
            if let Some(bell) = self.bells.remove(&ticket) {
                // Whoever does not hear it any more gives the seats back as it leaves.
                let _ = bell.send(());
            }
        }
    }
}

// === impl Seat ===

impl Seat {
    /// Keeps one seat, and gives back the others.
    pub(super) fn shrink(&mut self) {
        let surplus = self.cost.saturating_sub(1);
        if surplus > 0 {
            self.give_back(surplus);
            self.cost = 1;
        }
    }

    fn give_back(&self, cost: u32) {
        let mut room = self.seats.room.lock();
        let turns = room.scheduler.finish(&self.flow, cost);
        room.call(turns);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.give_back(self.cost);
    }
}

// === impl Waiting ===

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_seated {
            return;
        }
        let mut room = self.seats.room.lock();
        // Without a bell the turn has come, and nobody took it.
        let turns = match room.bells.remove(&self.ticket) {
            Some(_) => room.scheduler.leave(&self.flow, self.ticket),
            None => room.scheduler.finish(&self.flow, self.cost),
        };
        room.call(turns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    const SOON: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_seat_goes_to_whoever_waits_and_to_nobody_who_left() {
        let seats = Seats::new(Limits { seats: 4, flow_queue_max: 8, queue_max: 8 }, 40 * SOON);
        let take = |flow: &'static str, wanted| seats.clone().take_for(flow, wanted);
        let first = take("a", 2).await.expect("a seat");
        let second = take("b", 2).await.expect("a seat");
        let mut gone = Box::pin(take("c", 1));
        let mut stays = Box::pin(take("d", 1));
        assert!(gone.as_mut().now_or_never().is_none() && stays.as_mut().now_or_never().is_none());
        drop(first);
        // Its turn has come, and it leaves without looking.
        drop(gone);
        let third = stays.await.expect("its turn");
        assert!(take("b", 2).await.is_err(), "it has its share, and others have theirs");
        drop((second, third));
        assert_eq!(take("e", 2).await.expect("all are free").cost, 2);
    }

    #[tokio::test]
    async fn who_waits_too_long_is_refused() {
        let seats = Seats::new(Limits { seats: 2, flow_queue_max: 1, queue_max: 8 }, SOON);
        let take = |flow: &'static str, wanted| seats.clone().take_for(flow, wanted);
        let mut long = take("a", 1).await.expect("a seat");
        let other = take("b", 1).await.expect("a seat");
        let waits = take("a", 1);
        assert!(waits.await.is_err());
        drop(other);
        long.shrink();
        assert!(take("b", 1).await.is_ok());
    }

    impl Seats {
        async fn take_for(self: Arc<Self>, flow: &'static str, wanted: u32) -> Result<Seat, NoSeat> {
            self.take(flow.into(), wanted).await
        }
    }
}
