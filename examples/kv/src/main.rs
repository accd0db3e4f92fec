//! A key-value server that speaks enough of Redis' protocol for `redis-cli`, and a client of it.
//!
//! ```text
//! kv serve [ADDRESS [DIRECTORY]]  serves, by default on 0.0.0.0:6379; what it is told is kept in the directory, if there is one
//! kv HOST:PORT COMMAND [ARG]…     says COMMAND to a server and prints its answer
//! kv work HOST:PORT QUEUE [MS]    takes items off a list until it is empty; each is so much work
//! ```
//! Commands: PING ECHO GET SET DEL EXISTS INCR DECR INCRBY APPEND STRLEN KEYS DBSIZE FLUSHALL INFO QUIT, and of lists LPUSH RPUSH
//! LPOP RPOP LLEN LRANGE LREM RPOPLPUSH.
//!
//! Nothing here knows that it is WebAssembly: sockets of the standard library, and `poll` to wait for several.

mod client;
mod journal;
mod resp;
mod server;
mod store;
mod work;

use std::env;
use std::process::ExitCode;
use std::time::Duration;

const ADDRESS: &str = "0.0.0.0:6379";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [] | ["serve"] => server::serve(ADDRESS, None),
        ["serve", address] => server::serve(address, None),
        ["serve", address, directory] => server::serve(address, Some(directory)),
        ["work", server, queue] => work::work(server, queue, Duration::ZERO),
        ["work", server, queue, millis] => match millis.parse() {
            Ok(millis) => work::work(server, queue, Duration::from_millis(millis)),
            Err(error) => Err(format!("{millis}: {error}").into()),
        },
        [server, command @ ..] if !command.is_empty() => client::say(server, command),
        _ => Err("kv serve [ADDRESS [DIRECTORY]] | kv work HOST:PORT QUEUE [MILLISECONDS] | kv HOST:PORT COMMAND [ARG]...".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kv: {error}");
            ExitCode::FAILURE
        }
    }
}
