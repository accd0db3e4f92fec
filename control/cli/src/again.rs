//! Asking again what may be asked twice.
//!
//! What a command has begun goes on when the server dies by which it went: the next question goes to another. Until the others have
//! agreed who leads there is no answer from anybody, so the question is repeated for a while.

use std::time::Duration;

use client::ClientError;
use tokio::time::Instant;

/// Long enough for the others to elect somebody, and for a node to be linked again.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// The answer to a question that changes nothing; while there is none that lasts it is asked again.
pub(crate) async fn ask<T, F: Future<Output = Result<T, ClientError>>>(
    question: impl FnMut() -> F,
) -> Result<T, ClientError> {
    ask_for(PATIENCE, PAUSE, question).await
}

async fn ask_for<T, F: Future<Output = Result<T, ClientError>>>(
    patience: Duration,
    pause: Duration,
    mut question: impl FnMut() -> F,
) -> Result<T, ClientError> {
    let begun = Instant::now();
    loop {
        match question().await {
            Err(error) if error.may_pass() && begun.elapsed() < patience => {
                tracing::debug!(%error, "it is asked again");
                tokio::time::sleep(pause).await;
            }
            answered => return answered,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Asks somebody who says these codes one after the other, 0 for no answer; gives the last and how often he was asked.
    async fn check(patience: Duration, codes: &[u16], expect: Result<(), u16>, asked: usize) {
        let mut times = 0;
        let answer = ask_for(patience, Duration::ZERO, || {
            let code = codes[times];
            times += 1;
            let lost = |code| (code == 0).then(|| io::Error::from(io::ErrorKind::ConnectionRefused));
            async move {
                match lost(code) {
                    Some(source) => Err(ClientError::Connect { server: "s".into(), source }),
                    None if code == 200 => Ok(()),
                    None => Err(ClientError::refused(code, b"no")),
                }
            }
        });
        let answer = answer.await.map_err(|error| error.code().unwrap_or_default());
        assert_eq!((answer, times), (expect, asked), "{codes:?}");
    }

    #[tokio::test]
    async fn a_question_is_repeated_while_the_answer_may_pass_and_not_for_ever() {
        check(PATIENCE, &[200], Ok(()), 1).await;
        check(PATIENCE, &[0, 503, 200], Ok(()), 3).await;
        check(PATIENCE, &[404, 200], Err(404), 1).await;
        check(PATIENCE, &[503, 403], Err(403), 2).await;
        check(Duration::ZERO, &[0, 200], Err(0), 1).await;
    }
}
