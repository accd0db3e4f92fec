//! Requests that are wrong: each is refused with the code, the reason, the words and the causes that Kubernetes has for it, and
//! after all of them nothing is stored.
//!
//! The rows are in `invalid/*.txt`, the objects that they spoil in `invalid/good.yaml`. A row says what is asked at the left
//! margin and, indented below it, what is answered:
//!
//! ```text
//! create deployment: /spec/replicas = -1          the good object with members set (`= JSON`) or taken away (`-`), as a new one
//! update deployment: …                            the same, in place of the one that is there, which is called `there`
//! json|merge|strategic|apply deployment: BODY     a patch of the one that is there
//! PUT /path [content/type] | BODY                 anything else
//!   spec.replicas: Invalid value: …               a cause; alone, they make a 422 of the kind's `… is invalid` words
//!   = 400 BadRequest the words                    the answer itself, where it is not such a 422
//!   ? parameters                                  what is added to the request's query
//! let NAME = words                                said once, and `$NAME` after that
//! ```
//!
//! `<any>` in an answer stands for words that nobody can know before, such as a uid.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use harness::{Fleet, Server};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::PROGRAM;
use crate::clients::client_of;

/// A wrong request and what it is answered with.
#[derive(Debug, Default)]
struct Row {
    line: String,
    method: String,
    path: String,
    content_type: String,
    body: String,
    answer: Option<(u64, String, String)>,
    /// Field and message of each cause.
    causes: Vec<(String, String)>,
    /// The kind, the group and the name that the answer is about, where the row is about a good object.
    about: Option<[String; 3]>,
}

/// An object that nothing is wrong with.
struct Good {
    collection: String,
    value: Value,
}

/// What is there while the requests are made, by the name that the rows call it.
struct Goods(BTreeMap<String, Good>);

/// How often a pass over all rows may meet somebody else's write before it counts as theirs.
const PASSES_MAX: usize = 5;
/// What the issue asks for.
const ROWS_MIN: usize = 200;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("it/invalid")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

// === impl Goods ===

impl Goods {
    /// Each document is an object under the name that rows know it by, and its plural.
    fn read() -> Self {
        let text = read("good.yaml");
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        let goods = documents.into_iter().map(|mut document| {
            let take = |document: &mut Value, field: &str| {
                document
                    .as_object_mut()
                    .and_then(|members| members.remove(field))
                    .and_then(|found| found.as_str().map(String::from))
            };
            let name = take(&mut document, "good").expect("a name");
            let plural = take(&mut document, "plural").unwrap_or_else(|| format!("{name}s"));
            let scope = take(&mut document, "scope");
            let version = document["apiVersion"].as_str().expect("a version").to_owned();
            let door = if version.contains('/') { "apis" } else { "api" };
            let within = if scope.as_deref() == Some("cluster") { "" } else { "/namespaces/default" };
            (name, Good { collection: format!("/{door}/{version}{within}/{plural}"), value: document })
        });
        Self(goods.collect())
    }

    fn get(&self, name: &str) -> &Good {
        self.0.get(name).unwrap_or_else(|| panic!("{name} is not in good.yaml"))
    }
}

// === impl Good ===

impl Good {
    /// `one` is another's name once it is there.
    fn there_name(&self) -> String {
        self.value["metadata"]["name"].as_str().unwrap_or_default().replace("one", "there")
    }

    fn place(&self) -> String {
        format!("{}/{}", self.collection, self.there_name())
    }

    fn there(&self) -> Value {
        let mut there = self.value.clone();
        there["metadata"]["name"] = self.there_name().into();
        there
    }

    fn about(&self, value: &Value) -> [String; 3] {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let version = text(&self.value["apiVersion"]);
        let group = version.split_once('/').map(|(group, _)| group.to_owned()).unwrap_or_default();
        [text(&self.value["kind"]), group, text(&value["metadata"]["name"])]
    }
}

