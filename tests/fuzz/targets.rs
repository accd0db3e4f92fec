//! Every parser that faces a client, behind a function that takes any bytes. None of them may panic, or take longer than its
//! input is long; where there is a law of what goes in and comes out, it is asserted.

use api::cel::{Budget, EXPRESSION_COST_MAX, Environment, Program, Scope, Type};
use api::kinds;
use api::managed::{self, Managed, Shape, Who};
use api::quantity::Quantity;
use api::schedule::Schedule;
use api::selector::{FieldSelector, LabelSelector};
use serde_json::Value;

/// A name, and what tries it.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    ("json", json),
    ("yaml", apiserver::strangers::yaml),
    ("protobuf", protobuf),
    ("json_patch", json_patch),
    ("merge_patch", merge_patch),
    ("strategic_patch", strategic_patch),
    ("apply", apply),
    ("label_selector", label_selector),
    ("field_selector", field_selector),
    ("quantity", quantity),
    ("schedule", schedule),
    ("json_path", json_path),
    ("cel", cel),
    ("token", token),
    ("url", url),
    ("media", media),
    ("websocket", websocket),
    ("spdy", spdy),
];

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Two trees, of a list of two.
fn two(bytes: &[u8]) -> Option<(Value, Value)> {
    let [one, other]: [Value; 2] = serde_json::from_slice(bytes).ok()?;
    Some((one, other))
}

fn json(bytes: &[u8]) {
    if api::json::parse(bytes).is_ok() {
        assert_eq!(api::json::complaint(bytes), None, "what can be read is no cause for complaint");
    }
}

fn protobuf(bytes: &[u8]) {
    let _ = api::protobuf::decode(bytes);
}

fn json_patch(bytes: &[u8]) {
    let Some((one, other)) = two(bytes) else { return };
    let _ = api::patch::json(one.clone(), &other);
    let difference = serde_json::to_value(json_patch::diff(&one, &other)).expect("a patch is JSON");
    assert_eq!(api::patch::json(one, &difference), Ok(other), "a difference leads from one to the other");
}

fn merge_patch(bytes: &[u8]) {
    let Some((document, patch)) = two(bytes) else { return };
    if let Ok(once) = api::patch::merge(document, &patch) {
        assert_eq!(api::patch::merge(once.clone(), &patch), Ok(once), "twice is once");
    }
}

fn strategic_patch(bytes: &[u8]) {
    let Some((document, patch)) = two(bytes) else { return };
    let kind = api::catalog::by_kind(kinds::DEPLOYMENT).expect("in the catalog");
    let _ = api::patch::strategic(kind.names(), document, &patch);
}

fn apply(bytes: &[u8]) {
    let Some((live, config)) = two(bytes) else { return };
    let shape = Shape::of(api::catalog::by_kind(kinds::DEPLOYMENT).expect("in the catalog").names());
    let who = Who { manager: "fuzz", api_version: "apps/v1", subresource: "" };
    let now = jiff::Timestamp::UNIX_EPOCH;
    let managed = Managed::of(&live);
    let Ok(once) = managed::apply(shape, Some(&live), managed, config.clone(), who, true, now) else { return };
    let twice = managed::apply(shape, Some(&once.object), once.managed.clone(), config, who, true, now);
    assert_eq!(twice.map(|twice| twice.object), Ok(once.object), "twice is once");
}

fn label_selector(bytes: &[u8]) {
    let Some(Ok(selector)) = text(bytes).map(str::parse::<LabelSelector>) else { return };
    assert_eq!(selector.to_string().parse(), Ok(selector), "what is printed is read as the same");
}

fn field_selector(bytes: &[u8]) {
    let kind = api::catalog::by_kind(kinds::POD).expect("in the catalog");
    let _ = text(bytes).map(|text| FieldSelector::parse(text, kind));
}

fn quantity(bytes: &[u8]) {
    let Some(Ok(quantity)) = text(bytes).map(str::parse::<Quantity>) else { return };
    let printed = quantity.to_string();
    let again: Quantity = printed.parse().expect("what is printed can be read");
    assert_eq!(again.to_string(), printed, "what is printed is canonical");
}

fn schedule(bytes: &[u8]) {
    let _ = text(bytes).map(str::parse::<Schedule>);
}

fn json_path(bytes: &[u8]) {
    let Some(Ok(path)) = text(bytes).map(api::custom::JsonPath::parse) else { return };
    let object = serde_json::json!({"spec": {"items": [{"name": "a", "size": 1}, {"name": "b"}], "map": {"a.b": "c"}}});
    let _ = path.find(&object);
}

fn cel(bytes: &[u8]) {
    let Some(source) = text(bytes) else { return };
    let environment = Environment::default().with("self", Type::Dyn).with("oldSelf", Type::Dyn);
    let Ok(program) = Program::compile(source, &environment, &[Type::Dyn]) else { return };
    let object = serde_json::json!({"a": [1, 2.5, "text"], "b": {"c": null, "d": true}});
    let scope = Scope::default().bind_json("self", &object, &Type::Dyn).bind_json("oldSelf", &object, &Type::Dyn);
    let _ = program.evaluate(&scope, &mut Budget::of(EXPRESSION_COST_MAX));
}

fn token(bytes: &[u8]) {
    let _ = api::jwt::parse(bytes);
}

fn url(bytes: &[u8]) {
    let _ = text(bytes).map(apiserver::strangers::url);
}

fn media(bytes: &[u8]) {
    let _ = text(bytes).map(apiserver::strangers::media);
}

/// The first byte says how large the pieces are in which the rest comes.
fn websocket(bytes: &[u8]) {
    if let Some((piece, rest)) = bytes.split_first() {
        apiserver::strangers::websocket(rest, usize::from(*piece));
    }
}

fn spdy(bytes: &[u8]) {
    if let Some((piece, rest)) = bytes.split_first() {
        apiserver::strangers::spdy(rest, usize::from(*piece));
    }
}
