//! A box of small programs: the name it is called by says which. `kubectl exec`, `kubectl cp` and `kubectl debug` find here what
//! they ask for: a shell, `cat`, `ls`, `env`, `tar`.
//!
//! Called `box` it takes its program from the first argument (`box ls /data`), and without one it is the shell.

mod files;
mod shell;
mod tar;
mod words;

use std::env;
use std::io::{self, Read, Write};

/// What a program reads and writes; what it has to complain about goes to standard error.
struct Streams<'a> {
    input: &'a mut dyn Read,
    output: &'a mut dyn Write,
}

/// How a program ended: its exit code.
type Code = u8;

/// What a shell says of a program that it does not know, and a program of arguments that it cannot read.
const NOT_FOUND: Code = 127;
const MISUSED: Code = 2;
const FAILED: Code = 1;

fn main() {
    let words: Vec<String> = env::args().collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let streams = &mut Streams { input: &mut input, output: &mut output };
    let code = match words.as_slice() {
        [own, name, args @ ..] if base(own) == OWN_NAME => run(name, args, streams),
        [name, args @ ..] if base(name) != OWN_NAME => run(name, args, streams),
        _ => shell::shell(&[], streams),
    };
    let _ = streams.output.flush();
    leave(code)
}

/// Ends with this code; the standard library's way tells only good from bad.
fn leave(code: Code) {
    wasip2::cli::exit::exit_with_code(code);
}

/// What the whole is called.
const OWN_NAME: &str = "box";

/// Runs a program to its end.
fn run(name: &str, args: &[&str], streams: &mut Streams<'_>) -> Code {
    let done = match base(name) {
        "sh" | "bash" => return shell::shell(args, streams),
        "test" => return words::test(args),
        "[" => return words::test(args.strip_suffix(&["]"]).unwrap_or(args)),
        "cat" => files::cat(args, streams),
        "echo" => words::echo(args, streams),
        "env" | "printenv" => return words::env(args, streams),
        "false" => return FAILED,
        "head" => files::head(args, streams),
        "hostname" => words::hostname(streams),
        "ls" => files::ls(args, streams),
        "mkdir" => files::mkdir(args),
        "pwd" => words::pwd(streams),
        "rm" => files::rm(args),
        "seq" => words::seq(args, streams),
        "sleep" => words::sleep(args),
        "tail" => files::tail(args, streams),
        "tar" => tar::tar(args, streams),
        "touch" => files::touch(args),
        "true" => Ok(()),
        "tty" => return words::tty(streams),
        "wc" => files::wc(args, streams),
        "yes" => words::yes(args, streams),
        _ => {
            eprintln!("{name}: not found");
            return NOT_FOUND;
        }
    };
    match done.and_then(|()| streams.output.flush()) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{}: {error}", base(name));
            FAILED
        }
    }
}

/// `/bin/ls` is `ls`.
fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The same error, with what it is about.
fn about(what: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}
