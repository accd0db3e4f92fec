//! A command that writes a line now and then, and ends as it is told to.
//!
//! ```text
//! ticker [--every MS] [--count N] [--text TEXT] [END]
//!   --every MS    milliseconds between lines (default 1000)
//!   --count N     lines before the end; without it there is no end
//!   --text TEXT   what a line says (default: $TEXT, else "tick")
//! END, after the last line (by default: exit 0)
//!   --exit CODE   exits with that code
//!   --panic       panics, which is a trap
//!   --eat         allocates until there is no more
//!   --spin        never yields again
//! ```
//! A line goes to standard output and to standard error; the second says so.

use std::hint::black_box;
use std::time::Duration;
use std::{env, thread};

const MIB: usize = 1 << 20;

struct Ticker {
    every: Duration,
    count: Option<u64>,
    text: String,
    end: End,
}

enum End {
    Exit(u8),
    Panic,
    Eat,
    Spin,
}

fn main() {
    match Ticker::parse(env::args().skip(1)) {
        Ok(ticker) => ticker.run(),
        Err(reason) => {
            eprintln!("ticker: {reason}");
            exit(2);
        }
    }
}

// === impl Ticker ===

impl Ticker {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut ticker = Ticker {
            every: Duration::from_secs(1),
            count: None,
            text: env::var("TEXT").unwrap_or_else(|_| "tick".into()),
            end: End::Exit(0),
        };
        while let Some(flag) = args.next() {
            let mut value = || args.next().ok_or(format!("{flag} needs a value"));
            match flag.as_str() {
                "--every" => ticker.every = Duration::from_millis(number(&value()?)?),
                "--count" => ticker.count = Some(number(&value()?)?),
                "--text" => ticker.text = value()?,
                "--exit" => ticker.end = End::Exit(number(&value()?)?),
                "--panic" => ticker.end = End::Panic,
                "--eat" => ticker.end = End::Eat,
                "--spin" => ticker.end = End::Spin,
                _ => return Err(format!("what is {flag}?")),
            }
        }
        Ok(ticker)
    }

    fn run(&self) {
        let mut line = 0;
        while self.count.is_none_or(|count| line < count) {
            if line > 0 {
                thread::sleep(self.every);
            }
            line += 1;
            println!("{} {line}", self.text);
            eprintln!("{} {line}, to standard error", self.text);
        }
        self.end.come();
    }
}

// === impl End ===

impl End {
    fn come(&self) {
        match self {
            End::Exit(code) => exit(*code),
            End::Panic => panic!("asked to panic"),
            End::Eat => eat(),
            End::Spin => spin(),
        }
    }
}

fn eat() {
    let mut eaten = Vec::new();
    loop {
        eaten.push(black_box(vec![1_u8; MIB]));
        println!("ate {} MiB", eaten.len());
    }
}

fn spin() {
    loop {
        black_box(());
    }
}

/// The standard library knows only "ended well" and "ended badly"; WASI can say which code.
fn exit(code: u8) {
    wasip2::cli::exit::exit_with_code(code);
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{text} is not a number that fits"))
}
