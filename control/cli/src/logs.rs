//! `coracle logs`: what a container printed, and with `-f` what it goes on to print.
//!
//! A log is its node's, and outlives the server by which it comes. When that one dies, another goes on from the time of the last line;
//! what was printed of that time already is not printed again.

use std::io::{self, Write};

use client::Incoming;
use http_body_util::BodyExt;
use jiff::Timestamp;

use crate::args::Logs;
use crate::{access, again, durations, verbs};

const ANYTHING: &str = "*/*";
/// No time is longer: what goes on for so long without a space is none.
const TIME_BYTES_MAX: usize = 40;

/// A log that is followed from one server to the next. Each of its lines comes with its time.
#[derive(Debug)]
struct Followed {
    shows_times: bool,
    /// What came of the time of a line; none in its text.
    coming: Option<Vec<u8>>,
    /// With which the last line began,
    time: Vec<u8>,
    /// and how many bytes came since the first that began with it.
    heard: usize,
    /// The same when the last server was lost, until another has begun.
    before: Option<(Vec<u8>, usize)>,
    /// So many bytes were heard before.
    known: usize,
}

/// Why printing ended early.
enum Broken {
    Connection(anyhow::Error),
    Output(io::Error),
}

pub(crate) async fn run(args: Logs) -> anyhow::Result<()> {
    let cluster = access::cluster(&args.access)?;
    let pod = verbs::pod_of(&cluster, &args.pod).await?;
    let since =
        args.since.as_deref().map(durations::parse).transpose()?.map(|since| since.as_secs().max(1).to_string());
    let tail = args.tail.map(|lines| lines.to_string());
    let path = |beginning: &[(&str, Option<&str>)]| {
        let flag = |set: bool| set.then_some("true");
        let always = [
            ("container", args.container.as_deref()),
            ("follow", flag(args.follow)),
            ("previous", flag(args.previous)),
            ("timestamps", flag(args.timestamps || args.follow)),
        ];
        let parameters = always.iter().chain(beginning);
        let given: Vec<String> = parameters.filter_map(|(name, value)| Some(format!("{name}={}", (*value)?))).collect();
        format!("/api/v1/namespaces/{}/pods/{}/log?{}", pod.namespace(), pod.name(), given.join("&"))
    };
    let first = path(&[("tailLines", tail.as_deref()), ("sinceSeconds", since.as_deref())]);
    let mut body = cluster.client.stream(&first, ANYTHING).await?;
    if !args.follow {
        return Ok(print(&mut body, |bytes, out| out.extend_from_slice(bytes)).await?);
    }
    let mut followed = Followed::new(args.timestamps);
    loop {
        match print(&mut body, |bytes, out| followed.hear(bytes, out)).await {
            Err(Broken::Connection(error)) => tracing::debug!(%error, "the log is followed by another server"),
            ended => return Ok(ended?),
        }
        let next = followed.lost().map_or_else(|| first.clone(), |time| path(&[("sinceTime", Some(&time))]));
        body = again::ask(|| cluster.client.stream(&next, ANYTHING)).await?;
    }
}

/// Prints what `shown` makes of what comes, to its end.
async fn print(body: &mut Incoming, mut shown: impl FnMut(&[u8], &mut Vec<u8>)) -> Result<(), Broken> {
    let (mut stdout, mut out) = (io::stdout(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Broken::Connection(error.into()))?;
        if let Some(bytes) = frame.data_ref() {
            shown(bytes, &mut out);
            stdout.write_all(&out).and_then(|()| stdout.flush()).map_err(Broken::Output)?;
            out.clear();
        }
    }
    Ok(())
}

// === impl Broken ===

impl From<Broken> for anyhow::Error {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Connection(error) => error.context("the log broke off"),
            Broken::Output(error) => error.into(),
        }
    }
}

// === impl Followed ===

impl Followed {
    fn new(shows_times: bool) -> Self {
        Self { shows_times, coming: Some(Vec::new()), time: Vec::new(), heard: 0, before: None, known: 0 }
    }

