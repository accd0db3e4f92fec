//! `coracle get`: tables as the server prints them, or whole objects.

use std::io::Write;

use anyhow::{Context, bail};
use api::{Names, Scope};
use client::{Client, ClientError};
use http::Method;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::{self, Cluster};
use crate::again;
use crate::args::{Get, Output, Top, Used};
use crate::what::{self, What};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// A table of `meta.k8s.io/v1`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Table {
    column_definitions: Vec<ColumnDefinition>,
    rows: Vec<Row>,
    metadata: ListMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ColumnDefinition {
    name: String,
    priority: u8,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    cells: Vec<Value>,
    object: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ListMeta {
    resource_version: String,
}

/// What a table is printed with.
#[derive(Clone, Copy)]
struct Style {
    wide: bool,
    with_namespace: bool,
    /// Rows of several kinds say which kind they are.
    with_kind: bool,
}

pub(crate) async fn run(args: Get) -> anyhow::Result<()> {
    let cluster = access::cluster(&args.access)?;
    let wanted = what::parse(&cluster.client, &args.what).await?;
    match args.output {
        None | Some(Output::Wide) => tables(&cluster, &args, &wanted).await,
        Some(output) => objects(&cluster, &args, &wanted, output).await,
    }
}

/// What nodes or pods use: a table like others, of a kind that is measured.
pub(crate) async fn top(args: Top) -> anyhow::Result<()> {
    let Top { access, of, name, all_namespaces, selector } = args;
    let kind = match of {
        Used::Nodes => "nodes.metrics.k8s.io",
        Used::Pods => "pods.metrics.k8s.io",
    };
    let what = std::iter::once(kind.to_owned()).chain(name).collect();
    run(Get { access, what, all_namespaces, selector, field_selector: None, output: None, watch: false }).await
}

async fn tables(cluster: &Cluster, args: &Get, wanted: &[What]) -> anyhow::Result<()> {
    let style = |what: &What| Style {
        wide: args.output == Some(Output::Wide),
        with_namespace: args.all_namespaces && what.names.scope == Scope::Namespaced,
        with_kind: wanted.iter().any(|other| other.names != what.names),
    };
    let mut printed = 0;
    for (at, what) in wanted.iter().enumerate() {
        let path = path(cluster, args, what, &[]);
        let table: Table = as_table(&cluster.client, &path).await?;
        if !table.rows.is_empty() {
            if printed > 0 && at > 0 && style(what).with_kind {
                println!();
            }
            print!("{}", rendered(what.names, &table, style(what), true));
            printed += 1;
        }
        if args.watch {
            return watch(cluster, args, what, table, style(what)).await;
        }
    }
    if printed == 0 {
        let namespaced = wanted.iter().all(|what| what.names.scope == Scope::Namespaced);
        if namespaced && !args.all_namespaces {
            eprintln!("No resources found in {} namespace.", cluster.namespace);
        } else {
            eprintln!("No resources found");
        }
    }
    Ok(())
}

/// Prints what changes, a row per event, until the person ends it: when a server is done with it, or dies, another goes on.
async fn watch(cluster: &Cluster, args: &Get, what: &What, listed: Table, style: Style) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Told {
        r#type: String,
        object: Value,
    }
    let columns = listed.column_definitions;
    let mut after = listed.metadata.resource_version;
    loop {
        let path = path(
            cluster,
            args,
            what,
            &[("watch", "true"), ("resourceVersion", &after), ("allowWatchBookmarks", "true")],
        );
        let mut body = again::ask(|| cluster.client.stream(&path, TABLE)).await?;
        let mut buffer = Vec::new();
        // One that breaks off says so as often as it is asked.
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            buffer.extend_from_slice(&data);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let told: Told = serde_json::from_slice(&line).context("a watch event that cannot be read")?;
                match told.r#type.as_str() {
                    "ERROR" => bail!("{}", told.object["message"].as_str().unwrap_or("the watch failed")),
                    "BOOKMARK" => {}
                    _ => {
                        let mut table: Table = serde_json::from_value(told.object)?;
                        if let Some(version) =
                            table.rows.last().and_then(|row| row.object["metadata"]["resourceVersion"].as_str())
                        {
                            version.clone_into(&mut after);
                        }
                        table.column_definitions = columns
                            .iter()
                            .map(|column| ColumnDefinition { name: column.name.clone(), priority: column.priority })
                            .collect();
                        print!("{}", rendered(what.names, &table, style, false));
                        std::io::stdout().flush()?;
                    }
                }
            }
        }
    }
}

