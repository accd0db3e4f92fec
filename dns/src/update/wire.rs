//! Signed messages to a name server, over TCP.

use std::time::{SystemTime, UNIX_EPOCH};

use hickory_proto::ProtoError;
use hickory_proto::op::{DnsResponse, Message, MessageType, OpCode, Query, ResponseCode, UpdateMessage};
use hickory_proto::rr::{Name, Record, RecordType, TSigVerifier};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::plan::Change;
use super::{Config, UpdateError};

/// A zone of some hundred thousand records.
const TRANSFER_BYTES_MAX: usize = 64 << 20;

/// A connection on which one signed question was asked.
struct Asked {
    stream: TcpStream,
    verifier: Option<TSigVerifier>,
}

/// All records of the zone.
pub(super) async fn transfer(config: &Config, zone: &Name) -> Result<Vec<Record>, UpdateError> {
    let mut message = Message::new(id(), MessageType::Query, OpCode::Query);
    message.add_query(Query::query(zone.clone(), RecordType::AXFR));
    let mut asked = Asked::new(config, message).await?;
    let mut records: Vec<Record> = Vec::new();
    let mut bytes = 0;
    // It begins and ends with the start of authority.
    while records.len() < 2 || records.last().is_none_or(|last| last.record_type() != RecordType::SOA) {
        let (answer, length) = asked.next().await?;
        bytes += length;
        if bytes > TRANSFER_BYTES_MAX {
            return Err(UpdateError::TooLarge(TRANSFER_BYTES_MAX));
        }
        if answer.answers.is_empty() {
            return Err(UpdateError::Refused(ResponseCode::FormErr));
        }
        records.extend_from_slice(&answer.answers);
    }
    Ok(records)
}

/// Makes all the changes, or none if the server does not agree to one.
pub(super) async fn send(config: &Config, zone: &Name, changes: &[Change]) -> Result<(), UpdateError> {
    let mut message = Message::new(id(), MessageType::Query, OpCode::Update);
    message.add_zone(Query::query(zone.clone(), RecordType::SOA));
    for change in changes {
        message.add_pre_requisites(change.prerequisites.iter().cloned());
        message.add_updates(change.updates.iter().cloned());
    }
    Asked::new(config, message).await?.next().await?;
    Ok(())
}

// === impl Asked ===

impl Asked {
    async fn new(config: &Config, mut message: Message) -> Result<Self, UpdateError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let verifier = message.finalize(&config.key.0, now.as_secs())?;
        let bytes = message.to_vec()?;
        let length = u16::try_from(bytes.len()).map_err(|_| UpdateError::TooLarge(usize::from(u16::MAX)))?;
        let mut stream = TcpStream::connect(config.server).await?;
        stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
        Ok(Self { stream, verifier })
    }

    /// The next part of the answer, and its length.
    async fn next(&mut self) -> Result<(Message, usize), UpdateError> {
        let length = usize::from(self.stream.read_u16().await?);
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).await?;
        let answer = Message::from_vec(&bytes).map_err(ProtoError::from)?;
        // Who does not know the key cannot sign the refusal.
        if answer.metadata.response_code != ResponseCode::NoError {
            return Err(UpdateError::Refused(answer.metadata.response_code));
        }
        if let Some(verifier) = &mut self.verifier {
            let _: DnsResponse = verifier.verify(&bytes)?;
        }
        Ok((answer, length))
    }
}

/// The signature tells answers apart; this only has to differ from question to question.
fn id() -> u16 {
    crate::reply::draw() as u16
}
