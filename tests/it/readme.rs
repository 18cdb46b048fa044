//! Consistency of the README with the program.

use fanfare::config::markdown_table;

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
