//! Programs that need no files: words out, time, the environment.

use std::io::{self, IsTerminal};
use std::time::Duration;
use std::{env, fs, thread};

use crate::{Code, FAILED, MISUSED, Streams};

pub(crate) fn echo(args: &[&str], streams: &mut Streams<'_>) -> io::Result<()> {
    match args {
        ["-n", words @ ..] => write!(streams.output, "{}", words.join(" ")),
        words => writeln!(streams.output, "{}", words.join(" ")),
    }
}

/// `env`, `env NAME`: all variables, or the value of one.
pub(crate) fn env(args: &[&str], streams: &mut Streams<'_>) -> Code {
    let written = match args {
        [] => env::vars().try_for_each(|(name, value)| writeln!(streams.output, "{name}={value}")),
        [name, ..] => match env::var(name) {
            Ok(value) => writeln!(streams.output, "{value}"),
            Err(_) => return FAILED,
        },
    };
    u8::from(written.is_err())
}

pub(crate) fn hostname(streams: &mut Streams<'_>) -> io::Result<()> {
    writeln!(streams.output, "{}", env::var("HOSTNAME").unwrap_or_default())
}

pub(crate) fn pwd(streams: &mut Streams<'_>) -> io::Result<()> {
    writeln!(streams.output, "{}", env::current_dir()?.display())
}

/// `seq LAST`: numbers from one.
pub(crate) fn seq(args: &[&str], streams: &mut Streams<'_>) -> io::Result<()> {
    let last = args.first().and_then(|last| last.parse::<u64>().ok());
    let last = last.ok_or_else(|| io::Error::other("seq LAST"))?;
    (1..=last).try_for_each(|number| writeln!(streams.output, "{number}"))
}

/// `sleep SECONDS`, `sleep infinity`.
pub(crate) fn sleep(args: &[&str]) -> io::Result<()> {
    const DAY: Duration = Duration::from_secs(86_400);
    match args {
        ["infinity" | "inf"] => loop {
            thread::sleep(DAY);
        },
        [seconds] => {
            let seconds =
                seconds.trim_end_matches('s').parse::<f64>().ok().filter(|seconds| (0.0..1e9).contains(seconds));
            let seconds = seconds.ok_or_else(|| io::Error::other("sleep SECONDS"))?;
            thread::sleep(Duration::from_secs_f64(seconds));
            Ok(())
        }
        _ => Err(io::Error::other("sleep SECONDS")),
    }
}

/// `test -d|-e|-f|-n|-z WORD`, `test WORD = WORD`, `test WORD != WORD`, `test WORD`.
pub(crate) fn test(args: &[&str]) -> Code {
    let holds = match args {
        [] => false,
        ["-d", path] => fs::metadata(path).is_ok_and(|found| found.is_dir()),
        ["-e", path] => fs::metadata(path).is_ok(),
        ["-f", path] => fs::metadata(path).is_ok_and(|found| found.is_file()),
        ["-n", word] | [word] => !word.is_empty(),
        ["-z", word] => word.is_empty(),
        [left, "=", right] => left == right,
        [left, "!=", right] => left != right,
        _ => {
            eprintln!("test: what?");
            return MISUSED;
        }
    };
    u8::from(!holds)
}

/// Whether this is a terminal, as the three streams have it.
pub(crate) fn tty(streams: &mut Streams<'_>) -> Code {
    let [stdin, stdout, stderr] = [io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal()]
        .map(|is| if is { "tty" } else { "not a tty" });
    let written = writeln!(streams.output, "stdin: {stdin}, stdout: {stdout}, stderr: {stderr}");
    u8::from(written.is_err() || !io::stdin().is_terminal())
}

/// `yes [WORD]…`: for ever, or until nobody reads.
pub(crate) fn yes(args: &[&str], streams: &mut Streams<'_>) -> io::Result<()> {
    let line = if args.is_empty() { "y".to_owned() } else { args.join(" ") };
    let lines = format!("{line}\n").repeat(512);
    loop {
        streams.output.write_all(lines.as_bytes())?;
    }
}
