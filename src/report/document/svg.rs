//! A chart as SVG, inside the HTML. Its colours are those of the page.

use k8s_openapi::jiff::Timestamp;
use maud::{Markup, html};

use crate::judge::text as figures;

use super::super::text::{shown, time_of};
use super::{Chart, Drawn, Line, Unit, What};

/// Size of a chart, and the margins around what is drawn.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 52.0;

/// Colours that bands are told apart by.
const COLOURS: usize = 6;

/// What the area of a chart stands for.
struct Frame {
    /// Times at both sides, in Unix milliseconds.
    times: (i64, i64),
    /// Values at the bottom and at the top.
    values: (f64, f64),
}

impl Frame {
    fn x(&self, at: i64) -> f64 {
        let (from, until) = self.times;
        let share = at.saturating_sub(from) as f64 / until.saturating_sub(from).max(1) as f64;
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = self.values;
        let share = (value - low) / (high - low).max(f64::MIN_POSITIVE);
        HEIGHT - BOTTOM - share.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }
}

/// Draws a chart. `number` is one that no other chart of the page has.
pub(super) fn svg(number: usize, chart: &Chart) -> Markup {
    let (title, description) = (format!("chart-{number}-title"), format!("chart-{number}-text"));
    let frame = Frame {
        times: (chart.from.as_millisecond(), chart.until.as_millisecond()),
        values: match &chart.drawn {
            Drawn::Bands { .. } => (0.0, 100.0),
            Drawn::Lines { lines, .. } => range(lines),
        },
    };
    html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img"
            aria-labelledby=(format!("{title} {description}")) {
            title id=(title) { (shown(&chart.title)) }
            desc id=(description) { (shown(&chart.description)) }
            @match &chart.drawn {
                Drawn::Bands { names, steps } => {
                    @for (rect, class) in bands(&frame, steps) {
                        rect class=(class) x=(at(rect[0])) y=(at(rect[1])) width=(at(rect[2])) height=(at(rect[3])) {}
                    }
                    (axes(&frame, |value| format!("{value:.0}%")))
                    (legend(names.iter().enumerate().map(|(at, name)| (Key::Band(at), name.clone())).collect()))
                }
                Drawn::Lines { unit, lines } => {
                    @for line in lines { polyline class=(curve(line.what)) points=(points(&frame, line)) {} }
                    (axes(&frame, |value| told(*unit, value)))
                    (legend(lines.iter().map(|line| (Key::Curve(line.what), line.what.name().to_owned())).collect()))
                }
            }
        }
    }
}

/// A value as an axis shows it.
fn told(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Share => figures::percent(value),
        Unit::Number => figures::rounded(value).to_string(),
    }
}

/// A coordinate.
fn at(value: f64) -> String {
    format!("{value:.1}")
}

/// The values that lines need, with some room above, and nothing cut off at 0.
fn range(lines: &[Line]) -> (f64, f64) {
    let values = || lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    let (low, high) = (values().fold(0.0, f64::min), values().fold(0.0, f64::max));
    if low == high {
        (low, low + 1.0)
    } else {
        (low, high + 0.1 * (high - low))
    }
}

/// The corner and size of each band between two steps, and its class.
fn bands(frame: &Frame, steps: &[(Timestamp, Vec<i32>)]) -> Vec<([f64; 4], String)> {
    let mut out = Vec::new();
    for (index, (from, shares)) in steps.iter().enumerate() {
        let until = steps
            .get(index + 1)
            .map_or(frame.times.1, |(next, _)| next.as_millisecond());
        let (left, right) = (frame.x(from.as_millisecond()), frame.x(until));
        let mut below = 0.0;
        for (band, share) in shares.iter().enumerate().filter(|(_, share)| **share > 0) {
            let above = below + f64::from(*share);
            let (top, bottom) = (frame.y(above), frame.y(below));
            if right > left && bottom > top {
                let class = format!("band s{}", band % COLOURS);
                out.push(([left, top, right - left, bottom - top], class));
            }
            below = above;
        }
    }
    out
}

