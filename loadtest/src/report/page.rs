//! The report as a self-contained HTML page.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use super::plot::{Axis, Line, Plot};
use super::rows::{grouped, kib};
use super::table;
use super::{Fair, Point, Report, Selectors};

const STYLE: &str = include_str!("page.css");

pub(crate) fn render(report: &Report) -> String {
    let title = escape(&format!("{} against {}", report.scenario.name, report.scenario.url));
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
        <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
        <title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1><p>{}</p>",
        escape(&report.scenario.about)
    );
    verdict(report, &mut html);
    html.push_str("<section class=\"tiles\">");
    for (name, value) in tiles(report) {
        let _ = write!(html, "<div><b>{}</b><span>{}</span></div>", escape(&value), escape(name));
    }
    html.push_str("</section><section class=\"plots\">");
    for (caption, plot) in plots(report) {
        if let Some(svg) = plot.render() {
            let _ = write!(
                html,
                "<figure><figcaption>{caption}, {}{}</figcaption>{svg}</figure>",
                plot.y_label,
                plot.legend()
            );
        }
    }
    let _ =
        write!(html, "</section><h2>All numbers</h2><pre>{}</pre>", escape(&table::render(report)));
    let configuration = serde_json::to_string_pretty(&report.scenario).unwrap_or_default();
    let machine = &report.machine;
    let _ = write!(
        html,
        "<details><summary>Configuration</summary><pre>{}</pre></details><footer>loadtest {}, \
        {} processors, {} MiB, Linux {}, began <time>{}</time>\
        </footer></main></body></html>",
        escape(&configuration),
        escape(&report.tool),
        machine.cpus,
        grouped(machine.memory_mib),
        escape(&machine.kernel),
        date(report.began)
    );
    html
}

/// Seconds since 1970 as date and time, `2026-11-21T19:05:00Z`.
fn date(seconds: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string()
}

fn verdict(report: &Report, html: &mut String) {
    if report.problems.is_empty() {
        let account = &report.account;
        let (expected, received) = (grouped(account.expected), grouped(account.received));
        let text = match (report.scenario.publishes() && account.expected > 0, account.missing) {
            (true, 0) => {
                format!("Every one of {expected} expected deliveries arrived exactly once.")
            }
            (true, _) => format!(
                "{received} of {expected} expected deliveries arrived, each once; the server has \
                announced that the others are missing."
            ),
            (false, _) => "No problems.".to_owned(),
        };
        let _ = write!(html, "<p class=\"good\">{text}</p>");
        return;
    }
    html.push_str("<ul class=\"bad\">");
    for problem in &report.problems {
        let _ = write!(html, "<li>{}</li>", escape(problem));
    }
    html.push_str("</ul>");
}

/// The most important numbers.
fn tiles(report: &Report) -> Vec<(&'static str, String)> {
    let delivery = &report.delivery;
    let mut tiles = vec![("streams", grouped(report.opening.streams))];
    if delivery.count > 0 {
        tiles.push(("deliveries a second", grouped(delivery.per_s as u64)));
        tiles.push(("median latency", format!("{:.1} ms", delivery.latency.p50_ms)));
        tiles.push(("99th percentile", format!("{:.1} ms", delivery.latency.p99_ms)));
    }
    if delivery.last_of_all.count > 0 {
        tiles.push(("last stream (median)", format!("{:.1} ms", delivery.last_of_all.p50_ms)));
    }
    if report.publishing.accepted > 0 && delivery.count == 0 {
        tiles.push(("publishes a second", grouped(report.publishing.per_s as u64)));
    }
    let server = report.server.as_ref();
    if let Some(micros) = server.and_then(|server| server.cpu_per_delivery_us) {
        tiles.push(("server cpu per delivery", format!("{micros:.2} µs")));
    }
    if let Some(bytes) = server.and_then(|server| server.memory_growth_per_stream) {
        tiles.push(("server memory growth per stream", kib(bytes)));
    }
    for (name, streams) in
        [("lagged streams", report.fates.lagged), ("reset streams", report.fates.reset)]
    {
        if streams > 0 {
            tiles.push((name, grouped(streams)));
        }
    }
    tiles.extend(report.fair.iter().flat_map(fair_tiles));
    tiles.extend(report.selectors.iter().flat_map(selectors_tiles));
    tiles
}

