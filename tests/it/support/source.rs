//! A rough reader of Rust source, enough to find which modules a file imports: comments, literals
//! and test-only items are blanked, then every path that begins with a known word is collected.
//!
//! It knows no macros and no types. A path is found wherever it is written, in a `use` declaration
//! or bare, and each name of a brace group is a path of its own.

/// A path of a file, with the line it begins on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    pub line: usize,
    /// `crate` and `super` are resolved: the path begins at the root of the crate. A glob ends it.
    pub path: Vec<String>,
    /// The name it is imported as, in a `use` declaration.
    pub name: String,
    /// Whether it is written in a `use` declaration with a visibility: a re-export.
    pub exported: bool,
}

/// The source with comments, literals and test-only items replaced by spaces; lines stay.
pub fn code_of(source: &str) -> String {
    blank_tests(&blank_text(source))
}

/// The names of modules in files of their own that are declared for tests only.
pub fn test_modules(source: &str) -> Vec<String> {
    let code = blank_text(source);
    let (all, kept) = (declared(&code), declared(&blank_tests(&code)));
    all.into_iter().filter(|name| !kept.contains(name)).collect()
}

fn declared(code: &str) -> Vec<String> {
    let tokens = tokens(code);
    let declarations = tokens.windows(3).filter(|t| t[0].text == "mod" && t[2].text == ";");
    declarations.map(|t| t[1].text.to_owned()).collect()
}

/// How often a name is written outside `use` declarations.
pub fn mentions(code: &str, name: &str) -> usize {
    let tokens = tokens(code);
    let mut in_use = false;
    let mut count = 0;
    for token in &tokens {
        in_use = token.text == "use" || in_use && token.text != ";";
        count += usize::from(!in_use && token.text == name);
    }
    count
}

/// The paths in `code` that begin with `crate`, `self`, `super` or one of `children`, the modules
/// that `module` declares.
pub fn imports(code: &str, module: &[String], children: &[String]) -> Vec<Import> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    // Inline modules around the position, each with the depth of braces inside it.
    let mut inline: Vec<(usize, String)> = Vec::new();
    let (mut depth, mut at) = (0, 0);
    let mut declaration = None;
    while at < tokens.len() {
        let text = tokens[at].text;
        let next = |n: usize| tokens.get(at + n).map_or("", |token| token.text);
        match text {
            "{" => depth += 1,
            "}" => {
                inline.retain(|&(inside, _)| inside < depth);
                depth -= 1;
            }
            "mod" if next(2) == "{" => inline.push((depth + 1, next(1).to_owned())),
            "use" => {
                let exported = at > 0 && matches!(tokens[at - 1].text, "pub" | ")");
                declaration = Some(exported);
            }
            ";" => declaration = None,
            _ => {}
        }
        let qualified = at > 0 && matches!(tokens[at - 1].text, "::" | ".");
        let begins = matches!(text, "crate" | "self" | "super")
            || children.iter().any(|child| child == text);
        if !begins || qualified || next(1) != "::" {
            at += 1;
            continue;
        }
        let here: Vec<String> =
            module.iter().cloned().chain(inline.iter().map(|(_, name)| name.clone())).collect();
        let line = tokens[at].line;
        let mut reader = Tree { tokens: &tokens, at, paths: Vec::new() };
        reader.read(&[]);
        at = reader.at;
        for (path, alias) in reader.paths {
            let path = resolve(&here, &path);
            let name = alias.or_else(|| path.last().cloned()).unwrap_or_default();
            found.push(Import { line, path, name, exported: declaration == Some(true) });
        }
    }
    found
}

fn resolve(here: &[String], path: &[String]) -> Vec<String> {
    let (mut base, mut rest) = (here.to_vec(), path);
    while let [first, tail @ ..] = rest {
        match first.as_str() {
            "crate" => base.clear(),
            "super" => drop(base.pop()),
            "self" => {}
            _ => break,
        }
        rest = tail;
    }
    base.extend_from_slice(rest);
    base
}

/// Reads a use tree, of which a bare path is the simplest.
struct Tree<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    paths: Vec<(Vec<String>, Option<String>)>,
}

impl Tree<'_> {
    fn text(&self) -> &str {
        self.tokens.get(self.at).map_or("", |token| token.text)
    }

    fn read(&mut self, prefix: &[String]) {
        let mut path = prefix.to_vec();
        loop {
            match self.text() {
                "{" => return self.read_group(&path),
                "*" => {
                    self.at += 1;
                    break;
                }
                // In a group, `self` is the module the group is of.
                "self" if !path.is_empty() => self.at += 1,
                text if is_word(text) => {
                    path.push(text.to_owned());
                    self.at += 1;
                }
                _ => break,
            }
            if self.text() != "::" {
                break;
            }
            self.at += 1;
        }
        let mut alias = None;
        if self.text() == "as" {
            alias = self.tokens.get(self.at + 1).map(|token| token.text.to_owned());
            self.at += 2;
        }
        self.paths.push((path, alias));
    }

    fn read_group(&mut self, prefix: &[String]) {
        self.at += 1;
        while !matches!(self.text(), "}" | "") {
            let before = self.at;
            self.read(prefix);
            if self.text() == "," || self.at == before {
                self.at += 1;
            }
        }
        self.at += 1;
    }
}

