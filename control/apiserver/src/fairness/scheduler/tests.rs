use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { seats: 8, flow_queue_max: 4, queue_max: 10 };

/// A scheduler and everybody who has a seat or waits for one.
struct Room {
    scheduler: Scheduler,
    seated: Vec<(Arc<str>, u32)>,
    waiting: Vec<(Ticket, Arc<str>, u32)>,
    /// Every turn that was given to somebody who waited, in order.
    turns: Vec<(Ticket, Arc<str>)>,
}

impl Room {
    fn new(limits: Limits) -> Self {
        Self { scheduler: Scheduler::new(limits), seated: Vec::new(), waiting: Vec::new(), turns: Vec::new() }
    }

    fn arrive(&mut self, flow: &str, wanted: u32) -> Arrival {
        let flow: Arc<str> = flow.into();
        let cost = self.scheduler.cost(wanted);
        let arrival = self.scheduler.arrive(&flow, wanted);
        match arrival {
            Arrival::Seated => self.seated.push((flow, cost)),
            Arrival::Waits(ticket) => self.waiting.push((ticket, flow, cost)),
            Arrival::Refused => {}
        }
        arrival
    }

    fn finish(&mut self, at: usize) {
        let (flow, cost) = self.seated.remove(at);
        let turns = self.scheduler.finish(&flow, cost);
        self.sit(turns);
    }

    fn leave(&mut self, at: usize) {
        let (ticket, flow, _) = self.waiting.remove(at);
        let turns = self.scheduler.leave(&flow, ticket);
        self.sit(turns);
    }

    fn sit(&mut self, turns: Vec<Ticket>) {
        for ticket in turns {
            let at = self.waiting.iter().position(|(waiting, ..)| *waiting == ticket).expect("it waited");
            let (ticket, flow, cost) = self.waiting.remove(at);
            self.turns.push((ticket, flow.clone()));
            self.seated.push((flow, cost));
        }
    }

    fn taken(&self) -> u32 {
        self.seated.iter().map(|(_, cost)| cost).sum()
    }

    fn flow(&self, flow: &str) -> usize {
        self.seated.iter().filter(|(seated, _)| **seated == *flow).count()
    }
}

#[test]
fn nobody_waits_while_there_are_seats() {
    let mut room = Room::new(LIMITS);
    for _ in 0..6 {
        assert_eq!(room.arrive("storm", 1), Arrival::Seated);
    }
    assert!(matches!(room.arrive("storm", 1), Arrival::Waits(_)), "the rest is for others");
    room.finish(0);
    assert_eq!(room.flow("storm"), 6, "whoever waited came next");
    assert_eq!(room.arrive("quiet", 1), Arrival::Seated);
}

#[test]
fn a_storm_takes_turns_with_a_single_request() {
    let mut room = Room::new(LIMITS);
    (0..6).for_each(|_| {
        room.arrive("storm", 1);
    });
    for flow in ["other", "another"] {
        room.arrive(flow, 1);
    }
    (0..4).for_each(|_| {
        room.arrive("storm", 1);
    });
    assert!(matches!(room.arrive("quiet", 1), Arrival::Waits(_)));
    room.finish(0);
    assert_eq!(room.flow("quiet"), 1, "it was served least");
}

#[test]
fn queues_have_an_end() {
    let mut room = Room::new(LIMITS);
    let arrivals: Vec<Arrival> = (0..12).map(|_| room.arrive("storm", 1)).collect();
    assert_eq!(arrivals.iter().filter(|arrival| matches!(arrival, Arrival::Waits(_))).count(), LIMITS.flow_queue_max);
    assert_eq!(arrivals[11], Arrival::Refused);
    room.leave(0);
    assert!(matches!(room.arrive("storm", 1), Arrival::Waits(_)), "who leaves makes room");
}

