//! The `fanfare` binary: settings, logs, a node, and a way out.

use std::io::IsTerminal;
use std::process::ExitCode;

use fanfare::config::Config;
use fanfare::node::Node;
use fanfare::process::{self, Signals};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A setting or an address that can't be used.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    process::use_small_pages();
    let config = match Config::load() {
        Ok(config) => config,
        Err(error) => return error.report(),
    };
    start_logging(&config);
    process::raise_descriptor_limit();
    match run(config) {
        Ok(code) => code,
        Err(line) => {
            eprintln!("fanfare: {line}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Runs the node until a signal; then drains it, unless a second signal comes first.
fn run(config: Config) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("can't start a runtime: {error}"))?;
    // Before the node can be connected to: whoever sees it listening may send it a signal.
    let signals = runtime.block_on(async { Signals::new() });
    let signals = signals.map_err(|error| format!("can't listen for signals: {error}"))?;
    let node = Node::start(config).map_err(|error| error.to_string())?;
    say_settings(&node.core().config);
    say_limits(&node);
    tracing::info!("listening on http://{}", node.addr());
    Ok(runtime.block_on(serve(node, signals)))
}

async fn serve(node: Node, mut signals: Signals) -> ExitCode {
    let name = signals.next().await;
    tracing::info!("{name}: draining; a second signal ends at once");
    let drained = tokio::task::spawn_blocking(move || node.drain());
    tokio::select! {
        _ = drained => {
            tracing::info!("drained");
            ExitCode::SUCCESS
        }
        name = signals.next() => {
            tracing::warn!("{name}: ending at once");
            std::process::exit(1);
        }
    }
}

fn start_logging(config: &Config) {
    let filter = EnvFilter::new(&config.log);
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .init();
}

fn say_settings(config: &Config) {
    for setting in config.settings().iter().filter(|setting| !setting.is_default) {
        tracing::info!("{}={}", setting.variable(), setting.value);
    }
}

fn say_limits(node: &Node) {
    let core = node.core();
    tracing::info!(io = %core.io, own_descriptor_tables = core.own_descriptors, shards = core.config.shards);
    let (streams, wanted) = (core.streams.max(), core.config.streams_max);
    if streams < wanted {
        tracing::info!(
            streams,
            wanted,
            "descriptors allow fewer streams than FANFARE_STREAMS_MAX; more shards allow more"
        );
    }
}