    /// Appends what is to be printed of what has come.
    fn hear(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let ends_with = if self.coming.is_some() { b' ' } else { b'\n' };
            let end = bytes.iter().position(|byte| *byte == ends_with);
            let (piece, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
            bytes = rest;
            match &mut self.coming {
                Some(time) => {
                    time.extend_from_slice(piece);
                    if end.is_some() || time.len() > TIME_BYTES_MAX {
                        let time = self.coming.take().unwrap_or_default();
                        self.begin(&time);
                        self.give(&time, self.shows_times, out);
                    }
                }
                None => {
                    self.give(piece, true, out);
                    self.coming = end.map(|_| Vec::new());
                }
            }
        }
    }

    /// A line begins with this time.
    fn begin(&mut self, time: &[u8]) {
        if let Some((before, heard)) = self.before.take() {
            self.known = if before == time { heard } else { 0 };
        }
        if self.time != time {
            self.time = time.to_vec();
            self.heard = 0;
        }
    }

    fn give(&mut self, piece: &[u8], is_shown: bool, out: &mut Vec<u8>) {
        self.heard += piece.len();
        let known = self.known.min(piece.len());
        self.known -= known;
        if is_shown {
            out.extend_from_slice(&piece[known..]);
        }
    }

    /// Nothing more comes from where it came; says from which time on somebody else is to be asked, if anything came.
    fn lost(&mut self) -> Option<String> {
        self.coming = Some(Vec::new());
        // One who was lost before he began changes nothing, and one who was lost in what was heard before little.
        if self.before.is_none() {
            let heard = std::mem::take(&mut self.heard) + std::mem::take(&mut self.known);
            self.before = Some((std::mem::take(&mut self.time), heard));
        }
        let (time, _) = self.before.as_ref()?;
        let time = str::from_utf8(time).ok()?.trim_end();
        time.parse::<Timestamp>().is_ok().then(|| time.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:01.000000001Z one\n2026-01-01T00:00:02.000000002Z two\n\
                       2026-01-01T00:00:02.000000002Z two again\n2026-01-01T00:00:03.000000003Z three\n";
    const TEXT: &str = "one\ntwo\ntwo again\nthree\n";

    /// What a node gives from this time on.
    fn since(time: Option<&str>) -> &'static str {
        LOG.find(time.unwrap_or_default()).map_or("", |at| &LOG[at..])
    }

    /// Hears the log, a few bytes at a time, from servers that die after so many bytes each.
    fn check(shows_times: bool, at_a_time: usize, servers: &[usize], expect: &str) {
        let (mut followed, mut out) = (Followed::new(shows_times), Vec::new());
        let mut log = LOG;
        for bytes in servers.iter().copied().chain([LOG.len()]) {
            let heard = &log.as_bytes()[..bytes.min(log.len())];
            heard.chunks(at_a_time).for_each(|piece| followed.hear(piece, &mut out));
            log = since(followed.lost().as_deref());
        }
        assert_eq!(String::from_utf8_lossy(&out), expect, "{at_a_time} at a time, {servers:?}");
    }

    #[test]
    fn every_line_is_printed_once_wherever_a_server_dies() {
        for first in 0..=LOG.len() {
            check(false, 7, &[first], TEXT);
            check(true, 16, &[first], LOG);
            for second in (0..=LOG.len()).step_by(13) {
                check(false, LOG.len(), &[first, second], TEXT);
                check(false, 1, &[first, second, 0], TEXT);
            }
        }
    }

    #[test]
    fn what_is_no_line_is_printed_too() {
        let mut out = Vec::new();
        let mut followed = Followed::new(false);
        followed.hear(&[b'x'; 100], &mut out);
        assert_eq!(followed.lost(), None);
        followed.hear(b"2026-01-01T00:00:01.000000001Z new\nlast", &mut out);
        assert_eq!(String::from_utf8_lossy(&out).trim_start_matches('x'), "new\n");
    }
}
