//! The servers of the cluster: which there are, how that changes, and what a new one is given.

use std::sync::Arc;

use api::level::{self, Standing};
use api::{Reason, StatusError};
use axum::extract::{Extension, Request, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use state::Snapshot;
use store::{Change, ChangeError, Cluster, MemberId, MemberStanding, Peer, Role};

use crate::answer::{self, Answer, Refusal};
use crate::identity::{BOOTSTRAP_SERVERS, Identity, unauthorized};
use crate::join::{self, AskedServer};
use crate::{Door, body, target};

/// A server, as it is told of. Numbers are text: they are larger than what other languages count with.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    id: String,
    address: String,
    role: &'static str,
    is_leader: bool,
    /// What it has said of itself.
    #[serde(flatten)]
    said: Option<level::Told>,
}

/// What is to change.
#[derive(Deserialize)]
#[serde(tag = "change", rename_all = "camelCase", deny_unknown_fields)]
enum Asked {
    Add { id: String, address: String },
    Promote { id: String },
    Remove { id: String },
    Replace { id: String, with: String },
    Lead { id: String },
}

/// Which servers there are, as this one knows them.
pub(crate) async fn list(State(door): State<Arc<Door>>) -> Answer {
    let Cluster { leader, members, .. } = door.store.cluster().borrow().clone();
    let world = door.store.snapshot();
    let standing = world.get(&level::key()).and_then(|object| Standing::read(object).ok()).unwrap_or_default();
    let members = members.into_iter().map(|member| Told {
        said: standing.servers.get(&member.peer.member.to_string()).cloned(),
        ..told(member, leader)
    });
    let (id, members) = (door.store.member().to_string(), members.collect::<Vec<_>>());
    answer::value(
        StatusCode::OK,
        &json!({"id": id, "life": door.life, "told": door.told, "level": standing.level, "members": members}),
    )
}

fn told(MemberStanding { peer, role }: MemberStanding, leader: Option<MemberId>) -> Told {
    Told {
        id: peer.member.to_string(),
        address: peer.address,
        role: match role {
            Role::Voter => "voter",
            Role::Learner => "learner",
        },
        is_leader: leader == Some(peer.member),
        said: None,
    }
}

/// Changes them; the answer is how they then are.
pub(crate) async fn change(state: State<Arc<Door>>, request: Request) -> Result<Answer, Refusal> {
    let asked = body::read(request.into_body()).await?;
    let asked: Asked = serde_json::from_slice(&asked).map_err(|error| StatusError::bad_request(error.to_string()))?;
    state.store.change(asked.change()?).await.map_err(|error| match error {
        ChangeError::Refused(reason) => StatusError::new(Reason::Conflict, reason),
        ChangeError::NoLeader | ChangeError::Closed => StatusError::new(Reason::ServiceUnavailable, error.to_string()),
    })?;
    Ok(list(state).await)
}

/// What makes a server, for whoever shows a token that says so.
pub(crate) async fn enter(
    State(door): State<Arc<Door>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Answer, Refusal> {
    let charter = door.join.as_ref().and_then(|join| join.charter.as_ref()).ok_or_else(target::nothing_here)?;
    if !identity.is_in(BOOTSTRAP_SERVERS) {
        return Err(unauthorized().into());
    }
    let asked = body::read(request.into_body()).await?;
    let asked: AskedServer =
        serde_json::from_slice(&asked).map_err(|error| StatusError::bad_request(error.to_string()))?;
    let speaks = |world: &Snapshot| {
        let refused = |why: &dyn std::fmt::Display| StatusError::new(Reason::Conflict, why.to_string());
        let at = level::in_force(world.get(&level::key())).map_err(|unreadable| refused(&unreadable))?;
        asked.levels.check(at).map_err(|foreign| refused(&foreign))
    };
    speaks(&door.store.snapshot())?;
    join::redeem(&door, &identity, &asked.machine, speaks).await?;
    tracing::info!(user = identity.user, "a server joins");
    let charter = charter().map_err(StatusError::internal)?;
    Ok(answer::value(StatusCode::OK, &json!(charter)))
}

// === impl Asked ===

impl Asked {
    fn change(self) -> Result<Change, StatusError> {
        Ok(match self {
            Self::Add { id, address } => Change::Add(Peer { member: number(&id)?, address }),
            Self::Promote { id } => Change::Promote(number(&id)?),
            Self::Remove { id } => Change::Remove(number(&id)?),
            Self::Replace { id, with } => Change::Replace { old: number(&id)?, new: number(&with)? },
            Self::Lead { id } => Change::Lead(number(&id)?),
        })
    }
}

fn number(id: &str) -> Result<MemberId, StatusError> {
    id.parse().map_err(|_| StatusError::bad_request(format!("id: {id:?} is not the number of a server")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<Change>) {
        let asked = serde_json::from_str::<Asked>(text).ok().and_then(|asked| asked.change().ok());
        assert_eq!(asked, expect, "{text}");
    }

    #[test]
    fn what_is_asked_is_understood_or_refused() {
        let peer = Peer { member: 7, address: "a:1".into() };
        check(r#"{"change":"add","id":"7","address":"a:1"}"#, Some(Change::Add(peer)));
        check(r#"{"change":"replace","id":"7","with":"8"}"#, Some(Change::Replace { old: 7, new: 8 }));
        check(r#"{"change":"remove","id":"x"}"#, None);
        check(r#"{"change":"remove","id":"7","force":true}"#, None);
        check(r#"{"change":"forget","id":"7"}"#, None);
    }
}