async fn objects(cluster: &Cluster, args: &Get, wanted: &[What], output: Output) -> anyhow::Result<()> {
    let mut found = Vec::new();
    for what in wanted {
        let value: Value = cluster.client.get_json(&path(cluster, args, what, &[])).await?;
        match (&what.name, value) {
            (Some(_), object) => found.push(object),
            (None, mut list) => {
                let items = list["items"].take();
                found.extend(
                    items.as_array().cloned().unwrap_or_default().into_iter().map(|item| typed(what.names, item)),
                );
            }
        }
    }
    match output {
        Output::Name => {
            for object in &found {
                println!("{}", name_of(object));
            }
        }
        _ => {
            let single = wanted.len() == 1 && wanted[0].name.is_some();
            let whole = match (single, found.pop()) {
                (true, Some(object)) => object,
                (_, last) => {
                    found.extend(last);
                    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": found})
                }
            };
            match output {
                Output::Json => println!("{}", serde_json::to_string_pretty(&whole)?),
                _ => print!("{}", serde_saphyr::to_string(&whole)?),
            }
        }
    }
    Ok(())
}

/// Items of a list may leave out what the list already says.
fn typed(names: &Names, mut item: Value) -> Value {
    item["apiVersion"] = names.api_version().into();
    item["kind"] = names.kind.into();
    item
}

fn name_of(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match object["apiVersion"].as_str().and_then(|version| version.split_once('/')) {
        Some((group, _)) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

fn path(cluster: &Cluster, args: &Get, what: &What, more: &[(&str, &str)]) -> String {
    let namespace = (!args.all_namespaces).then_some(cluster.namespace.as_str());
    let mut parameters = more.to_vec();
    parameters.extend(args.selector.as_deref().map(|selector| ("labelSelector", selector)));
    parameters.extend(args.field_selector.as_deref().map(|selector| ("fieldSelector", selector)));
    // A watch is asked of the collection, so one object is picked by its name.
    let watching = more.iter().any(|(name, _)| *name == "watch");
    match &what.name {
        Some(name) if watching => {
            let picked = format!("metadata.name={name}");
            parameters.push(("fieldSelector", &picked));
            client::collection_path(what.names, namespace, &parameters)
        }
        Some(name) => client::object_path(&what::key(what.names, &cluster.namespace, name), what.names),
        None => client::collection_path(what.names, namespace, &parameters),
    }
}

pub(crate) async fn as_table(client: &Client, path: &str) -> anyhow::Result<Table> {
    let request =
        http::Request::builder().method(Method::GET).uri(path).header("accept", TABLE).body(client::no_body())?;
    let answer = client.request(request).await?;
    let status = answer.status();
    let bytes = answer.into_body().collect().await.context("the answer broke off")?.to_bytes();
    if !status.is_success() {
        return Err(ClientError::refused(status.as_u16(), &bytes).into());
    }
    Ok(serde_json::from_slice(&bytes)?)
}

/// A table as text: columns three spaces apart, as wide as their widest cell.
fn rendered(names: &Names, table: &Table, style: Style, heading: bool) -> String {
    let shown: Vec<usize> = (0..table.column_definitions.len())
        .filter(|column| style.wide || table.column_definitions[*column].priority == 0)
        .collect();
    let mut lines: Vec<Vec<String>> = Vec::new();
    if heading {
        let columns = shown.iter().map(|column| table.column_definitions[*column].name.to_uppercase());
        lines.push(style.with_namespace.then(|| "NAMESPACE".to_owned()).into_iter().chain(columns).collect());
    }
    for row in &table.rows {
        let namespace = row.object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let cells = shown.iter().map(|column| cell(names, row, *column, style));
        lines.push(style.with_namespace.then_some(namespace).into_iter().chain(cells).collect());
    }
    aligned(&lines)
}

fn cell(names: &Names, row: &Row, column: usize, style: Style) -> String {
    let text = match row.cells.get(column) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "<none>".into(),
        Some(other) => other.to_string(),
    };
    if column == 0 && style.with_kind { what::told(names, &text) } else { text }
}

/// Lines of cells, each column as wide as its widest cell and three spaces more; the last is not padded.
pub(crate) fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < line.len() {
                text.push_str(&" ".repeat(widths[column] + 3 - cell.chars().count()));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_wide_ones_are_left_out() {
        let table: Table = serde_json::from_value(json!({
            "columnDefinitions": [{"name": "Name"}, {"name": "Data"}, {"name": "Extra", "priority": 1}],
            "rows": [{"cells": ["a-long-name", 2, "x"]}, {"cells": ["b", null, "y"]}],
        }))
        .expect("a table");
        let names = what::named(&api::Kinds::default(), "configmaps").expect("known");
        let style = Style { wide: false, with_namespace: false, with_kind: false };
        assert_eq!(rendered(names, &table, style, true), "NAME          DATA\na-long-name   2\nb             <none>\n");
        let told = Style { with_kind: true, wide: true, ..style };
        assert!(rendered(names, &table, told, false).starts_with("configmap/a-long-name   2        x\n"));
    }
}
