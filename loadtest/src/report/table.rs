//! The report as a text table.

use super::rows::{Rows, count, grouped, kib, list, mib, percentiles};
use super::{Report, sections};

pub(crate) fn render(report: &Report) -> String {
    let mut rows = Rows::default();
    let s = &report.scenario;
    rows.heading(&format!(
        "{}  {}, {}, {} bytes, {}",
        s.name,
        count(s.streams_in_all(), "stream"),
        count(u64::from(s.stamped_topics()), "topic"),
        s.size,
        s.url
    ));
    sections::fates(report, &mut rows);
    if let Some(fair) = &report.fair {
        sections::fair(fair, &mut rows);
    }
    if let Some(selectors) = &report.selectors {
        sections::selectors(selectors, &mut rows);
    }
    opening(report, &mut rows);
    delivery(report, &mut rows);
    publishing(report, &mut rows);
    account(report, &mut rows);
    server(report, &mut rows);
    client(report, &mut rows);
    processors(report, &mut rows);
    for (title, counts) in
        [("connections lost", &report.causes), ("other events", &report.controls)]
    {
        if !counts.is_empty() {
            rows.row(title, &list(counts));
        }
    }
    if report.interrupted {
        rows.row("interrupted", "the run was ended early");
    }
    for problem in &report.problems {
        rows.row("PROBLEM", problem);
    }
    rows.0
}

fn opening(report: &Report, rows: &mut Rows) {
    let opening = &report.opening;
    if report.scenario.streams == 0 {
        return;
    }
    let (streams, rate) = (grouped(opening.streams), grouped(opening.per_s as u64));
    rows.row(
        "opened",
        &format!(
            "{streams} streams in {:.2} s ({rate}/s), {} at the end",
            opening.seconds,
            grouped(opening.streams_at_end)
        ),
    );
    rows.row("connect to response", &percentiles(&opening.latency));
    if report.left > 0 {
        rows.row("churned streams", &grouped(report.left));
    }
    for (storm, number) in report.storms.iter().zip(1..) {
        let after = |what: &str, ms: Option<f64>| match ms {
            Some(ms) => format!("all {what} after {ms:.0} ms"),
            None => format!("not all {what}"),
        };
        rows.row(
            &format!("storm {number}"),
            &format!("{}, {}", after("open", storm.back_ms), after("recovered", storm.whole_ms)),
        );
    }
}

fn delivery(report: &Report, rows: &mut Rows) {
    let delivery = &report.delivery;
    if delivery.count == 0 {
        return;
    }
    let rate = grouped(delivery.per_s as u64);
    rows.row("deliveries", &format!("{} in {:.3} s", grouped(delivery.count), delivery.seconds));
    rows.row("deliveries/s", &rate);
    if delivery.bursts_per_s.len() > 1 {
        let bursts: Vec<String> =
            delivery.bursts_per_s.iter().map(|rate| grouped(*rate as u64)).collect();
        rows.row("  by burst", &bursts.join(" "));
    }
    rows.row("latency", &percentiles(&delivery.latency));
    if delivery.last_of_all.count > 0 {
        rows.row("last stream", &percentiles(&delivery.last_of_all));
    }
    if report.slow.streams > 0 {
        let account = &report.slow.account;
        let text = format!(
            "{} streams received {} events, missed {}",
            grouped(report.slow.streams),
            grouped(account.received),
            grouped(account.missing)
        );
        rows.row("slow", &text);
    }
}

fn publishing(report: &Report, rows: &mut Rows) {
    let publishing = &report.publishing;
    if publishing.sent == 0 {
        return;
    }
    let (sent, accepted) = (grouped(publishing.sent), grouped(publishing.accepted));
    rows.row(
        "published",
        &format!("{sent} sent, {accepted} accepted, {}/s", grouped(publishing.per_s as u64)),
    );
    rows.row("  responses", &list(&publishing.answers));
    rows.row("  latency", &percentiles(&publishing.latency));
}

fn account(report: &Report, rows: &mut Rows) {
    if !report.scenario.publishes() {
        return;
    }
    let a = &report.account;
    let counts = [
        (report.publishing.sent, "sent"),
        (a.expected, "expected"),
        (a.received, "received"),
        (a.missing, "missing"),
        (a.announced, "of them announced"),
        (a.repeated, "repeated"),
        (a.out_of_order, "out of order"),
        (a.misrouted, "misrouted"),
    ];
    let always = |name: &str| !["of them announced", "misrouted"].contains(&name);
    let shown = counts.iter().filter(|(count, name)| *count > 0 || always(name));
    let words: Vec<String> =
        shown.map(|(count, name)| format!("{} {name}", grouped(*count))).collect();
    rows.row("account", &words.join(", "));
}

fn server(report: &Report, rows: &mut Rows) {
    let Some(server) = &report.server else {
        rows.row("server cost", "unknown (pass --pid, or run on the server's machine)");
        return;
    };
    let micros = |value: Option<f64>| value.map(|value| format!("{value:.2} µs"));
    rows.row_if_known("cpu per delivery", micros(server.cpu_per_delivery_us));
    rows.row_if_known("cpu per publish", micros(server.cpu_per_publish_us));
    rows.row_if_known("cpu per opening", micros(server.cpu_per_opening_us));
    let growth = server.memory_growth_per_stream.unwrap_or(0.0);
    rows.row_if_known(
        "memory per stream",
        server.memory_per_stream.map(|whole| {
            format!("{} growth ({} with what it used before)", kib(growth), kib(whole))
        }),
    );
    rows.row(
        "server memory",
        &format!(
            "{} before, {} idle, {} after",
            mib(server.memory_before),
            mib(server.memory_idle),
            mib(server.memory_after)
        ),
    );
    rows.row_if_known(
        "switches per 1,000",
        server.switches_per_1000.map(|switches| format!("{switches:.1}")),
    );
    rows.row(
        "server",
        &format!(
            "pid {}, {} threads, {:.2} s cpu measured",
            server.pid,
            server.threads,
            server.measured.cpu as f64 / 1e9
        ),
    );
}

fn client(report: &Report, rows: &mut Rows) {
    let client = &report.client;
    if client.processes == 0 {
        return;
    }
    let per_stream = client
        .memory_per_stream
        .map_or(String::new(), |bytes| format!(" ({bytes:.0} bytes per stream)"));
    let buffers = client
        .socket_buffers
        .map_or(String::new(), |bytes| format!(", socket buffers {}", mib(bytes)));
    rows.row(
        "client",
        &format!(
            "{} processes, {:.2} s cpu, {}{per_stream}{buffers}",
            client.processes,
            client.cpu_s,
            mib(client.memory)
        ),
    );
}

fn processors(report: &Report, rows: &mut Rows) {
    let Some(busy) = report.machine.busy else { return };
    let (cpus, others) = (report.machine.cpus, busy.others);
    let warning =
        if others > 0.15 * cpus as f64 { ": other processes distort the rates above" } else { "" };
    let text = format!(
        "server {:.2}, tool {:.2}, others {others:.2} of {cpus}{warning}",
        busy.server, busy.tool
    );
    rows.row("processors", &text);
}
