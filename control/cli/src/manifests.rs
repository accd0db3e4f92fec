//! Manifests: what people write down, as objects to be.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

/// One object that a file asks for.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    /// The object as written.
    pub(crate) object: Value,
    /// The file it stands in; local components are looked for beside it.
    pub(crate) source: PathBuf,
}

/// Everything that files and folders ask for, in order; folders are read by name, not deeper.
pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    for path in paths {
        for file in files(path)? {
            manifests.extend(read_file(&file)?);
        }
    }
    if manifests.is_empty() {
        bail!("no objects in {}", paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "));
    }
    Ok(manifests)
}

fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if path == Path::new("-") || !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot read the folder {}", path.display()))?;
    let mut found: Vec<PathBuf> =
        entries.collect::<Result<Vec<_>, _>>()?.into_iter().map(|entry| entry.path()).collect();
    found.retain(|file| file.extension().is_some_and(|kind| kind == "yaml" || kind == "yml" || kind == "json"));
    found.sort();
    if found.is_empty() {
        bail!("the folder {} holds no .yaml, .yml or .json file", path.display());
    }
    Ok(found)
}

fn read_file(path: &Path) -> anyhow::Result<Vec<Manifest>> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    } else {
        text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    let objects = parse(&text).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(objects.into_iter().map(|object| Manifest { object, source: path.to_owned() }).collect())
}

/// The objects of a text: YAML documents or JSON, with lists taken apart and empty documents left out.
pub(crate) fn parse(text: &str) -> anyhow::Result<Vec<Value>> {
    // As the server and `kubectl` read it: `name: y` names something y, and a mode of 0400 is octal.
    let options = serde_saphyr::options! { strict_booleans: true, legacy_octal_numbers: true };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)?;
    let mut objects = Vec::new();
    for document in documents {
        match document {
            Value::Null => {}
            Value::Object(mut members) if members.get("kind").and_then(Value::as_str) == Some("List") => {
                if let Some(Value::Array(items)) = members.remove("items") {
                    objects.extend(items);
                }
            }
            object @ Value::Object(_) => objects.push(object),
            other => bail!("a document that is not an object: {other}"),
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, names: &[&str]) {
        let objects = parse(text).expect("readable");
        let found: Vec<&str> = objects.iter().filter_map(|object| object["metadata"]["name"].as_str()).collect();
        assert_eq!(found, names);
    }

    #[test]
    fn documents_lists_and_json_are_objects() {
        check("metadata: {name: a}\n---\n# nothing here\n---\nmetadata: {name: b}\n", &["a", "b"]);
        check("kind: List\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\n", &["a", "b"]);
        check(r#"{"metadata": {"name": "a"}}"#, &["a"]);
    }

    #[test]
    fn scalars_are_read_as_kubectl_reads_them() {
        let objects = parse("{mode: 0400, new: 0o400, name: y, size: \"0400\", is: true, port: 80}").expect("readable");
        let expected = serde_json::json!(
            {"mode": 256, "new": 256, "name": "y", "size": "0400", "is": true, "port": 80}
        );
        assert_eq!(objects, [expected]);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(parse("- 1\n- 2\n").is_err());
        assert!(parse("a: [").is_err());
    }
}