fn points(frame: &Frame, line: &Line) -> String {
    let points = line
        .points
        .iter()
        .map(|(time, value)| format!("{},{}", at(frame.x(*time)), at(frame.y(*value))));
    points.collect::<Vec<_>>().join(" ")
}

fn curve(what: What) -> &'static str {
    match what {
        What::Candidate => "curve candidate",
        What::Baseline => "curve baseline",
        What::Most | What::Least => "curve limit",
    }
}

/// Both axes: the first and last time, and the values at the bottom, in the middle and at the top.
fn axes(frame: &Frame, told: impl Fn(f64) -> String) -> Markup {
    let (left, right, bottom) = (at(LEFT), at(WIDTH - RIGHT), HEIGHT - BOTTOM);
    let (low, high) = frame.values;
    html! {
        path class="axis" d=(format!("M{left} {} V{bottom} H{right}", at(TOP))) {}
        @for value in [low, f64::midpoint(low, high), high] {
            text x=(at(LEFT - 6.0)) y=(at(frame.y(value) + 4.0)) text-anchor="end" { (told(value)) }
        }
        text x=(left) y=(at(bottom + 16.0)) { (time_of(frame.times.0)) }
        text x=(right) y=(at(bottom + 16.0)) text-anchor="end" { (time_of(frame.times.1)) }
    }
}

/// What stands before a name in a legend.
#[derive(Clone, Copy)]
enum Key {
    Band(usize),
    Curve(What),
}

/// The names of what is drawn, each with its colour or stroke, in columns of the same width.
fn legend(entries: Vec<(Key, String)>) -> Markup {
    let width = (WIDTH - LEFT - RIGHT) / entries.len().max(1) as f64;
    let y = HEIGHT - 14.0;
    html! {
        @for (index, (key, name)) in entries.iter().enumerate() {
            @let x = LEFT + width * index as f64;
            @match key {
                Key::Band(band) => {
                    rect class=(format!("s{}", band % COLOURS)) x=(at(x)) y=(at(y - 10.0)) width="12" height="12" {}
                }
                Key::Curve(what) => {
                    path class=(curve(*what)) d=(format!("M{} {} h22", at(x), at(y - 4.0))) {}
                }
            }
            text x=(at(x + 27.0)) y=(at(y)) { (shown(name)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(values: (f64, f64)) -> Frame {
        Frame {
            times: (0, 1_000),
            values,
        }
    }

    #[test]
    fn bands_fill_the_area_from_step_to_step() {
        let time = |millis| Timestamp::from_millisecond(millis).unwrap();
        let steps = [(time(0), vec![100, 0]), (time(500), vec![75, 25])];
        let drawn = bands(&frame((0.0, 100.0)), &steps);
        assert_eq!(drawn.len(), 3);
        let area: f64 = drawn.iter().map(|([_, _, width, height], _)| width * height).sum();
        let whole = (WIDTH - LEFT - RIGHT) * (HEIGHT - TOP - BOTTOM);
        assert!((area - whole).abs() < 1e-6, "{area} of {whole}");
        assert_eq!(drawn[2].1, "band s1");
    }

    #[test]
    fn a_range_is_never_empty_and_holds_all_values() {
        let line = |points: Vec<(i64, f64)>| Line {
            what: What::Candidate,
            points,
        };
        assert_eq!(range(&[]), (0.0, 1.0));
        let (low, high) = range(&[line(vec![(0, -1.0), (1, 3.0)])]);
        assert!(low == -1.0 && high > 3.0);
    }

    #[test]
    fn what_is_out_of_the_frame_stays_at_its_edge() {
        let frame = frame((0.0, 1.0));
        assert_eq!(frame.x(-5), LEFT);
        assert_eq!(frame.x(5_000), WIDTH - RIGHT);
        assert_eq!(frame.y(7.0), TOP);
    }
}