/// Sets or removes members: `/a/b = 1; /c -`.
fn spoil(value: &mut Value, changes: &str) {
    for change in changes.split("; /").map(|change| change.trim_start_matches('/').trim()).filter(|it| !it.is_empty()) {
        match change.split_once(" = ") {
            Some((pointer, said)) => {
                let said = serde_json::from_str(said).unwrap_or_else(|error| panic!("{change}: {error}"));
                set(value, pointer.trim(), said);
            }
            None => remove(value, change.strip_suffix('-').unwrap_or_else(|| panic!("no change: {change}")).trim()),
        }
    }
}

fn steps(pointer: &str) -> impl Iterator<Item = String> {
    pointer.split('/').map(|step| step.replace("~1", "/"))
}

fn set(mut value: &mut Value, pointer: &str, said: Value) {
    for step in steps(pointer) {
        if let Value::Array(items) = value {
            let index: usize = step.parse().unwrap_or_else(|_| panic!("{step} is no index in {pointer}"));
            items.resize(items.len().max(index + 1), json!({}));
            value = &mut items[index];
        } else {
            value = &mut value[step];
        }
    }
    *value = said;
}

fn remove(mut value: &mut Value, pointer: &str) {
    let steps: Vec<String> = steps(pointer).collect();
    let (last, parents) = steps.split_last().expect("a member");
    for step in parents {
        value = match value {
            Value::Array(items) => &mut items[step.parse::<usize>().expect("an index")],
            value => &mut value[step],
        };
    }
    let gone = value.as_object_mut().and_then(|members| members.remove(last));
    assert!(gone.is_some(), "there is no {pointer} to remove");
}

/// The rows of a file.
fn rows(text: &str, goods: &Goods) -> Vec<Row> {
    let mut words: Vec<(String, String)> = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    for raw in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let line = words.iter().fold(raw.to_owned(), |line, (name, said)| line.replace(&format!("${name}"), said));
        if let Some((name, said)) = line.strip_prefix("let ").and_then(|line| line.split_once(" = ")) {
            words.push((name.into(), said.into()));
            // The longest name first, so that none is taken for another's beginning.
            words.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        } else if let Some(told) = line.strip_prefix("  ") {
            let row = rows.last_mut().expect("an answer belongs to a request");
            if let Some(answer) = told.strip_prefix("= ") {
                let mut parts = answer.splitn(3, ' ');
                let code = parts.next().and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{raw}"));
                let reason = parts.next().unwrap_or_default().to_owned();
                row.answer = Some((code, reason, parts.next().unwrap_or_default().to_owned()));
            } else if let Some(more) = told.strip_prefix("? ") {
                row.path.push(if row.path.contains('?') { '&' } else { '?' });
                row.path.push_str(more);
            } else {
                let (field, message) = told.split_once(": ").unwrap_or_else(|| panic!("no cause: {raw}"));
                row.causes.push((field.into(), message.into()));
            }
        } else {
            rows.push(Row { line: raw.to_owned(), ..asked(&line, goods) });
        }
    }
    rows
}

fn asked(line: &str, goods: &Goods) -> Row {
    let (head, rest) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
    let json = "application/json".to_owned();
    match head.split_once(' ').unwrap_or_default() {
        ("create", name) => {
            let good = goods.get(name);
            let mut value = good.value.clone();
            spoil(&mut value, rest);
            Row {
                method: "POST".into(),
                path: good.collection.clone(),
                content_type: json,
                body: value.to_string(),
                about: Some(good.about(&value)),
                ..Row::default()
            }
        }
        ("update", name) => {
            let good = goods.get(name);
            let mut value = good.there();
            spoil(&mut value, rest);
            let (path, about) = (good.place(), Some(good.about(&good.there())));
            Row { method: "PUT".into(), path, content_type: json, body: value.to_string(), about, ..Row::default() }
        }
        (patch @ ("json" | "merge" | "strategic" | "apply"), name) => {
            let good = goods.get(name);
            let content_type = match patch {
                "json" => "application/json-patch+json",
                "merge" => "application/merge-patch+json",
                "strategic" => "application/strategic-merge-patch+json",
                _ => "application/apply-patch+yaml",
            };
            let (path, about) = (good.place(), Some(good.about(&good.there())));
            let (content_type, body) = (content_type.into(), rest.into());
            Row { method: "PATCH".into(), path, content_type, body, about, ..Row::default() }
        }
        (method, _) => {
            let (head, body) = line.split_once(" |").map_or((line, ""), |(head, body)| (head, body.trim_start()));
            let mut head = head[method.len()..].split_whitespace();
            let path = head.next().unwrap_or_else(|| panic!("no path: {line}")).to_owned();
            let content_type = head.next().map_or(json, String::from);
            Row { method: method.into(), path, content_type, body: body.into(), ..Row::default() }
        }
    }
}

