use serde_json::json;

use super::*;
use crate::Reason;

/// Writes what Go clients write: the other direction exists only to test this one.
fn encode(message: &Message, value: &Map<String, Value>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut tags: Vec<_> = message.tags.iter().collect();
    tags.sort_unstable_by_key(|(tag, _)| **tag);
    for (tag, field) in tags {
        if let (true, Type::Message(inner)) = (field.inline, field.of) {
            let body = encode(schema::message(inner).expect("listed"), value);
            out.extend(delimited(*tag, &body));
            continue;
        }
        match (field.shape, value.get(field.name)) {
            (_, None) => {}
            (Shape::One, Some(value)) => out.extend(encode_one(*tag, field, value)),
            (Shape::List, Some(list)) => {
                let items = list.as_array().into_iter().flatten();
                out.extend(items.flat_map(|item| encode_one(*tag, field, item)));
            }
            (Shape::Map, Some(map)) => {
                for (key, value) in map.as_object().into_iter().flatten() {
                    let entry = [delimited(1, key.as_bytes()), encode_one(2, field, value)].concat();
                    out.extend(delimited(*tag, &entry));
                }
            }
        }
    }
    out
}

fn encode_one(tag: u32, field: &Field, value: &Value) -> Vec<u8> {
    let text = || value.as_str().unwrap_or_default();
    match field.of {
        Type::Bool => number(tag, u64::from(value.as_bool().unwrap_or_default())),
        Type::Int32 | Type::Int64 => number(tag, value.as_i64().unwrap_or_default() as u64),
        Type::String => delimited(tag, text().as_bytes()),
        Type::Bytes => delimited(tag, &BASE64.decode(text()).expect("base64")),
        Type::Quantity => delimited(tag, &delimited(1, text().as_bytes())),
        Type::Time | Type::MicroTime => {
            let time: Timestamp = text().parse().expect("a time");
            let parts = [number(1, time.as_second() as u64), number(2, time.subsec_nanosecond() as u64)];
            delimited(tag, &parts.concat())
        }
        Type::IntOrString => delimited(
            tag,
            &match value {
                Value::String(text) => [number(1, 1), number(2, 0), delimited(3, text.as_bytes())].concat(),
                other => {
                    [number(1, 0), number(2, other.as_i64().unwrap_or_default() as u64), delimited(3, b"")].concat()
                }
            },
        ),
        Type::Any => delimited(tag, &delimited(1, value.to_string().as_bytes())),
        Type::Texts => {
            let texts = value.as_array().into_iter().flatten();
            delimited(
                tag,
                &texts.flat_map(|one| delimited(1, one.as_str().unwrap_or_default().as_bytes())).collect::<Vec<_>>(),
            )
        }
        Type::Double => {
            let bits = value.as_f64().unwrap_or_default().to_bits().to_le_bytes();
            [varint(u64::from(tag) << 3 | 1), bits.to_vec()].concat()
        }
        Type::SchemaOr => {
            let message = schema::message(schema::SCHEMA).expect("listed");
            match value {
                Value::Bool(allows) => delimited(tag, &number(1, u64::from(*allows))),
                value => delimited(tag, &delimited(1, &encode(message, value.as_object().expect("an object")))),
            }
        }
        Type::Message(inner) => {
            let message = schema::message(inner).expect("listed");
            delimited(tag, &encode(message, value.as_object().expect("an object")))
        }
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

fn number(tag: u32, value: u64) -> Vec<u8> {
    [varint(u64::from(tag) << 3), varint(value)].concat()
}

fn delimited(tag: u32, body: &[u8]) -> Vec<u8> {
    [varint(u64::from(tag) << 3 | 2), varint(body.len() as u64), body.to_vec()].concat()
}

fn envelope(value: &Value) -> Vec<u8> {
    let (version, kind) = (value["apiVersion"].as_str().expect("told"), value["kind"].as_str().expect("told"));
    let identity = [delimited(1, version.as_bytes()), delimited(2, kind.as_bytes())].concat();
    let raw = encode(message_of(version, kind).expect("listed"), value.as_object().expect("an object"));
    [MAGIC, &delimited(1, &identity), &delimited(2, &raw)].concat()
}

fn check(value: Value) {
    assert_eq!(decode(&envelope(&value)).expect("readable"), value);
}

#[test]
fn what_clients_create_is_read_back() {
    check(
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "hello", "labels": {"app": "hello", "empty": ""}},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "hello"}}, "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "25%"}},
            "template": {"metadata": {"labels": {"app": "hello"}}, "spec": {"automountServiceAccountToken": false, "containers": [
                {"name": "main", "image": "hello:v1", "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}],
                 "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5},
                 "resources": {"limits": {"cpu": "100m", "memory": "1Gi"}}}],
                "volumes": [{"name": "v", "emptyDir": {}}]}}}}),
    );
    check(json!({"apiVersion": "v1", "kind": "Secret", "data": {"k": "dmFsdWU="}, "type": "Opaque"}));
    check(
        json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}], "selector": {"a": "b"}}}),
    );
    check(
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {"rules": [{"host": "a.b", "http": {"paths": [
        {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}),
    );
    check(
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"creationTimestamp": "2026-11-21T05:13:14Z"},
        "spec": {"renewTime": "2026-11-21T05:13:14.000005Z", "leaseDurationSeconds": 40}}),
    );
}

#[test]
fn options_bindings_evictions_and_scales_are_read_too() {
    check(
        json!({"apiVersion": "apps/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "propagationPolicy": "Background", "dryRun": ["All"]}),
    );
    check(
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 0}}),
    );
    check(
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}),
    );
    check(json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 2}}));
}

#[test]
fn zero_values_and_empty_times_are_left_out() {
    let empty_time = delimited(8, b"");
    let metadata = [delimited(1, b"x"), delimited(2, b""), empty_time].concat();
    let raw = [delimited(1, &metadata), delimited(3, b"")].concat();
    let identity = [delimited(1, b"v1"), delimited(2, b"Namespace")].concat();
    let body = [MAGIC, &delimited(1, &identity), &delimited(2, &raw)].concat();
    let expect = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}, "status": {}});
    assert_eq!(decode(&body).expect("readable"), expect);
}

#[test]
fn what_cannot_be_read_is_refused() {
    assert_eq!(decode(b"{}").map_err(|refused| refused.reason), Err(Reason::BadRequest));
    let unknown = [MAGIC, &delimited(1, &delimited(2, b"Colour"))].concat();
    assert_eq!(decode(&unknown).map_err(|refused| refused.reason), Err(Reason::BadRequest));
    let whole = envelope(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}));
    assert_eq!(decode(&whole[..whole.len() - 1]).map_err(|refused| refused.reason), Err(Reason::BadRequest));
}