#[test]
fn a_large_request_takes_half_and_is_not_overtaken_for_ever() {
    let mut room = Room::new(LIMITS);
    assert_eq!(room.arrive("list", 1_000), Arrival::Seated);
    assert_eq!(room.taken(), 4);
    (0..3).for_each(|_| assert_eq!(room.arrive("writes", 1), Arrival::Seated));
    assert!(matches!(room.arrive("lists", 1_000), Arrival::Waits(_)));
    assert!(matches!(room.arrive("reads", 1), Arrival::Waits(_)), "a seat is free, and not for whoever comes later");
    room.finish(1);
    assert_eq!(room.flow("lists") + room.flow("reads"), 0, "what becomes free is kept for whoever is next");
    room.finish(0);
    assert_eq!((room.flow("lists"), room.flow("reads")), (1, 1));
}

/// What happens in a room: a request of one of three flows comes and wants so many seats, one is over, one leaves.
#[derive(Clone, Debug)]
enum Happening {
    Arrives(usize, u32),
    Finishes(usize),
    Leaves(usize),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        4 => (0..3_usize, 1..12_u32).prop_map(|(flow, wanted)| Happening::Arrives(flow, wanted)),
        3 => any::<usize>().prop_map(Happening::Finishes),
        1 => any::<usize>().prop_map(Happening::Leaves),
    ];
    prop::collection::vec(one, 1..200)
}

proptest! {
    /// Whatever happens there are never more seats taken than there are, each flow has its turns in the order it came, and when
    /// all that is seated is over, all that waited has had its turn.
    #[test]
    fn seats_are_never_more_than_there_are_and_turns_come_in_order(happenings in happenings()) {
        let mut room = Room::new(LIMITS);
        for happening in happenings {
            match happening {
                Happening::Arrives(flow, wanted) => {
                    room.arrive(["a", "b", "c"][flow], wanted);
                }
                Happening::Finishes(at) if !room.seated.is_empty() => room.finish(at % room.seated.len()),
                Happening::Leaves(at) if !room.waiting.is_empty() => room.leave(at % room.waiting.len()),
                _ => {}
            }
            prop_assert!(room.taken() <= LIMITS.seats);
            prop_assert_eq!(room.scheduler.taken, room.taken());
            prop_assert_eq!(room.scheduler.waiting, room.waiting.len());
            prop_assert!(room.waiting.len() <= LIMITS.queue_max);
            let mut turns: Vec<_> = room.scheduler.flows.iter().filter_map(|(name, flow)| Some((flow.turn()?, name.clone()))).collect();
            turns.sort();
            prop_assert!(room.scheduler.turns.iter().eq(&turns), "{turns:?}");
            prop_assert!(room.taken() > 0 || room.waiting.is_empty(), "somebody waits and nobody is seated");
        }
        while !room.seated.is_empty() {
            room.finish(0);
        }
        prop_assert!(room.waiting.is_empty(), "they wait for ever: {:?}", room.waiting);
        prop_assert!(room.scheduler.flows.is_empty());
        for flow in ["a", "b", "c"] {
            let turns: Vec<Ticket> = room.turns.iter().filter(|(_, of)| **of == *flow).map(|(ticket, _)| *ticket).collect();
            prop_assert!(turns.is_sorted(), "{flow} was not served in order: {turns:?}");
        }
    }

    /// However many requests a storm sends, and whatever they cost, one request of somebody else waits for no more turns of the
    /// storm than fit into the seats once.
    #[test]
    fn a_storm_starves_nobody(costs in prop::collection::vec(1..12_u32, 20..60), at in 0..20_usize, wanted in 1..12_u32) {
        let limits = Limits { flow_queue_max: 100, queue_max: 100, ..LIMITS };
        let mut room = Room::new(limits);
        let mut before = None;
        for (number, cost) in costs.iter().enumerate() {
            if number == at {
                room.arrive("quiet", wanted);
                before = Some(room.turns.len());
            }
            room.arrive("storm", *cost);
            if number % 3 == 0 && !room.seated.is_empty() {
                room.finish(0);
            }
        }
        let before = before.expect("it came");
        while room.waiting.iter().any(|(_, flow, _)| **flow == *"quiet") {
            room.finish(0);
        }
        let quiet = room.turns.iter().position(|(_, flow)| **flow == *"quiet");
        let overtaken = quiet.map_or(0, |quiet| quiet - before);
        prop_assert!(overtaken <= limits.seats as usize, "overtaken by {overtaken}");
    }
}
