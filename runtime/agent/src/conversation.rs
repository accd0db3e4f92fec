//! A caller at the streams of a command: pieces in, pieces out, and at last how it ended.
//!
//! What the caller does not take holds the command up, and nobody else; what the command does not read holds the caller up. When the
//! caller is gone the conversation is, and with it whatever its end was waiting for.

use std::convert::Infallible;
use std::time::Duration;

use api::stdio::{CLOSE, ERROR, Piece, Pieces, STDERR, STDIN, STDOUT};
use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use host::PipeReader;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::terminal::{self, Terminal, Typed, Wish};

/// So many pieces wait for the caller before the command waits.
const PIECES_MAX: usize = 8;
/// What a command may be ahead of its reader.
pub(crate) const PIPE_BYTES: usize = 64 << 10;
/// So many pieces wait for the command before the caller waits.
const INPUTS_MAX: usize = 8;
/// A line that is typed waits for so long to be read when others wait already.
const TYPE_AHEAD: Duration = Duration::from_millis(500);
const BELL: &[u8] = b"\x07";

/// The way into a command's standard input, which is over when the last one is dropped.
pub(crate) type Inlet = mpsc::Sender<Bytes>;

/// The streams of a command, as far as the caller wants them.
#[derive(Default)]
pub(crate) struct Conversation {
    pub(crate) stdin: Option<Inlet>,
    pub(crate) stdout: Option<PipeReader>,
    pub(crate) stderr: Option<PipeReader>,
    /// The line that is typed, where the caller is at a terminal.
    pub(crate) terminal: Option<Terminal>,
    /// Cancelled when the caller wants the command to end.
    pub(crate) interrupted: CancellationToken,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// What is still to be said on standard error.
    pub(crate) words: Option<String>,
    /// The status for the caller.
    pub(crate) status: Value,
}

/// A new standard input, and the way into it.
pub(crate) fn input() -> (host::Stdin, Inlet) {
    let (inlet, pieces) = mpsc::channel::<Bytes>(INPUTS_MAX);
    let pieces = ReceiverStream::new(pieces).map(Ok::<_, std::io::Error>);
    (host::Stdin::Stream(Box::new(tokio_util::io::StreamReader::new(pieces))), inlet)
}

// === impl Conversation ===

impl Conversation {
    /// Talks until the streams are over and `end` tells how it went. What comes back is the answer's body.
    pub(crate) fn begin(self, caller: Body, end: impl Future<Output = End> + Send + 'static) -> Body {
        let (to, pieces) = mpsc::channel(PIECES_MAX);
        let Self { stdin, stdout, stderr, terminal, interrupted } = self;
        let is_terminal = terminal.is_some();
        tokio::spawn(async move {
            let tell = async {
                let out = pass(stdout, STDOUT, is_terminal, &to);
                let err = pass(stderr, STDERR, is_terminal, &to);
                let ((), (), End { words, status }) = tokio::join!(out, err, end);
                if let Some(words) = words {
                    let channel = if is_terminal { STDOUT } else { STDERR };
                    say(&to, channel, format!("{words}\n").into_bytes(), is_terminal).await;
                }
                say(&to, ERROR, status.to_string().into_bytes(), false).await;
            };
            let heard = async {
                hear(caller, stdin, terminal, &interrupted, &to).await;
                // The caller has nothing more to say, and may still listen.
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = tell => {}
                () = heard => {}
                () = to.closed() => {}
            }
        });
        Body::from_stream(ReceiverStream::new(pieces).map(Ok::<_, Infallible>))
    }
}

async fn pass(from: Option<PipeReader>, channel: u8, is_terminal: bool, to: &mpsc::Sender<Bytes>) {
    let Some(mut from) = from else { return };
    while let Some(bytes) = from.recv().await {
        say(to, channel, bytes, is_terminal).await;
    }
}

async fn say(to: &mpsc::Sender<Bytes>, channel: u8, bytes: impl Into<Bytes>, is_terminal: bool) {
    let bytes = bytes.into();
    let bytes = if is_terminal { terminal::shown(&bytes).into() } else { bytes };
    // A caller that is gone ends the conversation elsewhere.
    let _ = to.send(Piece::new(channel, bytes).encode()).await;
}

async fn hear(
    caller: Body,
    mut stdin: Option<Inlet>,
    mut terminal: Option<Terminal>,
    interrupted: &CancellationToken,
    to: &mpsc::Sender<Bytes>,
) {
    let (mut caller, mut pieces) = (caller.into_data_stream(), Pieces::default());
    while let Some(Ok(bytes)) = caller.next().await {
        pieces.push(&bytes);
        while let Ok(Some(Piece { channel, bytes })) = pieces.take() {
            match (channel, &mut terminal) {
                (STDIN, None) => give(&mut stdin, bytes).await,
                (STDIN, Some(terminal)) => {
                    let Typed { lines, echo, wish } = terminal.typed(&bytes);
                    // The echo is as it is to be shown.
                    say(to, STDOUT, echo, false).await;
                    // What a program does not read must not keep it from being interrupted: such a line is lost, as it is
                    // where a kernel's buffer is full.
                    let given = tokio::time::timeout(TYPE_AHEAD, give(&mut stdin, lines.into())).await;
                    if given.is_err() {
                        say(to, STDOUT, BELL, false).await;
                    }
                    match wish {
                        Some(Wish::Interrupt) => interrupted.cancel(),
                        Some(Wish::End) => stdin = None,
                        None => {}
                    }
                }
                (CLOSE, _) if *bytes == [STDIN] => stdin = None,
                // The size of a terminal among others: that it has changed no guest could be told.
                _ => {}
            }
        }
    }
}

