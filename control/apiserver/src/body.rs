//! Reading request bodies: never more than the limit, in any of the encodings, into one tree.

use std::time::Duration;

use api::json::Parsed;
use api::{Reason, StatusError};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::negotiate::Encoding;

/// As Kubernetes has it: a body larger than that is no object.
pub(crate) const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// As Kubernetes has it: a request takes no longer.
const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// As Kubernetes has it: so much of a body that is no object is shown.
const SUMMARY_BYTES: usize = 30;

/// The whole body, if it is within the limit and comes in time.
pub(crate) async fn read(body: Body) -> Result<Bytes, StatusError> {
    within(BODY_TIME_MAX, body).await
}

async fn within(time: Duration, body: Body) -> Result<Bytes, StatusError> {
    let too_late = |_| {
        let words = "Timeout: request did not complete within the allotted timeout";
        StatusError::new(Reason::Timeout, words)
    };
    tokio::time::timeout(time, whole(body)).await.map_err(too_late)?
}

async fn whole(body: Body) -> Result<Bytes, StatusError> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(StatusError::new(
            Reason::RequestEntityTooLarge,
            format!("Request entity too large: limit is {BODY_BYTES_MAX}"),
        )),
        Err(error) => Err(StatusError::bad_request(format!("the body could not be read: {error}"))),
    }
}

/// The tree that a body says, and the paths of members that it says twice; `kind` is what it should be. Whatever is wrong with a
/// body whose type is known is the client's fault: 400, as Kubernetes has it. 415 is for types that are not known.
pub(crate) fn decode(encoding: Encoding, body: &[u8], kind: &str) -> Result<Parsed, StatusError> {
    let unrecognized = |error: &dyn std::fmt::Display| {
        let summary = hex::encode(&body[..body.len().min(SUMMARY_BYTES)]);
        let more = if body.len() > SUMMARY_BYTES { " ..." } else { "" };
        StatusError::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {error} ({summary}{more})"
        ))
    };
    match encoding {
        Encoding::Json => {
            let wrong = |why: String| unrecognized(&format_args!("couldn't get version/kind; json parse error: {why}"));
            let parsed = api::json::parse(body).map_err(wrong)?;
            match api::identity_complaint(&parsed.value) {
                Some(why) => Err(wrong(why)),
                None => Ok(parsed),
            }
        }
        Encoding::Yaml => {
            let text = std::str::from_utf8(body).map_err(|error| unrecognized(&error))?;
            // As Kubernetes reads it: `name: y` names something y, and a mode of 0400 is octal.
            let options = serde_saphyr::options! { strict_booleans: true, legacy_octal_numbers: true };
            let value = serde_saphyr::from_str_with_options(text, options)
                .map_err(|error| StatusError::bad_request(format!("error converting YAML to JSON: {error}")))?;
            Ok(Parsed { value, duplicates: Vec::new() })
        }
        Encoding::Protobuf => {
            let value = api::protobuf::decode(body).map_err(|error| unrecognized(&error))?;
            Ok(Parsed { value, duplicates: Vec::new() })
        }
    }
}

/// What an apply patch says: YAML, which most clients send as JSON.
pub(crate) fn decode_apply(body: &[u8]) -> Result<Parsed, StatusError> {
    match api::json::parse(body) {
        Ok(parsed) => Ok(parsed),
        Err(_) => decode(Encoding::Yaml, body, "")
            .map_err(|error| StatusError::bad_request(format!("error decoding YAML: {}", error.message))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_and_yaml_say_the_same() {
        let expect = json!({"kind": "ConfigMap", "data": {"a": "1"}});
        let said = |encoding, text: &str| decode(encoding, text.as_bytes(), "ConfigMap").map(|parsed| parsed.value);
        assert_eq!(said(Encoding::Json, r#"{"kind":"ConfigMap","data":{"a":"1"}}"#), Ok(expect.clone()));
        assert_eq!(said(Encoding::Yaml, "kind: ConfigMap\ndata:\n  a: \"1\"\n"), Ok(expect));
        let (yaml, json) = ("spec: {mode: 0400, name: y}", r#"{"spec":{"mode":256,"name":"y"}}"#);
        assert_eq!(said(Encoding::Yaml, yaml), said(Encoding::Json, json));
    }

    #[test]
    fn an_apply_patch_is_json_or_yaml() {
        let said = |text: &str| decode_apply(text.as_bytes()).map(|parsed| parsed.value);
        assert_eq!(said(r#"{"data": {"a": "y"}}"#), Ok(json!({"data": {"a": "y"}})));
        assert_eq!(said("data: {a: y}"), Ok(json!({"data": {"a": "y"}})));
        let refused = said("data: {a: y").expect_err("no YAML");
        assert!(refused.code() == 400 && refused.message.starts_with("error decoding YAML: "), "{refused}");
    }

    #[test]
    fn what_is_no_object_is_a_bad_request() {
        let refused = |encoding, body: &[u8]| {
            let error = decode(encoding, body, "ConfigMap").expect_err("no object");
            format!("{} {}", error.code(), error.message)
        };
        assert!(refused(Encoding::Json, b"{").starts_with(
            "400 the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: "
        ));
        assert_eq!(
            refused(Encoding::Protobuf, b"{}"),
            "400 the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] (7b7d)"
        );
        let unicorn = b"k8s\0\x0a\x0d\x0a\x02v1\x12\x07Unicorn";
        assert_eq!(
            refused(Encoding::Protobuf, unicorn),
            "400 the object provided is unrecognized (must be of type ConfigMap): no kind \"Unicorn\" is registered for version \"v1\" (6b3873000a0d0a0276311207556e69636f726e)"
        );
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        let refused = read(Body::from(vec![b' '; BODY_BYTES_MAX + 1])).await.expect_err("too large");
        assert_eq!((refused.code(), refused.message.as_str()), (413, "Request entity too large: limit is 3145728"));
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let drops = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(7)).await;
            Some((Ok::<_, std::convert::Infallible>("{"), ()))
        });
        let refused = within(Duration::from_millis(30), Body::from_stream(drops)).await.expect_err("it takes for ever");
        assert_eq!(refused.to_string(), "Timeout: request did not complete within the allotted timeout");
    }

    /// A body that is small and would become large, or deep, is refused before it is.
    #[test]
    fn a_bomb_does_not_go_off() {
        let refused = |encoding, body: &str| {
            let error = decode(encoding, body.as_bytes(), "ConfigMap").expect_err("no object");
            error.code()
        };
        let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
        for level in 1..12 {
            let before = level - 1;
            let nine = vec![format!("*a{before}"); 9].join(", ");
            laughs = format!("{laughs}a{level}: &a{level} [{nine}]\n");
        }
        assert_eq!(refused(Encoding::Yaml, &laughs), 400);
        assert_eq!(refused(Encoding::Yaml, &"[".repeat(100_000)), 400);
        assert_eq!(refused(Encoding::Yaml, &"{a: ".repeat(100_000)), 400);
        assert_eq!(refused(Encoding::Json, &"[".repeat(1_000_000)), 400);
        assert_eq!(refused(Encoding::Json, &"{\"a\":".repeat(100_000)), 400);
    }
}
