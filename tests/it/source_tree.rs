//! The rules of the source tree: layers, no import cycles, 100 columns.
//!
//! **Layers.** A top-level module of `src/` imports only modules that are strictly below it in
//! [`LAYERS`].
//!
//! **Cycles.** Inside every folder module, the files and subfolders form a graph, in which the
//! folder's `mod.rs` is one more node, `mod`. A path to a sibling is an edge, and so is a path to
//! an item that `mod.rs` only passes on from a sibling. A path to an item that `mod.rs` defines is
//! an edge to `mod`. `mod.rs` has an edge to each child it uses; declaring the child (`mod`) or
//! re-exporting its items (`pub use`) does not count as a use, unless `mod.rs` mentions the
//! re-exported name elsewhere. The graph must have no cycle. Tests are left out: they may import
//! anything.
//!
//! **Columns.** No line of a tracked text file is longer than 100 characters.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::source::{Import, code_of, imports, mentions, test_modules};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The top-level modules from the lowest layer to the highest; those of one layer must not import
/// each other.
const LAYERS: &[&[&str]] = &[
    &["sync"],
    &["quota"],
    &["config", "event"],
    &["ring", "log"],
    &["sequencer"],
    &["core"],
    &["session"],
    &["conn"],
    &["console"],
    &["admin"],
    &["http"],
    &["shard"],
    &["node"],
    &["process"],
    &["lib", "main"],
];

const COLUMNS: usize = 100;

/// A source file: its module path, its code without tests, and the modules it declares.
struct Source {
    file: String,
    module: Vec<String>,
    children: Vec<String>,
    code: String,
}

impl Source {
    fn imports(&self) -> Vec<Import> {
        imports(&self.code, &self.module, &self.children)
    }
}

fn files_under(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.expect("an entry of a directory can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !path.is_dir() {
            found.push(path);
        } else if name != "target" && name != ".git" {
            files_under(&path, found);
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `shard/mod.rs` is the module `shard`, `shard/table.rs` is `shard::table`.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

/// The files of a package's sources but those of test-only modules.
fn sources(dir: &str) -> Vec<Source> {
    let root = Path::new(ROOT).join(dir);
    let mut paths = Vec::new();
    files_under(&root, &mut paths);
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    paths.sort();
    let texts: Vec<(String, String)> = paths
        .iter()
        .map(|path| {
            let file = path.strip_prefix(&root).expect("it was found there");
            (file.to_str().expect("a path is UTF-8").to_owned(), read(path))
        })
        .collect();
    tree(&texts)
}

fn tree(texts: &[(String, String)]) -> Vec<Source> {
    let modules: Vec<_> = texts.iter().map(|(file, _)| module_of(file)).collect();
    let mut for_tests = BTreeSet::new();
    for ((_, text), module) in texts.iter().zip(&modules) {
        for name in test_modules(text) {
            for_tests.insert([&module[..], &[name]].concat());
        }
    }
    let mut sources = Vec::new();
    for ((file, text), module) in texts.iter().zip(&modules) {
        if for_tests.iter().any(|test| module.starts_with(test)) {
            continue;
        }
        let below = modules.iter().filter(|other| other.len() > module.len());
        let below = below.filter(|other| other.starts_with(module));
        let children: BTreeSet<String> = below.map(|other| other[module.len()].clone()).collect();
        sources.push(Source {
            file: file.clone(),
            module: module.clone(),
            children: children.into_iter().collect(),
            code: code_of(text),
        });
    }
    sources
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// What breaks the rule of the layers.
fn layer_violations(sources: &[Source]) -> Vec<String> {
    let present: BTreeSet<&str> = sources.iter().map(|source| &source.module[0][..]).collect();
    let listed: BTreeSet<&str> = LAYERS.iter().copied().flatten().copied().collect();
    let missing = listed.difference(&present).map(|name| format!("{name}: not in src/"));
    let unlisted = present.difference(&listed).map(|name| format!("{name}: in no layer"));
    let mut violations: Vec<String> = missing.chain(unlisted).collect();
    for source in sources {
        let own = &source.module[0];
        for import in source.imports() {
            let Some(target) = import.path.first().filter(|target| *target != own) else {
                continue;
            };
            let below = layer(target) < layer(own) && layer(target).is_some();
            // The program uses the library by its name, not as `crate`.
            if !below && layer(own).is_some() {
                let (file, line) = (&source.file, import.line);
                violations.push(format!("{file}:{line}: {own} imports {target}"));
            }
        }
    }
    violations
}

/// The edges of a folder, each with where it is written.
type Edges<'a> = BTreeMap<(&'a str, String), String>;

fn edges<'a>(folder: &Source, sources: &'a [Source]) -> Edges<'a> {
    let depth = folder.module.len();
    // Names that `mod.rs` passes on, and from which child.
    let mut passed_on = BTreeMap::new();
    for import in folder.imports() {
        if let Some(child) = import.path.get(depth).filter(|_| import.path.len() > depth + 1) {
            passed_on.insert(import.name.clone(), child.clone());
        }
    }
    let mut edges = BTreeMap::new();
    for source in sources.iter().filter(|source| source.module.starts_with(&folder.module)) {
        let from = source.module.get(depth).map_or("mod", |name| name);
        for import in source.imports() {
            if !import.path.starts_with(&folder.module) {
                continue;
            }
            let name = import.path.get(depth).map_or("mod", |name| name);
            let child = folder.children.iter().find(|child| *child == name);
            let to = child.or_else(|| passed_on.get(name)).map_or("mod", |child| child);
            let only_exported =
                from == "mod" && import.exported && mentions(&folder.code, &import.name) == 0;
            if to != from && !only_exported {
                let at = format!("{}:{}", source.file, import.line);
                edges.entry((from, to.to_owned())).or_insert(at);
            }
        }
    }
    edges
}