struct Token<'a> {
    text: &'a str,
    line: usize,
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::`, and every other character by itself.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for (line, content) in (1..).zip(code.lines()) {
        let mut rest = content.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            let end = match first {
                _ if word(first) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            tokens.push(Token { text: &rest[..end], line });
            rest = rest[end..].trim_start();
        }
    }
    tokens
}

/// Blanks comments and the contents of string and character literals.
fn blank_text(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let word_before = out.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let end = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => quoted(rest, '"'),
            'r' if !word_before => raw_string(rest, 1),
            'b' if !word_before && rest.starts_with("br") => raw_string(rest, 2),
            '\'' => character(rest),
            _ => 0,
        };
        if end == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            out.extend(rest[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[end..];
        }
    }
    out
}

/// The length of a block comment, which may hold others.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let step = &rest.as_bytes()[at..];
        match step {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a literal between two quotes.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    rest.len()
}

/// The length of a raw string whose hashes begin at `prefix`, or 0 if it is none.
fn raw_string(rest: &str, prefix: usize) -> usize {
    let hashes = rest[prefix..].chars().take_while(|&c| c == '#').count();
    let open = prefix + hashes;
    if !rest[open..].starts_with('"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let end = rest[open + 1..].find(&close);
    end.map_or(rest.len(), |end| open + 1 + end + close.len())
}

/// The length of a character literal, or 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => quoted(rest, '\''),
        (Some(c), Some('\'')) => c.len_utf8() + 2,
        _ => 0,
    }
}

/// Blanks each item behind `#[cfg(test)]` or `#[cfg(all(test, …))]`, up to its `;` or `}`.
fn blank_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    loop {
        let starts = ["#[cfg(test)]", "#[cfg(all(test"].map(|start| rest.find(start));
        let Some(start) = starts.into_iter().flatten().min() else { break };
        let end = start + item(&rest[start..]);
        out.push_str(&rest[..start]);
        out.extend(rest[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[end..];
    }
    out + rest
}

/// The length of an item and the attributes before it.
fn item(code: &str) -> usize {
    let (mut braces, mut others) = (0, 0);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others -= 1,
            '{' => braces += 1,
            '}' => braces -= 1,
            _ => {}
        }
        let ended = c == ';' || c == '}';
        if ended && braces == 0 && others == 0 {
            return at + 1;
        }
    }
    code.len()
}

mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    /// The paths that a file `a/b.rs` imports, joined.
    fn paths(source: &str) -> Vec<String> {
        let found = imports(&code_of(source), &owned(&["a", "b"]), &owned(&["child"]));
        found.into_iter().map(|import| import.path.join("::")).collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let source = "// crate::x\n/* crate::y /* */ crate::z */ let s = \"crate::\\\"q\";\n\
            r#\"crate::r \" \"#; b'\"'; '\\''; '\"'; fn f<'a>(s: &'a str) { crate::real::f() }";
        assert_eq!(paths(source), ["real::f"]);
    }

    #[test]
    fn items_for_tests_are_no_code() {
        let source = "#[cfg(test)]\nmod tests { use crate::x::Y; fn f() { {} } }\n\
            #[cfg(all(test, not(ring_loom)))]\n\
            #[allow(unused)]\nfn f(a: [u8; 2]) { crate::y::f() }\n\
            #[cfg(test)] use crate::w;\nuse crate::z;";
        assert_eq!(paths(source), ["z"]);
        assert_eq!(test_modules("#[cfg(test)]\nmod model;\nmod other;"), ["model"]);
    }

    #[test]
    fn brace_groups_are_paths_of_their_own() {
        let source =
            "use crate::{\n    x::{self, Y as Z, W::{V, U}},\n    q::*,\n};\nuse super::p;";
        assert_eq!(paths(source), ["x", "x::Y", "x::W::V", "x::W::U", "q", "a::p"]);
    }

    #[test]
    fn bare_paths_are_found_and_their_lines() {
        let source = "fn f() {\n    crate::x::g::<u8>(super::super::y::Z { n: self::own::N });\n}";
        assert_eq!(paths(source), ["x::g", "y::Z", "a::b::own::N"]);
        let found = imports(&code_of(source), &owned(&["a", "b"]), &[]);
        assert!(found.iter().all(|import| import.line == 2), "{found:?}");
    }

    #[test]
    fn paths_of_children_and_of_inline_modules_are_resolved() {
        let source = "use child::X;\n\
            mod inner { use super::Y; mod deep { super::super::z::f(); } }\n\
            other::child::Q; child.method(); super::W;";
        assert_eq!(paths(source), ["a::b::child::X", "a::b::Y", "a::b::z::f", "a::W"]);
    }

    #[test]
    fn re_exports_are_distinguished_from_imports() {
        let source = "pub use child::A; pub(crate) use child::{B, C as D}; use child::E; child::F;";
        let found = imports(&code_of(source), &owned(&["a", "b"]), &owned(&["child"]));
        let exported: Vec<_> = found.iter().filter(|i| i.exported).map(|i| &i.name[..]).collect();
        assert_eq!((exported, found.len()), (vec!["A", "B", "D"], 5));
        assert_eq!(mentions("use a::B; fn f() -> B { B::new() }", "B"), 2);
    }
}
