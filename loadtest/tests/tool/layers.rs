//! The layers of `loadtest/src`: top-level modules import only from those above them in the list of
//! `main.rs`, and the files of a folder import each other without cycles.
//!
//! A lexer skips comments and literals; `use` trees and paths in code are then resolved to files.
//! `super` is resolved through inline modules, so that the `use super::*` of a test module is an
//! import of its own file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::rust::{Lexer, Token};

/// Source text by module path: `[]` is `main.rs`, `["run", "driver"]` is `run/driver.rs`.
type Sources = BTreeMap<Vec<String>, String>;
type ModulePath = Vec<String>;

#[test]
fn imports_respect_the_layers() {
    let sources = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(sources.len() > 30, "found only {} files", sources.len());
    let problems = problems(&sources);
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn planted_violations_are_found() {
    let main = "//! 1. [`low`]: x\n//! 2. [`mod@high`]: y\nmod high;\nmod low;";
    let cases: [(&[(&str, &str)], &str); 8] = [
        (
            &[("low", "use std::fmt;\nuse crate::{high::{Thing, other}, low::X};")],
            "low imports high",
        ),
        (&[("low", "fn f() { /* crate::x */ crate::high::f(); }")], "low imports high"),
        (&[("low", "use super::high;")], "low imports high"),
        (&[("low", "mod a { use super::super::high; }")], "low imports high"),
        (
            &[("high::a", "use super::b::{self, C};"), ("high::b", "fn f() -> super::a::A {}")],
            "cycle",
        ),
        (&[("high", "mod a;\nuse a::A;"), ("high::a", "use super::B;")], "cycle"),
        (&[("high", "mod a;\nfn f() { a::f(); }"), ("high::a", "use super::B;")], "cycle"),
        (&[("other", "")], "other is not in the list"),
    ];
    for (files, expected) in cases {
        let problems = problems(&sources(main, files));
        assert!(
            problems.iter().any(|problem| problem.contains(expected)),
            "{files:?}: {problems:?}"
        );
    }
}

#[test]
fn permitted_imports_are_not_reported() {
    let main = "//! 1. [`low`]: x\n//! 2. [`high`]: y\nmod high;\nmod low;\nuse high::x;";
    let files = [
        (
            "low",
            "// use crate::high::A;\n/* crate::high /* nested */ */ mod tests { use super::*; }",
        ),
        ("high", "mod a;\nmod b;\npub(crate) use a::A;"),
        ("high::a", "use super::b::B; const S: &str = \"super::x\"; const C: char = '\"';"),
        ("high::b", "use crate::low::{self, X}; fn f<'a>(s: &'a str) { r#\"crate::high::a\"#; }"),
    ];
    assert_eq!(problems(&sources(main, &files)), Vec::<String>::new());
}

fn sources(main: &str, files: &[(&str, &str)]) -> Sources {
    let mut sources = Sources::from([(Vec::new(), main.to_owned())]);
    for name in ["low", "high"] {
        sources.insert(vec![name.to_owned()], String::new());
    }
    for (path, text) in files {
        sources.insert(path.split("::").map(str::to_owned).collect(), (*text).to_owned());
    }
    sources
}

fn read(directory: &Path) -> Sources {
    let mut sources = Sources::new();
    let mut pending = vec![(directory.to_owned(), ModulePath::new())];
    while let Some((directory, module)) = pending.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory").flatten() {
            let name = entry.file_name().into_string().expect("UTF-8");
            let mut module = module.clone();
            if entry.path().is_dir() {
                module.push(name);
                pending.push((entry.path(), module));
            } else if let Some(stem) = name.strip_suffix(".rs") {
                if !["main", "mod"].contains(&stem) {
                    module.push(stem.to_owned());
                }
                sources.insert(module, std::fs::read_to_string(entry.path()).expect("UTF-8"));
            }
        }
    }
    sources
}

/// Every violation, as a line of text.
fn problems(sources: &Sources) -> Vec<String> {
    let order = order(&sources[&Vec::new()]);
    let mut problems = Vec::new();
    let top: BTreeSet<&String> = sources.keys().filter_map(|path| path.first()).collect();
    let unlisted = top.iter().filter(|name| !order.contains(name));
    problems.extend(unlisted.map(|name| format!("{name} is not in the list of main.rs")));
    let mut folders: BTreeMap<&String, BTreeMap<&ModulePath, BTreeSet<ModulePath>>> =
        BTreeMap::new();
    for (file, text) in sources {
        let Some(top) = file.first() else { continue };
        let imports = imports(file, text, sources);
        let rank = |name: &String| order.iter().position(|known| known == name);
        for import in &imports {
            let target = import.first();
            if target.is_none_or(|target| rank(target) > rank(top)) {
                let target = target.map_or("main", String::as_str);
                problems.push(format!("{}: {top} imports {target}, above it", file.join("::")));
            }
        }
        let inside = imports.into_iter().filter(|import| import.first() == Some(top));
        folders.entry(top).or_default().insert(file, inside.collect());
    }
    let cycles = folders.values().filter_map(cycle);
    problems.extend(cycles.map(|cycle| format!("cycle: {}", cycle.join(" -> "))));
    problems
}

