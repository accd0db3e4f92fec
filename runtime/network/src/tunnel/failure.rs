//! Why the other side did not do what it was asked, as a header and a few words.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::words::{FAULT, get, set};
use crate::{BoxError, Fault, Origin, Refused, Response, text};

/// Why the other side did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody listens there.
    Nobody,
    /// It was not begun with, and another may have it.
    Refused,
    /// There is no way there.
    Unreachable,
    /// Policy forbids it, or the asker is not believed.
    Denied,
    /// It took longer than this.
    TimedOut(Duration),
    /// It has come through more pods than this.
    TooManyHops(u8),
    /// The component failed.
    Trapped,
    /// Anything else.
    Failed,
}

// === impl Failure ===

impl Failure {
    /// The answer that tells it.
    pub(super) fn answer(&self, words: String) -> Response {
        let mut answer = text(StatusCode::BAD_GATEWAY, words);
        set(answer.headers_mut(), &FAULT, self);
        answer
    }

    /// The failure that an answer tells, if it does.
    pub(super) fn told(headers: &HeaderMap) -> Option<Self> {
        headers.contains_key(&FAULT).then(|| get(headers, &FAULT).unwrap_or(Self::Failed))
    }

    /// As whoever asked for a connection is told.
    pub(super) fn refusal(self, origin: &Origin, to: SocketAddr, words: String) -> Refused {
        match self {
            Self::Nobody | Self::Refused => Refused::Nobody(to),
            Self::Unreachable => Refused::Unreachable(to),
            Self::Denied => Refused::Denied { from: origin.to_string(), to },
            Self::TimedOut(limit) => Refused::TimedOut { to, limit },
            Self::TooManyHops(_) | Self::Trapped | Self::Failed => {
                Refused::Failed { to, source: std::io::Error::other(words) }
            }
        }
    }

    /// As whoever sent a request is told.
    pub(super) fn fault(self, to: SocketAddr, words: String) -> Fault {
        match self {
            Self::Nobody | Self::Refused | Self::Unreachable => Fault::Unreachable(to),
            Self::Denied => Fault::Denied(to.ip()),
            Self::TimedOut(limit) => Fault::TimedOut(limit),
            Self::TooManyHops(limit) => Fault::TooManyHops(limit),
            Self::Trapped => Fault::Trapped(BoxError::from(words)),
            Self::Failed => Fault::Connection(BoxError::from(words)),
        }
    }

    /// Whether nothing has come of what was asked, so that another may be asked the same.
    pub(super) fn is_before_all(&self) -> bool {
        matches!(self, Self::Nobody | Self::Refused | Self::Unreachable)
    }
}

impl From<&Refused> for Failure {
    fn from(refused: &Refused) -> Self {
        match refused {
            Refused::Nobody(_) => Self::Nobody,
            Refused::Unreachable(_) | Refused::NoEndpoint { .. } | Refused::NoPort { .. } => Self::Unreachable,
            Refused::Denied { .. } => Self::Denied,
            Refused::TimedOut { limit, .. } => Self::TimedOut(*limit),
            Refused::Failed { .. } => Self::Failed,
        }
    }
}

impl From<&Fault> for Failure {
    fn from(fault: &Fault) -> Self {
        match fault {
            Fault::Unreachable(_) => Self::Nobody,
            Fault::Refused(_) => Self::Refused,
            Fault::Denied(_) => Self::Denied,
            Fault::TimedOut(limit) => Self::TimedOut(*limit),
            Fault::TooManyHops(limit) => Self::TooManyHops(*limit),
            Fault::Trapped(_) => Self::Trapped,
            _ => Self::Failed,
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nobody"),
            Self::Refused => f.write_str("refused"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Denied => f.write_str("denied"),
            Self::TimedOut(limit) => write!(f, "timed-out {}", limit.as_millis()),
            Self::TooManyHops(limit) => write!(f, "too-many-hops {limit}"),
            Self::Trapped => f.write_str("trapped"),
            Self::Failed => f.write_str("failed"),
        }
    }
}

impl FromStr for Failure {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (word, number) = text.split_once(' ').unwrap_or((text, ""));
        Ok(match word {
            "nobody" => Self::Nobody,
            "refused" => Self::Refused,
            "unreachable" => Self::Unreachable,
            "denied" => Self::Denied,
            "timed-out" => Self::TimedOut(Duration::from_millis(number.parse().map_err(|_| ())?)),
            "too-many-hops" => Self::TooManyHops(number.parse().map_err(|_| ())?),
            "trapped" => Self::Trapped,
            "failed" => Self::Failed,
            _ => return Err(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_read_as_they_were_written() {
        for failure in [
            Failure::Nobody,
            Failure::Refused,
            Failure::Unreachable,
            Failure::Denied,
            Failure::TimedOut(Duration::from_millis(1500)),
            Failure::TooManyHops(32),
            Failure::Trapped,
            Failure::Failed,
        ] {
            assert_eq!(failure.to_string().parse(), Ok(failure));
        }
    }
}
