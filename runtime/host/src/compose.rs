//! Components whose imports others satisfy, made one.
//!
//! What a component imports and a linked one exports, in a version that is compatible, is joined: a call between them is a call inside
//! one component, and whatever the interface has (resources and streams included) goes across. Linked components may import from each
//! other, the first in the list that exports a thing has it, and each is instantiated once with the component: in one store, under one
//! limit of memory. What nobody in the list exports stays an import of the whole.
//!
//! Whose bytes these are is not known, so it is done where components are compiled: in a process of its own.

use std::collections::{HashMap, HashSet, VecDeque};

use wac_graph::types::{Package, SubtypeChecker, are_semver_compatible};
use wac_graph::{CompositionGraph, EncodeError, EncodeOptions, NodeId, PackageId};
use wasmparser::{BinaryReaderError, Parser, Payload};

/// A component and what to call it in words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    pub(crate) name: &'a str,
    pub(crate) bytes: &'a [u8],
}

/// Why components cannot be made one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// One of them is no component.
    #[error("{name} is not a component: {why}")]
    NotAComponent {
        /// Which.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A linked component exports what is imported, as something else.
    #[error("{by} imports {import}, and {candidate} exports that as something else: {why}")]
    Unfit {
        /// Who imports.
        by: String,
        /// What.
        import: String,
        /// Who exports.
        candidate: String,
        /// How they differ.
        why: String,
    },
    /// A linked component exports nothing that anybody needs it for.
    #[error("{name} exports nothing that is imported here, or only what one before it exports: it exports {exports}")]
    Unwanted {
        /// Which.
        name: String,
        /// What it exports.
        exports: String,
    },
    /// Each of them would have to be there before the other.
    #[error("{name} imports from a component that imports from it in turn, so none of them can be first")]
    Circle {
        /// One of them.
        name: String,
    },
    /// They are not to be joined for another reason.
    #[error("the components cannot be joined: {0}")]
    Graph(String),
}

/// What a component has to do with others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

/// The components as one that exports what `main` does.
pub(crate) fn compose(main: Part<'_>, links: &[Part<'_>]) -> Result<Vec<u8>, ComposeError> {
    let mut joint = Joint::default();
    let main = joint.add(main)?;
    let links = links.iter().map(|link| joint.add(*link)).collect::<Result<Vec<_>, _>>()?;
    joint.join(&main, &links)?;
    joint.encode(&main)
}

