//! Line plots as inline SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;
/// Points drawn of one line; more could not be distinguished at this width.
const POINTS_MAX: usize = 600;

/// The scale of the horizontal axis.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    Linear,
    /// Percentiles: 90, 99 and 99.9 are equidistant.
    Nines,
}

pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) points: Vec<(f64, f64)>,
}

pub(super) struct Plot<'a> {
    pub(super) x_label: &'a str,
    pub(super) y_label: &'a str,
    pub(super) axis: Axis,
    /// At most four.
    pub(super) lines: Vec<Line<'a>>,
}

impl Plot<'_> {
    /// An `<svg>` element; `None` without a line of at least two points.
    pub(super) fn render(&self) -> Option<String> {
        let drawn: Vec<(usize, &Line<'_>)> =
            self.lines.iter().enumerate().filter(|(_, line)| line.points.len() > 1).collect();
        if drawn.is_empty() {
            return None;
        }
        let all = || drawn.iter().flat_map(|(_, line)| &line.points);
        let xs = all().map(|&(x, _)| self.position(x));
        let (from, to) = xs.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
        let highest = all().map(|&(_, y)| y).fold(0.0, f64::max);
        let (step, top) = steps(highest);
        let scale = Scale { from, width: (to - from).max(f64::MIN_POSITIVE), top };
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} by {}\">",
            self.y_label, self.x_label
        );
        horizontal_grid(&mut svg, &scale, step);
        self.vertical_grid(&mut svg, &scale);
        for (index, line) in &drawn {
            self.draw(&mut svg, &scale, *index, line);
        }
        let _ = write!(
            svg,
            "<text class=\"axis\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            HEIGHT - 6.0,
            self.x_label
        );
        svg.push_str("</svg>");
        Some(svg)
    }

    /// The lines' names, if there is more than one.
    pub(super) fn legend(&self) -> String {
        let named = self.lines.iter().enumerate().filter(|(_, line)| line.points.len() > 1);
        let spans: Vec<String> = named
            .map(|(index, line)| format!("<span class=\"l{index}\">{}</span>", line.name))
            .collect();
        if spans.len() > 1 { spans.concat() } else { String::new() }
    }

    /// Maps a value to the axis, before scaling.
    fn position(&self, x: f64) -> f64 {
        match self.axis {
            Axis::Linear => x,
            Axis::Nines => -(1.0 - x.min(99.9999) / 100.0).log10(),
        }
    }

    fn draw(&self, svg: &mut String, scale: &Scale, index: usize, line: &Line<'_>) {
        let every = line.points.len().div_ceil(POINTS_MAX).max(1);
        let _ = write!(svg, "<polyline class=\"l{index}\" points=\"");
        for &(x, y) in line.points.iter().step_by(every) {
            let _ = write!(svg, "{:.1},{:.1} ", scale.x(self.position(x)), scale.y(y));
        }
        svg.push_str("\"/>");
        for &(x, y) in line.points.iter().step_by(every) {
            let (cx, cy) = (scale.x(self.position(x)), scale.y(y));
            let _ =
                write!(svg, "<circle class=\"l{index}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"2\">");
            let _ = write!(
                svg,
                "<title>{}: {} at {}</title></circle>",
                line.name,
                number(y),
                number(x)
            );
        }
    }

    fn vertical_grid(&self, svg: &mut String, scale: &Scale) {
        let ticks: Vec<(f64, String)> = match self.axis {
            Axis::Nines => [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999]
                .map(|p| (self.position(p), format!("{p}")))
                .into(),
            Axis::Linear => {
                let (step, _) = steps(scale.width);
                let first = (scale.from / step).ceil();
                (0..20).map(|i| (first + f64::from(i)) * step).map(|x| (x, number(x))).collect()
            }
        };
        let end = scale.from + scale.width * 1.0001;
        for (x, text) in ticks.into_iter().filter(|(x, _)| (scale.from..=end).contains(x)) {
            let (x, bottom) = (scale.x(x), HEIGHT - BOTTOM);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>"
            );
            let _ = write!(
                svg,
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
                bottom + 17.0
            );
        }
    }
}

struct Scale {
    from: f64,
    width: f64,
    top: f64,
}

impl Scale {
    fn x(&self, x: f64) -> f64 {
        LEFT + (x - self.from) / self.width * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - y / self.top * (HEIGHT - TOP - BOTTOM)
    }
}

fn horizontal_grid(svg: &mut String, scale: &Scale, step: f64) {
    for index in 0..=((scale.top / step).round() as u32) {
        let value = f64::from(index) * step;
        let (y, right) = (scale.y(value), WIDTH - RIGHT);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>"
        );
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            y + 4.0,
            number(value)
        );
    }
}

/// The distance of grid lines (1, 2 or 5 times a power of ten, for about five lines up to
/// `highest`), and the lowest multiple of it that is not below `highest`.
fn steps(highest: f64) -> (f64, f64) {
    let highest = if highest > 0.0 { highest } else { 1.0 };
    let rough = highest / 5.0;
    let magnitude = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|m| m * magnitude)
        .into_iter()
        .find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(rough);
    (step, (highest / step).ceil().max(1.0) * step)
}

/// Formats a number for an axis: 1.2k, 0.05.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => trimmed(value / 1e6, 2) + "M",
        v if v >= 1e4 => trimmed(value / 1e3, 1) + "k",
        v if v >= 10.0 => trimmed(value, 1),
        _ => trimmed(value, 3),
    }
}

fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_on_round_numbers() {
        assert_eq!(steps(100.0), (20.0, 100.0));
        assert_eq!(steps(101.0), (50.0, 150.0));
        assert_eq!(steps(0.0).1, 1.0);
        assert_eq!(
            [0.0, 0.05, 12.0, 1234.0, 15_000.0, 2.5e6].map(number),
            ["0", "0.05", "12", "1234", "15k", "2.5M"]
        );
    }

    #[test]
    fn a_plot_without_a_line_is_not_rendered() {
        let line = Line { name: "a", points: vec![(1.0, 1.0)] };
        let plot = Plot { x_label: "s", y_label: "ms", axis: Axis::Linear, lines: vec![line] };
        assert!(plot.render().is_none());
    }

    #[test]
    fn points_stay_inside_the_frame() {
        let points = (0..2000).map(|i| (f64::from(i), f64::from(i % 7))).collect();
        let plot = Plot {
            x_label: "s",
            y_label: "ms",
            axis: Axis::Linear,
            lines: vec![Line { name: "a", points }],
        };
        let svg = plot.render().expect("a line");
        assert!(svg.matches("<circle").count() <= POINTS_MAX);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