/// A command that reads no more is not written to any more; the caller is still heard out.
async fn give(stdin: &mut Option<Inlet>, bytes: Bytes) {
    if let Some(inlet) = stdin
        && !bytes.is_empty()
        && inlet.send(bytes).await.is_err()
    {
        *stdin = None;
    }
}

// === impl End ===

impl End {
    /// It went well.
    pub(crate) fn success() -> Self {
        Self { words: None, status: json!({"metadata": {}, "status": "Success"}) }
    }

    /// It ended with this code.
    pub(crate) fn code(code: i32) -> Self {
        if code == 0 {
            return Self::success();
        }
        let status = json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        });
        Self { words: None, status }
    }

    /// It did not begin.
    pub(crate) fn not_begun(why: impl std::fmt::Display) -> Self {
        let message = format!("Internal error occurred: error executing command in container: {why}");
        let status =
            json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "message": message, "code": 500});
        Self { words: None, status }
    }

    /// The same, with something to say before.
    pub(crate) fn saying(self, words: impl Into<String>) -> Self {
        Self { words: Some(words.into()), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::{Sink, pipe};

    /// Everything that a conversation says, as text: `1:hello 3:Success`.
    async fn heard(body: Body) -> String {
        let (mut body, mut pieces, mut told) = (body.into_data_stream(), Pieces::default(), Vec::new());
        while let Some(bytes) = body.next().await {
            pieces.push(&bytes.expect("it does not break"));
            while let Some(Piece { channel, bytes }) = pieces.take().expect("small pieces") {
                let text = match serde_json::from_slice::<Value>(&bytes) {
                    Ok(status) if channel == ERROR => status["status"].as_str().unwrap_or_default().to_owned(),
                    _ => String::from_utf8_lossy(&bytes).into_owned(),
                };
                told.push(format!("{channel}:{text}"));
            }
        }
        told.join(" ")
    }

    fn said(pieces: &[Piece]) -> Body {
        Body::from(pieces.iter().flat_map(Piece::encode).collect::<Vec<u8>>())
    }

    #[tokio::test]
    async fn what_is_written_comes_before_how_it_ended() {
        let (sink, stdout) = pipe(100);
        sink.write("hello\n".into()).expect("it is read");
        drop(sink);
        let talk = Conversation { stdout: Some(stdout), ..Conversation::default() };
        let body = talk.begin(Body::empty(), async { End::code(0).saying("oh") });
        assert_eq!(heard(body).await, "1:hello\n 2:oh\n 3:Success");
    }

    #[tokio::test]
    async fn input_is_given_until_it_is_closed() {
        let (inlet, mut given) = mpsc::channel(8);
        let talk = Conversation { stdin: Some(inlet), ..Conversation::default() };
        let caller =
            said(&[Piece::new(STDIN, "a"), Piece::new(STDIN, ""), Piece::new(STDIN, "b"), Piece::close(STDIN)]);
        let end = async move {
            let mut all = Vec::new();
            while let Some(bytes) = given.recv().await {
                all.extend_from_slice(&bytes);
            }
            assert_eq!(all, b"ab");
            End::code(3)
        };
        assert_eq!(heard(talk.begin(caller, end)).await, "3:Failure");
    }

    #[tokio::test]
    async fn a_terminal_echoes_and_hears_an_interrupt() {
        let (inlet, mut given) = mpsc::channel(8);
        let interrupted = CancellationToken::new();
        let talk = Conversation {
            stdin: Some(inlet),
            terminal: Some(Terminal::default()),
            interrupted: interrupted.clone(),
            ..Conversation::default()
        };
        let caller = said(&[Piece::new(STDIN, "ls\r\u{3}")]);
        let end = async move {
            assert_eq!(given.recv().await.as_deref(), Some(&b"ls\n"[..]));
            interrupted.cancelled().await;
            End::code(130).saying("bye")
        };
        assert_eq!(heard(talk.begin(caller, end)).await, "1:ls\r\n^C\r\n 1:bye\r\n 3:Failure");
    }

    #[tokio::test]
    async fn a_caller_that_goes_takes_the_command_along() {
        let (command, mut alive) = mpsc::channel::<()>(1);
        let end = async move {
            std::future::pending::<()>().await;
            drop(command);
            End::success()
        };
        let body = Conversation::default().begin(Body::empty(), end);
        drop(body);
        assert_eq!(alive.recv().await, None);
    }
}