/// What a component imports and exports, read without a look at the rest of it.
pub(crate) fn names(component: &[u8]) -> Result<Names, BinaryReaderError> {
    let mut names = Names::default();
    // Components and modules inside it have imports and exports of their own.
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    names.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    names.exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

/// A component in the graph.
#[derive(Clone)]
struct Member {
    name: String,
    package: PackageId,
}

/// What is joined so far.
#[derive(Default)]
struct Joint {
    graph: CompositionGraph,
    members: Vec<Member>,
    instances: HashMap<PackageId, NodeId>,
}

// === impl Joint ===

impl Joint {
    fn add(&mut self, part: Part<'_>) -> Result<Member, ComposeError> {
        let wrong = |why: String| ComposeError::NotAComponent { name: part.name.to_owned(), why };
        // The graph knows each by a name of its own: two images may be called the same.
        let id = format!("coracle:part{}", self.members.len());
        let package = Package::from_bytes(&id, None, part.bytes, self.graph.types_mut());
        let package = package.map_err(|error| wrong(format!("{error:#}")))?;
        let package = self.graph.register_package(package).map_err(|error| wrong(error.to_string()))?;
        let member = Member { name: part.name.to_owned(), package };
        self.members.push(member.clone());
        Ok(member)
    }

    /// From what the main one imports to what those import that it is given, until nothing more is found.
    fn join(&mut self, main: &Member, links: &[Member]) -> Result<(), ComposeError> {
        let mut waiting = VecDeque::from([main.clone()]);
        let mut wanted = HashSet::new();
        while let Some(importer) = waiting.pop_front() {
            for import in self.imports(&importer) {
                // Who imports and exports the same thing stands before another who exports it.
                let mut others = links.iter().filter(|link| link.package != importer.package);
                let Some((link, export)) = others.find_map(|link| Some((link, self.export(link, &import)?))) else {
                    continue;
                };
                self.expect_fit(&importer, &import, link, &export)?;
                if wanted.insert(link.package) {
                    waiting.push_back(link.clone());
                }
                self.give(&importer, &import, link, &export)?;
            }
        }
        match links.iter().find(|link| !wanted.contains(&link.package)) {
            None => Ok(()),
            Some(link) => {
                let exports = self.exports(link);
                let exports = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
                Err(ComposeError::Unwanted { name: link.name.clone(), exports })
            }
        }
    }

    fn give(&mut self, to: &Member, import: &str, from: &Member, export: &str) -> Result<(), ComposeError> {
        let told = |error: String| ComposeError::Graph(format!("{import} of {}: {error}", to.name));
        let (source, node) = (self.instance(from), self.instance(to));
        let alias = self.graph.alias_instance_export(source, export).map_err(|error| told(error.to_string()))?;
        self.graph.set_instantiation_argument(node, import, alias).map_err(|error| told(error.to_string()))
    }

    fn encode(mut self, main: &Member) -> Result<Vec<u8>, ComposeError> {
        let node = self.instance(main);
        for name in self.exports(main) {
            let told = |error: String| ComposeError::Graph(format!("export {name}: {error}"));
            let alias = self.graph.alias_instance_export(node, &name).map_err(|error| told(error.to_string()))?;
            self.graph.export(alias, &name).map_err(|error| told(error.to_string()))?;
        }
        // The compiler validates what comes of it.
        let options = EncodeOptions { validate: false, ..EncodeOptions::default() };
        self.graph.encode(options).map_err(|error| self.not_encoded(&error))
    }

    fn not_encoded(&self, error: &EncodeError) -> ComposeError {
        let name = |package: Option<PackageId>| {
            let member = self.members.iter().find(|member| Some(member.package) == package);
            member.map(|member| member.name.clone()).unwrap_or_default()
        };
        let of_node = |node: &NodeId| name(self.graph[*node].package());
        match error {
            EncodeError::GraphContainsCycle { node } => ComposeError::Circle { name: of_node(node) },
            EncodeError::ImportTypeMergeConflict { import, first, second, source } => {
                let (first, second) = (of_node(first), of_node(second));
                ComposeError::Graph(format!(
                    "{first} and {second} both import {import}, as different things: {source:#}"
                ))
            }
            error => ComposeError::Graph(error.to_string()),
        }
    }

    fn instance(&mut self, member: &Member) -> NodeId {
        let graph = &mut self.graph;
        *self.instances.entry(member.package).or_insert_with(|| graph.instantiate(member.package))
    }

    fn imports(&self, member: &Member) -> Vec<String> {
        self.graph.types()[self.graph[member.package].ty()].imports.keys().cloned().collect()
    }

    fn exports(&self, member: &Member) -> Vec<String> {
        self.graph.types()[self.graph[member.package].ty()].exports.keys().cloned().collect()
    }

    /// The name by which a component exports what is imported under `name`.
    fn export(&self, link: &Member, name: &str) -> Option<String> {
        let exports = self.exports(link);
        let exact = exports.iter().find(|export| *export == name);
        exact.or_else(|| exports.iter().find(|export| are_semver_compatible(export, name))).cloned()
    }

    fn expect_fit(&self, by: &Member, import: &str, link: &Member, export: &str) -> Result<(), ComposeError> {
        let types = self.graph.types();
        let wanted = types[self.graph[by.package].ty()].imports[import];
        let given = types[self.graph[link.package].ty()].exports[export];
        let mut cache = HashSet::default();
        let fits = SubtypeChecker::new(&mut cache).is_subtype(given, types, wanted, types);
        fits.map_err(|why| ComposeError::Unfit {
            by: by.name.clone(),
            import: import.to_owned(),
            candidate: link.name.clone(),
            why: format!("{why:#}"),
        })
    }
}

#[cfg(test)]
mod tests;
