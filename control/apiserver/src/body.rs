//! Reading request bodies: never more than the limit, in any of the encodings, into one tree.

use api::json::Parsed;
use api::{Reason, StatusError};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::negotiate::Encoding;

/// As Kubernetes has it: a body larger than that is no object.
pub(crate) const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The whole body, if it is within the limit.
pub(crate) async fn read(body: Body) -> Result<Bytes, StatusError> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(StatusError::new(
            Reason::RequestEntityTooLarge,
            format!("Request entity too large: limit is {BODY_BYTES_MAX}"),
        )),
        Err(error) => Err(StatusError::bad_request(format!("the body could not be read: {error}"))),
    }
}

/// The tree that a body says, and the paths of members that it says twice.
pub(crate) fn decode(encoding: Encoding, body: &[u8]) -> Result<Parsed, StatusError> {
    match encoding {
        Encoding::Json => api::json::parse(body).map_err(unrecognized),
        Encoding::Yaml => {
            let text = std::str::from_utf8(body).map_err(unrecognized)?;
            // `name: y` names something y, as it does for Kubernetes.
            let options = serde_saphyr::options! { strict_booleans: true };
            let value = serde_saphyr::from_str_with_options(text, options)
                .map_err(|error| StatusError::bad_request(format!("error converting YAML to JSON: {error}")))?;
            Ok(Parsed { value, duplicates: Vec::new() })
        }
        Encoding::Protobuf => {
            let value = api::protobuf::decode(body).map_err(unrecognized)?;
            Ok(Parsed { value, duplicates: Vec::new() })
        }
    }
}

fn unrecognized(error: impl std::fmt::Display) -> StatusError {
    StatusError::bad_request(format!("the object provided is unrecognized: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_and_yaml_say_the_same() {
        let expect = json!({"kind": "ConfigMap", "data": {"a": "1"}});
        let said = |encoding, text: &str| decode(encoding, text.as_bytes()).map(|parsed| parsed.value);
        assert_eq!(said(Encoding::Json, r#"{"kind":"ConfigMap","data":{"a":"1"}}"#), Ok(expect.clone()));
        assert_eq!(said(Encoding::Yaml, "kind: ConfigMap\ndata:\n  a: \"1\"\n"), Ok(expect));
        assert_eq!(decode(Encoding::Json, b"{").expect_err("no JSON").code(), 400);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        let refused = read(Body::from(vec![b' '; BODY_BYTES_MAX + 1])).await.expect_err("too large");
        assert_eq!((refused.code(), refused.message.as_str()), (413, "Request entity too large: limit is 3145728"));
    }
}