fn fair_tiles(fair: &Fair) -> Vec<(&'static str, String)> {
    let mut tiles = Vec::new();
    for (name, latency) in [
        ("small topic, 99th percentile", &fair.small_latency),
        ("opening, 99th percentile", &fair.opening),
        ("health check, 99th percentile", &fair.health),
    ] {
        if latency.count > 0 {
            tiles.push((name, format!("{:.1} ms", latency.p99_ms)));
        }
    }
    if let Some(loss) = fair.large_loss {
        tiles.push(("large topics' throughput lost", format!("{:.1} %", loss * 100.0)));
    }
    tiles
}

fn selectors_tiles(selectors: &Selectors) -> Vec<(&'static str, String)> {
    let ratios = [
        ("cpu per delivery, many topics to one", selectors.cpu_ratio),
        ("memory per stream, many topics to one", selectors.memory_ratio),
        ("cpu per opening, many topics to one", selectors.opening_ratio),
    ];
    let known = ratios.into_iter().filter_map(|(name, ratio)| Some((name, ratio?)));
    known.map(|(name, ratio)| (name, format!("× {ratio:.2}"))).collect()
}

/// The points until the end of the measurement, and one interval more. A run that waits in vain for
/// missing events would otherwise squeeze its plots into a corner.
fn measured(report: &Report) -> &[Point] {
    let end = report.measured_s.filter(|_| report.scenario.publishes());
    let points = end.map_or(report.series.len(), |end| {
        report.series.partition_point(|point| point.at_s <= end) + 1
    });
    &report.series[..points.min(report.series.len())]
}

fn plots(report: &Report) -> Vec<(&'static str, Plot<'_>)> {
    let over_time = |name, value: fn(&Point) -> Option<f64>| Line {
        name,
        points: measured(report)
            .iter()
            .filter_map(|point| Some((point.at_s, value(point)?)))
            .collect(),
    };
    let second =
        if report.fair.is_some() { "small topic, maximum" } else { "many topics, maximum" };
    let timed = |y_label, lines| Plot { x_label: "seconds", y_label, axis: Axis::Linear, lines };
    let memory = report
        .server
        .as_ref()
        .map(|server| server.memory_by_streams.as_slice())
        .unwrap_or_default();
    let before = report.server.as_ref().map_or(0, |server| server.memory_before);
    let per_stream = memory.iter().filter(|(streams, _)| *streams > 0);
    let memory_line = Line {
        name: "server, user memory",
        points: per_stream
            .map(|&(n, bytes)| (n as f64, bytes.saturating_sub(before) as f64 / 1024.0 / n as f64))
            .collect(),
    };
    let curve = |name, p: &super::Percentiles| Line { name, points: p.curve.clone() };
    vec![
        (
            "Latency over time, from the due time",
            timed(
                "ms",
                vec![
                    over_time("median", |p| (p.max_ms > 0.0).then_some(p.p50_ms)),
                    over_time("99th percentile", |p| (p.max_ms > 0.0).then_some(p.p99_ms)),
                    over_time("maximum", |p| (p.max_ms > 0.0).then_some(p.max_ms)),
                    over_time(second, |p| p.second_max_ms.filter(|ms| *ms > 0.0)),
                ],
            ),
        ),
        (
            "Latency by percentile, the slowest tenth, hundredth and thousandth spread out",
            Plot {
                x_label: "percentile",
                y_label: "ms",
                axis: Axis::Nines,
                lines: vec![
                    curve("arrival", &report.delivery.latency),
                    curve("response to the publisher", &report.publishing.latency),
                    curve("connect to response head", &report.opening.latency),
                ],
            },
        ),
        (
            "Deliveries",
            timed("each second", vec![over_time("deliveries", |p| Some(p.deliveries_per_s))]),
        ),
        (
            "Streams",
            timed(
                "number",
                vec![
                    over_time("at the end of an interval", |p| Some(p.streams as f64)),
                    over_time("fewest within it", |p| Some(p.streams_min as f64)),
                ],
            ),
        ),
        (
            "Server memory growth per stream during the ramp",
            Plot {
                x_label: "streams",
                y_label: "KiB",
                axis: Axis::Linear,
                lines: vec![memory_line],
            },
        ),
        (
            "Server memory over time",
            timed("MiB", vec![over_time("user memory", |p| p.server_memory_mib)]),
        ),
        (
            "Server cpu per delivery over time",
            timed("µs", vec![over_time("cpu per delivery", |p| p.cpu_per_delivery_us)]),
        ),
        ("Server cpu over time", timed("processors", vec![over_time("server", |p| p.server_cpu)])),
    ]
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_a_date() {
        assert_eq!(date(1_795_287_900), "2026-11-21T19:05:00Z");
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}