/// The reason that Kubernetes gives to a cause that begins so.
fn reason(message: &str) -> &'static str {
    const REASONS: [(&str, &str); 10] = [
        ("Required value", "FieldValueRequired"),
        ("Invalid value", "FieldValueInvalid"),
        ("Duplicate value", "FieldValueDuplicate"),
        ("Unsupported value", "FieldValueNotSupported"),
        ("Forbidden", "FieldValueForbidden"),
        ("Too long", "FieldValueTooLong"),
        ("Too many", "FieldValueTooMany"),
        ("Not found", "FieldValueNotFound"),
        ("conflict with", "FieldManagerConflict"),
        ("Internal error", "InternalError"),
    ];
    let found = REASONS.iter().find(|(begin, _)| message.starts_with(begin));
    found.unwrap_or_else(|| panic!("no reason is known for {message:?}")).1
}

// === impl Row ===

impl Row {
    /// The answer as a `Status` says it: code, reason, message, causes.
    fn expected(&self) -> Value {
        let causes: Vec<Value> = self
            .causes
            .iter()
            .map(|(field, message)| json!({"reason": reason(message), "message": message, "field": field}))
            .collect();
        if let Some((code, reason, message)) = &self.answer {
            return json!({"code": code, "reason": reason, "message": message.replace("\\n", "\n"), "causes": causes});
        }
        let [kind, group, name] = self.about.clone().unwrap_or_else(|| panic!("{}: no answer is said", self.line));
        let mut told: Vec<String> = Vec::new();
        for (field, message) in &self.causes {
            let told_already = format!("{field}: {message}");
            // What is said twice is told once.
            if !told.contains(&told_already) {
                told.push(told_already);
            }
        }
        let told = if let [one] = told.as_slice() { one.clone() } else { format!("[{}]", told.join(", ")) };
        let qualified = if group.is_empty() { kind } else { format!("{kind}.{group}") };
        let message = format!("{qualified} \"{name}\" is invalid: {told}");
        json!({"code": 422, "reason": "Invalid", "message": message, "causes": causes})
    }

