//! A key-value server that speaks enough of Redis' protocol for `redis-cli`, and a client of it.
//!
//! ```text
//! kv serve [ADDRESS [DIRECTORY]]  serves, by default on 0.0.0.0:6379; what it is told is kept in the directory, if there is one
//! kv HOST:PORT COMMAND [ARG]…     says COMMAND to a server and prints its answer
//! ```
//! Commands: PING ECHO GET SET DEL EXISTS INCR DECR INCRBY APPEND STRLEN KEYS DBSIZE FLUSHALL INFO QUIT.
//!
//! Nothing here knows that it is WebAssembly: sockets of the standard library, and `poll` to wait for several.

mod client;
mod journal;
mod resp;
mod server;
mod store;

use std::env;
use std::process::ExitCode;

const ADDRESS: &str = "0.0.0.0:6379";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [] | ["serve"] => server::serve(ADDRESS, None),
        ["serve", address] => server::serve(address, None),
        ["serve", address, directory] => server::serve(address, Some(directory)),
        [server, command @ ..] if !command.is_empty() => client::say(server, command),
        _ => Err("kv serve [ADDRESS [DIRECTORY]] | kv HOST:PORT COMMAND [ARG]...".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kv: {error}");
            ExitCode::FAILURE
        }
    }
}