/// The cycles of a folder, each edge with where it is written: for every edge that lies on a cycle,
/// a shortest one through it.
fn cycles(folder: &Source, sources: &[Source]) -> BTreeSet<String> {
    let edges = edges(folder, sources);
    let mut cycles = BTreeSet::new();
    for (from, to) in edges.keys() {
        if let Some(mut path) = shortest(&edges, to, from) {
            let first = path.iter().enumerate().min_by_key(|(_, node)| *node);
            let first = first.map_or(0, |(at, _)| at);
            path.rotate_left(first);
            let next = path.iter().cycle().skip(1);
            let steps = path.iter().zip(next).map(|(from, to)| {
                format!("{from} -> {to} ({})", edges[&(from.as_str(), to.clone())])
            });
            let steps = steps.collect::<Vec<_>>().join(", ");
            cycles.insert(format!("{}: {steps}", folder.module.join("::")));
        }
    }
    cycles
}

/// The nodes of a shortest path, both ends included.
fn shortest(edges: &Edges<'_>, from: &str, to: &str) -> Option<Vec<String>> {
    let mut paths = vec![vec![from.to_owned()]];
    let mut seen = BTreeSet::from([from.to_owned()]);
    while !paths.is_empty() {
        let mut longer = Vec::new();
        for path in paths {
            let end = path.last().expect("a path has a node");
            if end == to {
                return Some(path);
            }
            for (_, next) in edges.keys().filter(|(node, _)| node == end) {
                if seen.insert(next.clone()) {
                    longer.push([&path[..], std::slice::from_ref(next)].concat());
                }
            }
        }
        paths = longer;
    }
    None
}

/// The cycles of all folders of the tree.
fn all_cycles(sources: &[Source]) -> Vec<String> {
    let folders = sources.iter().filter(|source| !source.children.is_empty());
    folders.flat_map(|folder| cycles(folder, sources)).collect()
}

/// The files git tracks or, outside a repository, all but build products.
fn tracked() -> Vec<PathBuf> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(ROOT).output();
    let Some(listed) = listed.ok().filter(|listed| listed.status.success()) else {
        let mut found = Vec::new();
        files_under(Path::new(ROOT), &mut found);
        return found;
    };
    let names = String::from_utf8(listed.stdout).expect("the names of the files are UTF-8");
    let names = names.split_terminator('\0').map(|name| Path::new(ROOT).join(name));
    // A file may be deleted and the deletion not yet committed.
    names.filter(|path| path.exists()).collect()
}

fn is_text(path: &Path) -> bool {
    let kinds = ["rs", "toml", "sh", "css", "html", "js", "md"];
    path.file_name().is_some_and(|name| name == "Makefile")
        || path.extension().is_some_and(|kind| kinds.iter().any(|text| kind == *text))
}

/// The numbers of the lines that are too long. Excepted are lines that can't be broken: a lone URL
/// or `data:` URL and, in Markdown, rows of tables and code blocks.
fn long_lines(text: &str, markdown: bool) -> Vec<usize> {
    let mut fenced = false;
    let mut long = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let content = line.trim_start();
        let fence = content.starts_with("```");
        fenced ^= fence;
        let excepted = markdown && (fenced || fence || content.starts_with('|'))
            || content.contains("=\"data:");
        if line.chars().count() > COLUMNS && !excepted && !is_lone_url(content) {
            long.push(number);
        }
    }
    long
}

/// Whether all but the first word, a marker such as `//` or `-` or `[name]:`, is one URL.
fn is_lone_url(content: &str) -> bool {
    let mut words = content.split_whitespace();
    let last = words.next_back().unwrap_or_default();
    let marker = words.next().unwrap_or_default();
    last.contains("://") && words.next().is_none() && marker.len() < COLUMNS / 2
}

#[test]
fn modules_import_only_lower_layers() {
    let violations = layer_violations(&sources("src"));
    assert!(violations.is_empty(), "imports upwards:\n{}", violations.join("\n"));
}

#[test]
fn no_files_of_a_folder_import_each_other() {
    let packages = ["src", "loadtest/src"].map(sources);
    let cycles: Vec<_> = packages.iter().flat_map(|sources| all_cycles(sources)).collect();
    assert!(cycles.is_empty(), "import cycles:\n{}", cycles.join("\n"));
}

