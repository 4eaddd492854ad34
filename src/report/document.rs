//! The form of a report: headings, sentences, tables and charts. Data only; each output format is a file of its own.
//!
//! Every text in it may come from the cluster. It is plain text here, and each output format escapes it.

mod html;
mod markdown;
mod svg;

pub use html::html;
pub use markdown::markdown;

use k8s_openapi::jiff::Timestamp;

/// A report that can be written as Markdown or HTML.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub(super) title: String,
    pub(super) blocks: Vec<Block>,
}

/// One piece of a document.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Block {
    /// A heading of the second level.
    Section(String),
    /// A heading of the third level.
    Part(String),
    /// A paragraph.
    Text(String),
    /// A table.
    Table(Table),
    /// A chart, with the table of its figures.
    Chart(Chart, Table),
}

/// A table whose first column names its rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    pub(super) caption: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(caption: impl Into<String>, head: &[&str], rows: Vec<Vec<String>>) -> Self {
        Self {
            caption: caption.into(),
            head: head.iter().map(|&name| name.to_owned()).collect(),
            rows,
        }
    }

    /// A table of names and values.
    pub(super) fn listing(caption: &str, rows: Vec<(&str, String)>) -> Self {
        let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]);
        Self::new(caption, &["What", "Value"], rows.collect())
    }
}

/// A chart over time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chart {
    pub(super) title: String,
    /// What it shows, for those who do not see it.
    pub(super) description: String,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    pub(super) drawn: Drawn,
}

/// What a chart shows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Drawn {
    /// Shares in percent that sum to 100, one upon the other, each from its time to the next.
    Bands {
        names: Vec<String>,
        steps: Vec<(Timestamp, Vec<i32>)>,
    },
    /// Values over time.
    Lines { unit: Unit, lines: Vec<Line> },
}

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// As percent.
    Share,
    /// As they are.
    Number,
}

/// One line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) what: What,
    /// Values with their times, in Unix milliseconds.
    pub(super) points: Vec<(i64, f64)>,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// What the candidate did.
    Candidate,
    /// What the baseline did.
    Baseline,
    /// The largest tolerated value.
    Most,
    /// The smallest tolerated value.
    Least,
}

impl What {
    /// What the legend calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Candidate => "Candidate",
            Self::Baseline => "Baseline",
            Self::Most => "Tolerated up to",
            Self::Least => "Tolerated from",
        }
    }
}
