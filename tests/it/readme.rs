//! What the README says that can be checked.

use fanfare::config::markdown_table;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

const BEGIN: &str = "<!-- settings -->\n";
const END: &str = "<!-- /settings -->\n";

/// The README, and the same with the table of settings as the program prints it.
fn as_it_is_and_should_be() -> (String, String) {
    let readme = std::fs::read_to_string(README).expect("there is a README");
    let (before, rest) = readme.split_once(BEGIN).expect("a marker begins the table");
    let (_, after) = rest.split_once(END).expect("a marker ends the table");
    let should_be = format!("{before}{BEGIN}{}{END}{after}", markdown_table());
    (readme, should_be)
}

#[test]
fn the_table_of_settings_is_what_the_program_prints() {
    let (readme, should_be) = as_it_is_and_should_be();
    let regenerate = "cargo test --test it write_the_table_of_settings -- --ignored";
    assert!(readme == should_be, "README.md has an old table of settings; run: {regenerate}");
}

#[test]
#[ignore = "changes README.md"]
fn write_the_table_of_settings() {
    std::fs::write(README, as_it_is_and_should_be().1).expect("the README can be written");
}