    /// What is wrong with what came back, if anything is.
    async fn check(&self, client: &Client) -> Result<(), String> {
        let request = http::Request::builder().method(self.method.as_str()).uri(&self.path);
        let request =
            request.header("content-type", &self.content_type).body(Body::from(self.body.clone().into_bytes()));
        let answer = client.send(request.expect("a request")).await.map_err(|error| error.to_string())?;
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        let status: Value = serde_json::from_slice(&bytes)
            .map_err(|_| format!("{code}, and no Status: {}", String::from_utf8_lossy(&bytes)))?;
        if status["kind"] != "Status" || status["code"] != code || status["status"] != "Failure" {
            return Err(format!("{code}, and no failure: {status}"));
        }
        let causes = status["details"]["causes"].as_array().cloned().unwrap_or_default();
        let found = json!({
            "code": code, "reason": status["reason"].as_str().unwrap_or_default(), "message": status["message"],
            "causes": causes,
        });
        let expected = self.expected();
        if !is_as_said(&found, &expected) {
            return Err(format!("expected {expected:#}\n   found {found:#}"));
        }
        let about = [&status["details"]["kind"], &status["details"]["group"], &status["details"]["name"]];
        match (&self.about, &self.answer) {
            (Some(expected), None) if about.map(|told| told.as_str().unwrap_or_default()) != *expected => {
                Err(format!("it is about {about:?} instead of {expected:?}"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether the answer is the one that is said, where `<any>` stands for words that nobody can know before.
fn is_as_said(found: &Value, said: &Value) -> bool {
    match (found, said) {
        (Value::String(found), Value::String(said)) => match said.split_once("<any>") {
            Some((begin, end)) => {
                let end = end.rsplit("<any>").next().unwrap_or_default();
                found.len() >= begin.len() + end.len() && found.starts_with(begin) && found.ends_with(end)
            }
            None => found == said,
        },
        (Value::Array(found), Value::Array(said)) => {
            found.len() == said.len() && found.iter().zip(said).all(|(found, said)| is_as_said(found, said))
        }
        (Value::Object(found), Value::Object(said)) => {
            found.len() == said.len()
                && found.iter().all(|(name, found)| said.get(name).is_some_and(|said| is_as_said(found, said)))
        }
        (found, said) => found == said,
    }
}

/// Every object of every kind that can be listed, and the revision of the store.
async fn everything(client: &Client) -> BTreeMap<String, Value> {
    let ask = async |path: &str| -> Value {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        client.request(request).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let mut doors = vec!["/api/v1".to_owned()];
    let groups = ask("/apis").await;
    for group in groups["groups"].as_array().into_iter().flatten() {
        let versions = group["versions"].as_array().into_iter().flatten();
        doors.extend(versions.map(|version| format!("/apis/{}", version["groupVersion"].as_str().expect("a version"))));
    }
    let mut found = BTreeMap::new();
    for door in doors {
        let resources = ask(&door).await;
        for resource in resources["resources"].as_array().into_iter().flatten() {
            let name = resource["name"].as_str().expect("a name");
            let lists = resource["verbs"].as_array().is_some_and(|verbs| verbs.contains(&"list".into()));
            // Measurements are nobody's objects.
            if lists && !name.contains('/') && !door.contains("metrics.k8s.io") {
                let path = format!("{door}/{name}");
                found.insert(path.clone(), ask(&path).await);
            }
        }
    }
    found
}

/// The objects by name and uid, whatever they say.
fn who(everything: &BTreeMap<String, Value>) -> BTreeSet<String> {
    let items = everything.iter().flat_map(|(path, list)| {
        list["items"].as_array().into_iter().flatten().map(move |item| format!("{path} {}", item["metadata"]["uid"]))
    });
    items.collect()
}

#[test]
fn requests_that_are_wrong_are_refused_as_kubernetes_does_it_and_store_nothing() {
    let goods = Goods::read();
    let files =
        std::fs::read_dir(folder()).expect("the folder of rows").map(|entry| entry.expect("readable").file_name());
    let mut files: Vec<String> = files.map(|name| name.to_string_lossy().into_owned()).collect();
    files.retain(|name| Path::new(name).extension().is_some_and(|kind| kind == "txt"));
    files.sort();
    let words = read("words.txt");
    let rows: Vec<Row> = files.iter().flat_map(|name| rows(&format!("{words}\n{}", read(name)), &goods)).collect();
    assert!(rows.len() >= ROWS_MIN, "only {} rows", rows.len());

    // Nobody runs anything here, so that nobody else has much to write.
    let fleet = Fleet::on_loopback(PROGRAM, Server::Alone, 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = client_of(&fleet.kubeconfig()).await;
        for (name, good) in &goods.0 {
            let request = http::Request::post(&good.collection).header("content-type", "application/json");
            let request = request.body(good.there().to_string().into_bytes()).expect("a request");
            client.request::<Value>(request).await.unwrap_or_else(|error| panic!("{name} is not good: {error}"));
        }
        let mut before = everything(&client).await;
        let first = who(&before);
        for pass in 1..=PASSES_MAX {
            let mut wrong = Vec::new();
            for row in &rows {
                if let Err(why) = row.check(&client).await {
                    wrong.push(format!("{}\n{why}", row.line));
                }
            }
            assert!(wrong.is_empty(), "{} of {} rows:\n\n{}", wrong.len(), rows.len(), wrong.join("\n\n"));
            let after = everything(&client).await;
            if before == after {
                eprintln!("{} wrong requests refused, nothing stored", rows.len());
                return;
            }
            // A controller was still at work on the good objects; what a request does, it would do again.
            let new: Vec<_> = who(&after).difference(&first).cloned().collect();
            assert!(pass < PASSES_MAX, "something is written in every pass; new are {new:?}");
            before = after;
        }
    });
}