#[test]
fn no_line_is_longer_than_100_columns() {
    let mut offenders = Vec::new();
    let files: Vec<_> = tracked().into_iter().filter(|path| is_text(path)).collect();
    let this = files.iter().any(|path| path.ends_with("tests/it/source_tree.rs"));
    assert!(this, "this file is not among {files:?}");
    for path in files {
        let markdown = path.extension().is_some_and(|kind| kind == "md");
        let name = path.strip_prefix(ROOT).unwrap_or(&path).display();
        let lines = long_lines(&read(&path), markdown);
        offenders.extend(lines.into_iter().map(|line| format!("{name}:{line}")));
    }
    assert!(offenders.is_empty(), "over {COLUMNS} columns:\n{}", offenders.join("\n"));
}

/// A tree with these files.
fn planted(files: &[(&str, &str)]) -> Vec<Source> {
    let owned = files.iter().map(|&(file, text)| (file.to_owned(), text.to_owned()));
    tree(&owned.collect::<Vec<_>>())
}

#[test]
fn an_import_upwards_is_found() {
    let tree = planted(&[
        ("ring/mod.rs", "use crate::event::Event;"),
        ("ring/slot.rs", "fn f() { super::super::shard::wake(); }\n// crate::node"),
        ("log.rs", "use crate::{event::{self, Id}, ring::Ring};"),
        ("session.rs", "#[cfg(test)]\nmod tests { use crate::http::Service; }"),
        ("other.rs", ""),
    ]);
    let violations = layer_violations(&tree);
    let found: Vec<_> = violations.iter().filter(|line| line.contains(" imports ")).collect();
    let expected = ["ring/slot.rs:1: ring imports shard", "log.rs:1: log imports ring"];
    assert_eq!(found, expected);
    assert!(violations.contains(&"other: in no layer".to_owned()), "{violations:?}");
    assert!(violations.contains(&"shard: not in src/".to_owned()), "{violations:?}");
}

#[test]
fn siblings_that_import_each_other_are_found() {
    let planted_cycles = |a: &str, b: &str, parent: &str| {
        all_cycles(&planted(&[("f/mod.rs", parent), ("f/a.rs", a), ("f/b/mod.rs", b)]))
    };
    let direct = planted_cycles("use super::b::B;", "use crate::f::a::A;", "mod a; mod b;");
    assert_eq!(direct, ["f: a -> b (f/a.rs:1), b -> a (f/b/mod.rs:1)"]);
    let re_exported = planted_cycles("use super::B;", "use super::a;", "pub use b::{B, C};");
    assert_eq!(re_exported.len(), 1, "{re_exported:?}");
    let one_way = planted_cycles("use super::b::B;", "", "pub use a::A;\npub use b::B;");
    assert_eq!(one_way, [""; 0]);
    let in_tests = "#[cfg(test)]\nmod tests { use super::super::a::A; }";
    assert_eq!(planted_cycles("use super::b::B;", in_tests, ""), [""; 0]);
}

#[test]
fn a_parent_and_a_child_that_import_each_other_are_found() {
    let planted_cycles = |child: &str, parent: &str| {
        all_cycles(&planted(&[("f/mod.rs", parent), ("f/a.rs", child), ("f/b.rs", "")]))
    };
    let uses = "mod a;\nuse a::A;\npub struct P(A);";
    assert_eq!(planted_cycles("use super::P;", uses).len(), 1);
    assert_eq!(planted_cycles("", uses), [""; 0]);
    let exports = "mod a;\npub use a::A;\npub struct P;";
    assert_eq!(planted_cycles("use super::P;", exports), [""; 0]);
    let mentions = "mod a;\npub use a::A;\npub struct P(A);";
    assert_eq!(planted_cycles("use super::P;", mentions).len(), 1);
}

#[test]
fn a_cycle_of_three_is_found() {
    let tree = planted(&[
        ("f/mod.rs", ""),
        ("f/a.rs", "use super::b::B;"),
        ("f/b.rs", "use super::c::C;"),
        ("f/c.rs", "fn f() -> super::a::A { super::a::A }"),
    ]);
    let cycle = "f: a -> b (f/a.rs:1), b -> c (f/b.rs:1), c -> a (f/c.rs:1)";
    assert_eq!(all_cycles(&tree), [cycle]);
}

#[test]
fn long_lines_are_found_but_where_they_cannot_be_broken() {
    let (long, url) = ("x ".repeat(51), format!("https://{}", "x".repeat(100)));
    assert_eq!(long_lines(&format!("short\n{long}\n{}", "é".repeat(100)), false), [2]);
    assert_eq!(long_lines(&format!("// {url}\n{url}\n// See {url}"), false), [3]);
    let markdown = format!("| {long} |\n{long}\n```text\n{long}\n```\n{long}\n[a]: {url}");
    assert_eq!(long_lines(&markdown, true), [2, 6]);
    assert_eq!(long_lines(&markdown, false), [1, 2, 4, 6]);
    assert_eq!(long_lines(&format!("<a href=\"data:{long}\">\n// {long}"), false), [2]);
}