/// The modules of the numbered list in the documentation of `main.rs`.
fn order(main: &str) -> Vec<String> {
    let items = main.lines().filter_map(|line| {
        let item = line.strip_prefix("//! ")?.trim_start_matches(|c: char| c.is_ascii_digit());
        let link = item.strip_prefix(". [`")?;
        Some(link.split('`').next()?.trim_start_matches("mod@").to_owned())
    });
    items.collect()
}

/// A cycle of imports between files, if there is one.
fn cycle(graph: &BTreeMap<&ModulePath, BTreeSet<ModulePath>>) -> Option<Vec<String>> {
    let mut remaining = graph.clone();
    // Files without imports among the remaining ones are in no cycle.
    loop {
        let files: BTreeSet<ModulePath> = remaining.keys().map(|&file| file.clone()).collect();
        let before = remaining.len();
        remaining.retain(|_, imports| imports.iter().any(|import| files.contains(import)));
        if remaining.len() == before {
            break;
        }
    }
    let mut file = *remaining.keys().next()?;
    let mut walked = vec![file];
    loop {
        let next = remaining[file].iter().find_map(|next| remaining.get_key_value(next))?;
        file = next.0;
        if let Some(start) = walked.iter().position(|&seen| seen == file) {
            walked.push(file);
            return Some(walked[start..].iter().map(|path| path.join("::")).collect());
        }
        walked.push(file);
    }
}

/// The files that `file` imports, itself excluded.
fn imports(file: &ModulePath, text: &str, sources: &Sources) -> BTreeSet<ModulePath> {
    let tokens: Vec<Token> = Lexer::new(text).collect();
    let mut imports = BTreeSet::new();
    // Names of the inline modules around the current token, with the depth of their braces.
    let mut inline: Vec<(usize, String)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at..] {
            [Token::Word(keyword), Token::Word(name), Token::Open, ..] if keyword == "mod" => {
                depth += 1;
                inline.push((depth, name.clone()));
                at += 3;
            }
            [Token::Open, ..] => {
                depth += 1;
                at += 1;
            }
            [Token::Close, ..] => {
                if inline.last().is_some_and(|(opened, _)| *opened == depth) {
                    inline.pop();
                }
                depth -= 1;
                at += 1;
            }
            [Token::Word(_), ..] => {
                let module: ModulePath =
                    file.iter().chain(inline.iter().map(|(_, name)| name)).cloned().collect();
                let is_use = tokens[at] == Token::Word("use".to_owned());
                let mut paths = Vec::new();
                let start = at + usize::from(is_use);
                at = tree(&tokens, start, is_use, &mut Vec::new(), &mut paths);
                imports.extend(paths.iter().filter_map(|path| resolve(path, &module, sources)));
            }
            _ => at += 1,
        }
    }
    imports.remove(file);
    imports
}

/// Reads the path at `at`, in a `use` with its groups; appends every complete path to `paths` and
/// returns the position behind it.
fn tree(
    tokens: &[Token],
    mut at: usize,
    is_use: bool,
    prefix: &mut Vec<String>,
    paths: &mut Vec<Vec<String>>,
) -> usize {
    let len = prefix.len();
    loop {
        match tokens.get(at) {
            Some(Token::Word(word)) => prefix.push(word.clone()),
            Some(Token::Open) if is_use => {
                at += 1;
                while !matches!(tokens.get(at), Some(Token::Close) | None) {
                    at = tree(tokens, at, is_use, prefix, paths);
                    while !matches!(
                        tokens.get(at),
                        Some(Token::Word(_) | Token::Open | Token::Close) | None
                    ) {
                        at += 1;
                    }
                }
                prefix.truncate(len);
                return at + 1;
            }
            // A glob, or the end of a path such as `Vec::<u8>`.
            _ => break,
        }
        at += 1;
        if tokens.get(at) != Some(&Token::PathSeparator) {
            break;
        }
        at += 1;
    }
    if is_use && tokens.get(at) == Some(&Token::Word("as".to_owned())) {
        at += 2;
    }
    // A word by itself is an import only in a `use`.
    if is_use || prefix.len() > 1 {
        paths.push(prefix.clone());
    }
    prefix.truncate(len);
    at
}

/// The file that `path`, written in `module`, leads into; `None` if it is not of this crate.
fn resolve(path: &[String], module: &[String], sources: &Sources) -> Option<ModulePath> {
    let mut base = module.to_vec();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => {
            base.clear();
            rest = &path[1..];
        }
        "self" | "super" => {
            while let Some((first, behind)) = rest.split_first()
                && ["self", "super"].contains(&first.as_str())
            {
                if first == "super" {
                    base.pop()?;
                }
                rest = behind;
            }
        }
        // A child module, or a name from outside the crate.
        child => {
            base.push(child.to_owned());
            sources.get(&base)?;
            rest = &path[1..];
        }
    }
    for name in rest {
        base.push(name.clone());
        if !sources.contains_key(&base) {
            base.pop();
            break;
        }
    }
    // An inline module belongs to the file around it.
    while !sources.contains_key(&base) {
        base.pop()?;
    }
    Some(base)
}
