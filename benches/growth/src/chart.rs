//! A picture with both axes logarithmic, as SVG; to be read on a light page and on a dark one.

use std::fmt::Write as _;

use crate::plot::thousands;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 100.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 48.0;
/// Between two names at the end of their lines.
const NAME: f64 = 15.0;

/// One line of it.
#[derive(Debug)]
pub struct Series {
    pub name: &'static str,
    /// By the first one.
    pub points: Vec<(f64, f64)>,
}

/// One picture.
#[derive(Debug)]
pub struct Chart<'a> {
    pub title: &'a str,
    pub across: &'a str,
    pub series: &'a [Series],
}

/// Colours that differ for the colour-blind too, on a light page and on a dark one; names stand at the lines besides.
const STYLE: &str = "
text { font: 13px system-ui, sans-serif; fill: #333 }
.title { font-size: 15px; font-weight: 600 }
.grid { stroke: #8884; stroke-width: 1 }
.line { fill: none; stroke-width: 2 }
.direct { --c: #777 } .haproxy { --c: #b35900 } .relay { --c: #0b62c4 } .steered { --c: #7b3fb5 } .kernel { --c: #0a7d4b }
.line { stroke: var(--c) } circle { fill: var(--c) } text.name { fill: var(--c); font-weight: 600 }
@media (prefers-color-scheme: dark) {
text { fill: #ccc }
.direct { --c: #aaa } .haproxy { --c: #f0a050 } .relay { --c: #6db1ff } .steered { --c: #c79bf2 } .kernel { --c: #4fd19a }
}
";

/// From a power of ten, or twice or five times one, below the least to one above the most.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut least, mut most) = (f64::MAX, f64::MIN_POSITIVE);
    for value in values {
        least = least.min(value);
        most = most.max(value);
    }
    let steps = || (-3..=12).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power)));
    let below = steps().filter(|step| *step <= least).fold(1e-3, f64::max);
    let above = steps().find(|step| *step >= most && *step > below).unwrap_or(1e13);
    (below, above)
}

/// The lines of the grid.
fn ticks((least, most): (f64, f64), close: bool) -> Vec<f64> {
    let steps: &[f64] = if close { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let all = (-3..=13).flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
    all.filter(|tick| *tick >= least * 0.999 && *tick <= most * 1.001).collect()
}

fn label(tick: f64) -> String {
    if tick < 1.0 { tick.to_string() } else { thousands(tick) }
}

impl Chart<'_> {
    /// What is not above zero has no place on such axes and is left out.
    pub fn svg(&self) -> String {
        let all = || self.series.iter().flat_map(|s| s.points.iter()).filter(|point| point.1 > 0.0);
        let (across, up) = (bounds(all().map(|point| point.0)), bounds(all().map(|point| point.1)));
        let scale = |(least, most): (f64, f64), value: f64| (value / least).ln() / (most / least).ln();
        let x = |value: f64| LEFT + scale(across, value) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - scale(up, value) * (HEIGHT - TOP - BOTTOM);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"22\">{}</text>\n",
            self.title, self.title
        );
        let (end, floor) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in ticks(up, up.1 / up.0 < 300.0) {
            let (at, text) = (y(tick), label(tick));
            put(
                &mut out,
                format_args!(
                    "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{end}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                    LEFT - 8.0,
                    at + 4.0
                ),
            );
        }
        for tick in ticks(across, false) {
            let (at, text) = (x(tick), label(tick));
            put(
                &mut out,
                format_args!(
                    "<path class=\"grid\" d=\"M{at:.1} {TOP}V{floor}\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                    floor + 18.0
                ),
            );
        }
        put(
            &mut out,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                f64::midpoint(LEFT, end),
                floor + 38.0,
                self.across
            ),
        );
        let mut names = Vec::new();
        for Series { name, points } in self.series {
            let shown: Vec<_> = points.iter().filter(|point| point.1 > 0.0).collect();
            let mut path = String::new();
            for (index, (from, to)) in shown.iter().copied().enumerate() {
                let letter = if index == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{letter}{:.1} {:.1}", x(*from), y(*to));
            }
            put(&mut out, format_args!("<g class=\"{name}\"><path class=\"line\" d=\"{path}\"/>"));
            for (from, to) in shown.iter().copied() {
                put(&mut out, format_args!("<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>", x(*from), y(*to)));
            }
            out.push_str("</g>\n");
            if let Some(last) = shown.last() {
                names.push((y(last.1), x(last.0), *name));
            }
        }
        // Names stand apart, the lowest at the end of its line.
        names.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut last = f64::MAX;
        for (at, end, name) in names {
            let at = at.min(last - NAME);
            last = at;
            put(
                &mut out,
                format_args!(
                    "<text class=\"name {name}\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
                    end + 8.0,
                    at + 4.0
                ),
            );
        }
        out.push_str("</svg>\n");
        out
    }
}

/// A line; to write into a string never fails.
fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(line);
    out.push('\n');
}
