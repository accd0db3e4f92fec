//! Programs about files and what is in them.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};

use crate::{Streams, about};

/// The files of the arguments one after another, or the standard input.
pub(crate) fn cat(args: &[&str], streams: &mut Streams<'_>) -> io::Result<()> {
    let files = if args.is_empty() { &["-"] } else { args };
    files.iter().try_for_each(|file| pass(&mut *open(file, streams.input)?, streams.output).map_err(about(file)))
}

/// Passes on each piece as it comes: whoever reads need not wait for the end.
pub(crate) fn pass(input: &mut dyn Read, output: &mut dyn Write) -> io::Result<()> {
    let mut piece = [0; 16 << 10];
    loop {
        match input.read(&mut piece)? {
            0 => return Ok(()),
            read => {
                output.write_all(&piece[..read])?;
                output.flush()?;
            }
        }
    }
}

fn open<'a>(file: &str, input: &'a mut dyn Read) -> io::Result<Box<dyn Read + 'a>> {
    match file {
        "-" => Ok(Box::new(input)),
        file => Ok(Box::new(File::open(file).map_err(about(file))?)),
    }
}

/// What `-c` or `-n` counts, and of which file.
struct Part<'a> {
    bytes: bool,
    /// As it stands: `tail` reads `+N` as "from the N-th".
    count: &'a str,
    file: &'a str,
}

fn part<'a>(args: &[&'a str]) -> io::Result<Part<'a>> {
    let mut part = Part { bytes: false, count: "10", file: "-" };
    let mut rest = args.iter();
    while let Some(&word) = rest.next() {
        let (bytes, count) = match word.as_bytes() {
            [b'-', b'c', ..] => (true, &word[2..]),
            [b'-', b'n', ..] => (false, &word[2..]),
            [b'-', b'0'..=b'9', ..] => (false, &word[1..]),
            _ => {
                part.file = word;
                continue;
            }
        };
        part.bytes = bytes;
        part.count = if count.is_empty() { rest.next().copied().unwrap_or_default() } else { count };
    }
    Ok(part)
}

fn number(count: &str) -> io::Result<usize> {
    count.trim_start_matches('+').parse().map_err(|_| io::Error::other(format!("{count:?} is not a number")))
}

/// `head [-n LINES | -c BYTES] [FILE]`.
pub(crate) fn head(args: &[&str], streams: &mut Streams<'_>) -> io::Result<()> {
    let Part { bytes, count, file } = part(args)?;
    let count = number(count)?;
    let input = open(file, streams.input)?;
    if bytes {
        return pass(&mut input.take(count as u64), streams.output);
    }
    let mut input = BufReader::new(input);
    for _ in 0..count {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        streams.output.write_all(&line)?;
    }
    Ok(())
}

/// `tail [-n LINES | -c BYTES] [FILE]`; `+N` is "from the N-th on".
pub(crate) fn tail(args: &[&str], streams: &mut Streams<'_>) -> io::Result<()> {
    let Part { bytes, count, file } = part(args)?;
    let from = count.starts_with('+');
    let count = number(count)?;
    let mut input = open(file, streams.input)?;
    if bytes && from {
        io::copy(&mut input.by_ref().take(count.saturating_sub(1) as u64), &mut io::sink())?;
        return pass(&mut *input, streams.output);
    }
    if bytes {
        let mut all = Vec::new();
        input.read_to_end(&mut all)?;
        return streams.output.write_all(&all[all.len().saturating_sub(count)..]);
    }
    let (mut input, mut last, mut passed) = (BufReader::new(input), VecDeque::new(), 0);
    loop {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        passed += 1;
        if from && passed >= count {
            streams.output.write_all(&line)?;
        } else if !from {
            last.push_back(line);
            if last.len() > count {
                last.pop_front();
            }
        }
    }
    last.iter().try_for_each(|line| streams.output.write_all(line))
}

/// `wc [-c|-l] [FILE]`: lines, words and bytes.
pub(crate) fn wc(args: &[&str], streams: &mut Streams<'_>) -> io::Result<()> {
    let (only, file) = match args {
        ["-c", rest @ ..] => (Some(2), rest.first()),
        ["-l", rest @ ..] => (Some(0), rest.first()),
        rest => (None, rest.first()),
    };
    let mut input = open(file.copied().unwrap_or("-"), streams.input)?;
    let (mut counts, mut in_word, mut piece) = ([0_u64; 3], false, [0; 16 << 10]);
    loop {
        let read = input.read(&mut piece)?;
        if read == 0 {
            break;
        }
        for byte in &piece[..read] {
            let is_space = byte.is_ascii_whitespace();
            counts[0] += u64::from(*byte == b'\n');
            counts[1] += u64::from(in_word && is_space);
            counts[2] += 1;
            in_word = !is_space;
        }
    }
    counts[1] += u64::from(in_word);
    match only {
        Some(which) => writeln!(streams.output, "{}", counts[which]),
        None => writeln!(streams.output, "{} {} {}", counts[0], counts[1], counts[2]),
    }
}

/// `ls [-l|-a] [PATH]…`: names, one a line; with `-l` what they are and how large.
pub(crate) fn ls(args: &[&str], streams: &mut Streams<'_>) -> io::Result<()> {
    let (flags, paths): (Vec<&str>, Vec<&str>) = args.iter().partition(|word| word.starts_with('-'));
    let flag = |letter: char| flags.iter().any(|flag| flag.contains(letter));
    let paths = if paths.is_empty() { vec!["."] } else { paths };
    for path in &paths {
        let found = fs::metadata(path).map_err(about(path))?;
        let mut names = vec![(*path).to_owned()];
        if found.is_dir() {
            let entries = fs::read_dir(path).map_err(about(path))?;
            let entries = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            names = entries.collect::<io::Result<_>>()?;
            names.retain(|name| flag('a') || !name.starts_with('.'));
            names.sort();
        }
        for name in names {
            if !flag('l') {
                writeln!(streams.output, "{name}")?;
                continue;
            }
            let whole = if found.is_dir() { format!("{path}/{name}") } else { name.clone() };
            let (kind, bytes) =
                fs::metadata(whole).map_or(('?', 0), |one| (if one.is_dir() { 'd' } else { '-' }, one.len()));
            writeln!(streams.output, "{kind} {bytes:>10} {name}")?;
        }
    }
    Ok(())
}

/// `mkdir [-p] PATH…`.
pub(crate) fn mkdir(args: &[&str]) -> io::Result<()> {
    let parents = args.contains(&"-p");
    args.iter().filter(|word| !word.starts_with('-')).try_for_each(|path| {
        let made = if parents { fs::create_dir_all(path) } else { fs::create_dir(path) };
        made.map_err(about(path))
    })
}

/// `rm [-r] [-f] PATH…`.
pub(crate) fn rm(args: &[&str]) -> io::Result<()> {
    let (flags, paths): (Vec<&str>, Vec<&str>) = args.iter().partition(|word| word.starts_with('-'));
    let flag = |letter: char| flags.iter().any(|flag| flag.contains(letter));
    paths.iter().try_for_each(|path| {
        let is_folder = flag('r') && fs::metadata(path).is_ok_and(|found| found.is_dir());
        match if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) } {
            Err(error) if flag('f') && error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(about(path)),
        }
    })
}

/// `touch FILE…`.
pub(crate) fn touch(args: &[&str]) -> io::Result<()> {
    args.iter()
        .try_for_each(|path| OpenOptions::new().create(true).append(true).open(path).map(drop).map_err(about(path)))
}
