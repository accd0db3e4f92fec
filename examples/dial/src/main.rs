//! A client that does what it is asked with sockets, and says how it went: the tests' tool, and one for
//! `kubectl exec`.
//!
//! ```text
//! dial connect ADDRESS                connects; says both addresses
//! dial echo ADDRESS BYTES [SOCKETS]   sends so many bytes over each of so many connections at once, and expects them back
//! dial half ADDRESS                   says a word, ends its half, and prints what it hears until the other half ends
//! dial flood ADDRESS                  writes until no more is taken, says how many bytes that were, and waits
//! dial take ADDRESS                   takes one connection, writes until the other side goes, says how that looked
//! dial udp ADDRESS TEXT               sends a datagram, prints the answer
//! dial ask ADDRESS SOCKETS            sends a datagram from each of so many sockets, says who answered what
//! dial tell ADDRESS                   answers every datagram with its host's name
//! dial lookup NAME                    prints a name's addresses
//! dial open ADDRESS SOCKETS           opens so many connections and says how many it got
//! dial rounds ADDRESS COUNT BYTES     so many questions and answers, one after another; says how long one took
//! dial states                         tries wasi:sockets itself, right and wrong
//! ```

mod states;
mod talk;

use std::error::Error;
use std::process::ExitCode;

pub type Done = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match act(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dial: {error}");
            ExitCode::FAILURE
        }
    }
}

fn act(words: &[&str]) -> Done {
    match words {
        ["connect", address] => talk::connect(address),
        ["echo", address, bytes] => talk::echo(address, bytes.parse()?, 1),
        ["echo", address, bytes, sockets] => talk::echo(address, bytes.parse()?, sockets.parse()?),
        ["half", address] => talk::half(address),
        ["flood", address] => talk::flood(address),
        ["take", address] => talk::take(address),
        ["udp", address, text] => talk::udp(address, text),
        ["ask", address, sockets] => talk::ask(address, sockets.parse()?),
        ["tell", address] => talk::tell(address),
        ["lookup", name] => talk::lookup(name),
        ["open", address, sockets] => talk::open(address, sockets.parse()?),
        ["rounds", address, count, bytes] => talk::rounds(address, count.parse()?, bytes.parse()?),
        ["states"] => states::check_all(),
        _ => Err("what is to be done? dial connect|echo|half|flood|take|udp|ask|tell|lookup|open|rounds|states".into()),
    }
}
