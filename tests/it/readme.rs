//! What the README says that can be checked.

use fanfare::config::markdown_table;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

const BEGIN: &str = "<!-- settings -->\n";
const END: &str = "<!-- /settings -->\n";

#[test]
fn the_table_of_settings_is_what_the_program_prints() {
    let readme = std::fs::read_to_string(README).expect("there is a README");
    let (_, rest) = readme.split_once(BEGIN).expect("a marker begins the table");
    let (table, _) = rest.split_once(END).expect("a marker ends the table");
    let right = markdown_table();
    assert!(
        table == right,
        "README.md has an old table of settings; put this between the markers:\n{right}"
    );
}
