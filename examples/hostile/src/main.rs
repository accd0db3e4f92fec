//! A program that wants more than it may have, in every way there is: `hostile NAME`.
//!
//! It is what the node is tried with. Right before it passes a limit it says so, with the time, `limit MILLISECONDS`; where it is
//! refused in order it says `held` and ends well; and if it got what it must not have, it ends with code 66.

mod disk;
mod handles;
mod lists;
mod logs;
mod memory;
mod network;
mod paths;
mod processor;
mod servers;

use std::time::{SystemTime, UNIX_EPOCH};

/// What a guest can do, by name.
type Deed = (&'static str, fn());

/// It got what it must not have.
const GOT_AWAY: u8 = 66;

/// Says that the limit is about to be passed.
fn limit() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    println!("limit {}", now.as_millis());
}

/// Says that it was refused, and ends well.
fn held(words: impl std::fmt::Display) -> ! {
    println!("held: {words}");
    std::process::exit(0)
}

/// Says that nobody refused it.
fn got_away(words: impl std::fmt::Display) -> ! {
    println!("got away: {words}");
    wasip2::cli::exit::exit_with_code(GOT_AWAY);
    unreachable!()
}

/// Stays, without using anything.
fn stay() -> ! {
    loop {
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let all = [
        processor::ALL,
        memory::ALL,
        handles::ALL,
        logs::ALL,
        disk::ALL,
        paths::ALL,
        network::ALL,
        servers::ALL,
        lists::ALL,
    ]
    .concat();
    match all.iter().find(|(name, _)| *name == wanted) {
        Some((_, deed)) => deed(),
        None => {
            let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
            eprintln!("{wanted:?} is none of {}", names.join(" "));
            std::process::exit(1);
        }
    }
}
