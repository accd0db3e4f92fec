//! `tar`, as far as `kubectl cp` goes: `tar cf - PATH…`, `tar -xmf - -C FOLDER`, `tar -tf -`; archives are files or `-`.
//!
//! Written is ustar with GNU's long names; read are pax and GNU's long names too, which Go's archiver writes. Links are left out:
//! a folder that is unpacked into is not left through one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::{Streams, about};

/// Archives are made of these.
const BLOCK: usize = 512;
const NAME_BYTES: usize = 100;
const FILE_MODE: u64 = 0o644;
const FOLDER_MODE: u64 = 0o755;

/// What is to be done.
#[derive(Default)]
struct Order<'a> {
    act: Option<char>,
    archive: &'a str,
    folder: PathBuf,
    paths: Vec<&'a str>,
}

/// An entry's header, as far as it matters.
struct Header {
    name: String,
    bytes: u64,
    kind: u8,
}

pub(crate) fn tar(args: &[&str], streams: &mut Streams<'_>) -> io::Result<()> {
    let order = order(args)?;
    let archive = Path::new(order.archive);
    match (order.act, order.archive) {
        (Some('c'), "-") => pack(&order, streams.output),
        (Some('c'), _) => pack(&order, &mut File::create(archive)?),
        (Some(act), "-") => unpack(&order, act, streams.input, streams.output),
        (Some(act), _) => unpack(&order, act, &mut File::open(archive)?, streams.output),
        (None, _) => Err(io::Error::other("you must specify one of -c, -t or -x")),
    }
}

fn order<'a>(args: &[&'a str]) -> io::Result<Order<'a>> {
    let mut order = Order { archive: "-", folder: PathBuf::from("."), ..Order::default() };
    let mut rest = args.iter().copied();
    let mut first = true;
    while let Some(word) = rest.next() {
        if word.starts_with("--") {
            // How owners and rights are kept means nothing here: WASI has neither.
            continue;
        }
        let letters = word.strip_prefix('-').filter(|letters| !letters.is_empty());
        // The first word is letters with or without a dash.
        let Some(letters) = letters.or(first.then_some(word)) else {
            order.paths.push(word);
            continue;
        };
        first = false;
        for letter in letters.chars() {
            let mut next = || rest.next().ok_or_else(|| io::Error::other(format!("-{letter} of what?")));
            match letter {
                'c' | 'x' | 't' => order.act = Some(letter),
                'f' => order.archive = next()?,
                'C' => order.folder = next()?.into(),
                'm' | 'v' | 'p' | 'o' => {}
                letter => return Err(io::Error::other(format!("-{letter} is not known here"))),
            }
        }
    }
    Ok(order)
}

fn pack(order: &Order<'_>, output: &mut dyn Write) -> io::Result<()> {
    for path in &order.paths {
        put(&order.folder.join(path), path.trim_start_matches('/'), output).map_err(about(path))?;
    }
    output.write_all(&[0; 2 * BLOCK])?;
    output.flush()
}

fn put(path: &Path, name: &str, output: &mut dyn Write) -> io::Result<()> {
    let found = fs::metadata(path)?;
    let changed =
        found.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_secs());
    if found.is_dir() {
        let folder = format!("{}/", name.trim_end_matches('/'));
        output.write_all(&header(&folder, 0, b'5', FOLDER_MODE, changed))?;
        let mut names: Vec<_> = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
        names.sort();
        return names
            .iter()
            .try_for_each(|inner| put(&path.join(inner), &format!("{folder}{}", inner.to_string_lossy()), output));
    }
    output.write_all(&header(name, found.len(), b'0', FILE_MODE, changed))?;
    let mut file = File::open(path)?.take(found.len());
    let copied = io::copy(&mut file, output)?;
    // A file that became shorter meanwhile is filled up: its header has gone out.
    io::copy(&mut io::repeat(0).take(found.len() - copied + padding(found.len())), output)?;
    Ok(())
}

fn header(name: &str, bytes: u64, kind: u8, mode: u64, changed: u64) -> Vec<u8> {
    if name.len() > NAME_BYTES {
        let mut long = header("././@LongLink", name.len() as u64 + 1, b'L', FILE_MODE, 0);
        long.extend_from_slice(name.as_bytes());
        long.extend(std::iter::repeat_n(0, 1 + padding(name.len() as u64 + 1) as usize));
        long.extend(header(&name[..name.floor_char_boundary(NAME_BYTES)], bytes, kind, mode, changed));
        return long;
    }
    let mut block = vec![0; BLOCK];
    let mut field = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(0, name);
    field(100, &format!("{mode:07o}"));
    field(108, "0000000");
    field(116, "0000000");
    field(124, &format!("{bytes:011o}"));
    field(136, &format!("{changed:011o}"));
    field(148, "        ");
    field(257, "ustar\u{0}00");
    block[156] = kind;
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn padding(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK as u64) - bytes
}

fn unpack(order: &Order<'_>, act: char, input: &mut dyn Read, output: &mut dyn Write) -> io::Result<()> {
    let mut long: Option<String> = None;
    while let Some(found) = next(input)? {
        let mut data = (&mut *input).take(found.bytes);
        match found.kind {
            b'L' => long = Some(text(&mut data)?.trim_end_matches('\0').to_owned()),
            b'x' => long = path_of(&text(&mut data)?).or(long),
            b'0' | 0 | b'5' => {
                let name = long.take().unwrap_or(found.name);
                if act == 't' {
                    writeln!(output, "{name}")?;
                } else {
                    take(&order.folder, &name, found.kind, &mut data).map_err(about(&name))?;
                }
            }
            _ => long = None,
        }
        io::copy(&mut data, &mut io::sink())?;
        io::copy(&mut (&mut *input).take(padding(found.bytes)), &mut io::sink())?;
    }
    // Whoever sends does not have to find that nobody reads the rest.
    io::copy(input, &mut io::sink())?;
    Ok(())
}

fn take(folder: &Path, name: &str, kind: u8, data: &mut dyn Read) -> io::Result<()> {
    let is_inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    let name = Path::new(name.trim_start_matches('/'));
    if !name.components().all(is_inside) {
        return Err(io::Error::other("it leads out of the folder"));
    }
    let path = folder.join(name);
    if kind == b'5' {
        return fs::create_dir_all(path);
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    io::copy(data, &mut File::create(path)?)?;
    Ok(())
}

/// The next header; none at the end.
fn next(input: &mut dyn Read) -> io::Result<Option<Header>> {
    let mut block = [0; BLOCK];
    match input.read_exact(&mut block) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let text = |from: usize, to: usize| {
        let field = &block[from..to];
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        String::from_utf8_lossy(&field[..end]).trim().to_owned()
    };
    let bytes = u64::from_str_radix(&text(124, 136), 8)
        .map_err(|_| io::Error::other("this does not look like a tar archive"))?;
    let prefix = if &block[257..262] == b"ustar" && block[263] == b'0' { text(345, 500) } else { String::new() };
    let name = if prefix.is_empty() { text(0, 100) } else { format!("{prefix}/{}", text(0, 100)) };
    Ok(Some(Header { name, bytes, kind: block[156] }))
}

fn text(data: &mut dyn Read) -> io::Result<String> {
    let mut text = String::new();
    data.take(64 << 10).read_to_string(&mut text)?;
    Ok(text)
}

/// The path that a pax header gives: records of `LENGTH path=VALUE`.
fn path_of(records: &str) -> Option<String> {
    records.lines().find_map(|record| Some(record.split_once(' ')?.1.strip_prefix("path=")?.to_owned()))
}
