//! A server to compare with, as data: how to start it and how it is spoken to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::cli::CompareArgs;
use crate::error::Fault;
use crate::scenario::Scenario;

/// A peer. In command, environment and files, `{port}`, `{dir}` (of the description) and `{work}`
/// (a fresh directory of the run) are filled in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// What to call it.
    pub name: String,
    /// One line about it.
    #[serde(default)]
    pub about: String,
    /// The program and its arguments; it stays in the foreground.
    pub command: Vec<String>,
    /// Its environment, beside the tool's own.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Files to write before the start: name in `{work}`, and the template in `{dir}` it is made
    /// from.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// What goes over the scenario, such as `subscribe`, `publish` and `body`.
    #[serde(default)]
    pub over: toml::Table,
    /// Where the description lies.
    #[serde(skip)]
    pub dir: PathBuf,
}

impl Peer {
    /// `baseline`, `uring`, `fanfare`, or the TOML file of that name.
    pub fn load(name: &str, args: &CompareArgs) -> Result<Self, Fault> {
        match name {
            "baseline" => Self::baseline(name, "write", args),
            "uring" => Self::baseline(name, "uring", args),
            "fanfare" => Ok(Self::fanfare(args)),
            file => Self::read(Path::new(file)),
        }
    }

    fn baseline(name: &str, io: &str, args: &CompareArgs) -> Result<Self, Fault> {
        let program =
            std::env::current_exe().map_err(|error| Fault::system("find this program", error))?;
        let threads = args.threads.to_string();
        let options =
            ["baseline", "--io", io, "--threads", &threads, "--listen", "127.0.0.1:{port}"];
        let command = std::iter::once(program.to_string_lossy().into_owned());
        let mut peer = Self::bare(name, command.chain(options.map(String::from)).collect());
        peer.about = format!("the bare limit: {io}, {threads} threads");
        Ok(peer)
    }

    fn fanfare(args: &CompareArgs) -> Self {
        let mut peer = Self::bare("fanfare", vec![args.fanfare.to_string_lossy().into_owned()]);
        peer.about = args.fanfare.display().to_string();
        peer.env.insert("FANFARE_ADDR".into(), "127.0.0.1:{port}".into());
        for pair in &args.fanfare_env {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            peer.env.insert(key.into(), value.into());
        }
        peer
    }

    fn bare(name: &str, command: Vec<String>) -> Self {
        Self {
            name: name.into(),
            about: String::new(),
            command,
            env: BTreeMap::new(),
            files: BTreeMap::new(),
            over: toml::Table::new(),
            dir: PathBuf::from("."),
        }
    }

    fn read(file: &Path) -> Result<Self, Fault> {
        let shown = file.display();
        let text = std::fs::read_to_string(file).map_err(|error| {
            Fault::usage(format!(
                "--with {shown}: neither baseline, uring, fanfare nor a file: {error}"
            ))
        })?;
        let mut peer: Self = toml::from_str(&text)
            .map_err(|error| Fault::usage(format!("{shown}: {}", error.message())))?;
        if peer.command.is_empty() {
            return Err(Fault::usage(format!("{shown}: command must name a program")));
        }
        peer.dir = file
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
            .to_owned();
        Ok(peer)
    }

    /// The scenario as this peer wants it asked, at `port`. The peer's fields go over the flags.
    pub fn scenario(&self, name: &str, flags: &toml::Table, port: u16) -> Result<Scenario, Fault> {
        let mut over = flags.clone();
        over.extend(self.over.clone());
        over.insert("url".into(), format!("http://127.0.0.1:{port}").into());
        Scenario::load(name, &over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peers_that_come_along_are_valid() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let files = std::fs::read_dir(directory).expect("it is there").flatten();
        let mut seen = 0;
        for file in files
            .filter(|file| file.path().extension().is_some_and(|extension| extension == "toml"))
        {
            if file.file_name() == "Cargo.toml" {
                continue;
            }
            let peer = Peer::read(&file.path()).unwrap_or_else(|fault| panic!("{fault}"));
            peer.scenario("fanout", &toml::Table::new(), 1)
                .unwrap_or_else(|fault| panic!("{fault}"));
            seen += 1;
        }
        assert!(seen >= 3);
    }
}
