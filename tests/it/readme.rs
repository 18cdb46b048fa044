//! Consistency of the documentation with the program.

use std::path::Path;

use fanfare::config::{Config, markdown_table};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

const BEGIN: &str = "<!-- settings -->\n";
const END: &str = "<!-- /settings -->\n";

#[test]
fn the_settings_table_is_up_to_date() {
    let readme = std::fs::read_to_string(README).expect("README.md is readable");
    let (_, rest) = readme.split_once(BEGIN).expect("a marker precedes the table");
    let (table, _) = rest.split_once(END).expect("a marker follows the table");
    let expected = markdown_table();
    assert!(
        table == expected,
        "the settings table of README.md is outdated; put this between the markers:\n{expected}"
    );
}

/// Ensures that no documented variable keeps the node from starting: it refuses those with its
/// prefix that are not settings.
#[test]
fn every_variable_in_the_documentation_is_a_setting() {
    let settings: Vec<_> =
        Config::default().settings().iter().map(|setting| setting.variable()).collect();
    let docs = Path::new(README).with_file_name("docs");
    let pages = std::fs::read_dir(docs).expect("docs/ is readable");
    let pages = pages.map(|entry| entry.expect("an entry of a directory can be read").path());
    let pages = pages.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    for page in pages.chain([README.into()]) {
        let text = std::fs::read_to_string(&page).expect("a page is readable");
        for (at, _) in text.match_indices("FANFARE_") {
            let name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            let rest = &text[at..];
            let end = rest.find(|c| !name(c)).unwrap_or(rest.len());
            // The prefix alone, or of several settings: `FANFARE_BATCH_*`.
            let variable = rest[..end].to_owned();
            let known = variable.ends_with('_') || settings.contains(&variable);
            assert!(known, "{}: {variable}", page.display());
        }
    }
}
