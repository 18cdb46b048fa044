//! A peer, a server to compare with: how to start it, and the scenario fields it needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::args::CompareArgs;
use crate::error::Error;
use crate::scenario::{self, Overrides, Scenario};

/// In command, environment and files, `{port}`, `{dir}` (the directory of the peer's file) and
/// `{work}` (an empty directory of the run) are filled in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Peer {
    pub(super) name: String,
    #[serde(default)]
    pub(super) about: String,
    /// The program and its arguments; must stay in the foreground.
    pub(super) command: Vec<String>,
    /// Added to the tool's own environment.
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// Files written before the start: name in `{work}`, and the template in `{dir}`.
    #[serde(default)]
    pub(super) files: BTreeMap<String, String>,
    /// Scenario fields such as `subscribe`, `publish` and `body`.
    #[serde(default)]
    pub(super) over: toml::Table,
    /// The directory of the peer's file.
    #[serde(skip)]
    pub(super) dir: PathBuf,
}

impl Peer {
    /// `baseline`, `uring`, `fanfare`, or the TOML file of that name.
    pub(super) fn load(name: &str, args: &CompareArgs) -> Result<Self, Error> {
        match name {
            "baseline" => Self::baseline(name, "write", args),
            "uring" => Self::baseline(name, "uring", args),
            "fanfare" => Ok(Self::fanfare(args)),
            file => Self::read(Path::new(file)),
        }
    }

    fn baseline(name: &str, io: &str, args: &CompareArgs) -> Result<Self, Error> {
        let program =
            std::env::current_exe().map_err(|error| Error::system("find this program", error))?;
        let threads = args.threads.to_string();
        let options =
            ["baseline", "--io", io, "--threads", &threads, "--listen", "127.0.0.1:{port}"];
        let command = std::iter::once(program.to_string_lossy().into_owned());
        let mut peer = Self::bare(name, command.chain(options.map(String::from)).collect());
        peer.about = format!("baseline: {io}, {threads} threads");
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

    fn read(file: &Path) -> Result<Self, Error> {
        let shown = file.display();
        let text = std::fs::read_to_string(file).map_err(|error| {
            Error::usage(format!(
                "--with {shown}: neither baseline, uring, fanfare nor a file: {error}"
            ))
        })?;
        let mut peer: Self = toml::from_str(&text)
            .map_err(|error| Error::usage(format!("{shown}: {}", error.message())))?;
        if peer.command.is_empty() {
            return Err(Error::usage(format!("{shown}: command must name a program")));
        }
        peer.dir = file
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
            .to_owned();
        Ok(peer)
    }

    /// The scenario for this peer at `port`. The peer's fields win over `overrides`.
    pub(super) fn scenario(
        &self,
        name: &str,
        overrides: &Overrides,
        port: u16,
    ) -> Result<Scenario, Error> {
        let mut fields = self.over.clone();
        fields.insert("url".into(), format!("http://127.0.0.1:{port}").into());
        scenario::load(name, &overrides.with_fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_included_peers_are_valid() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let files = std::fs::read_dir(directory).expect("the directory exists").flatten();
        let mut seen = 0;
        for file in files
            .filter(|file| file.path().extension().is_some_and(|extension| extension == "toml"))
        {
            if file.file_name() == "Cargo.toml" {
                continue;
            }
            let peer = Peer::read(&file.path()).unwrap_or_else(|error| panic!("{error}"));
            peer.scenario("fanout", &Overrides::parse(""), 1)
                .unwrap_or_else(|error| panic!("{error}"));
            seen += 1;
        }
        assert!(seen >= 3);
    }
}
