//! What verification found, in sentences. Data only; it decides nothing.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::api::{LONGEST_MESSAGE, plain};

use super::super::link::Head;

/// What is checked of records, in the order in which it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Check {
    /// The record can be read, and holds nothing that guardbit would not write.
    Form,
    /// The signature holds under a given key.
    Signature,
    /// The statement is in canonical form.
    Canonical,
    /// Numbers go up by one, from 1 or from a record that is known from elsewhere.
    Sequence,
    /// The first subject is the digest of the record before.
    Link,
    /// All records are about the same model.
    Model,
    /// Time does not go back.
    Time,
    /// Digests are those of the texts that the record has.
    Subjects,
    /// What was counted begins where the record before ended.
    Gap,
    /// The tests come to the same verdicts from the same counts.
    Evidence,
    /// The same decision follows from what was seen and heard.
    Decision,
    /// What stands beside the statement says what the statement says.
    Beside,
    /// The records are those that are known from elsewhere.
    Anchor,
}

impl Check {
    /// Its number, as in the documentation.
    fn number(self) -> u8 {
        match self {
            Self::Form => 1,
            Self::Signature => 2,
            Self::Canonical => 3,
            Self::Sequence => 4,
            Self::Link => 5,
            Self::Model => 6,
            Self::Time => 7,
            Self::Subjects => 8,
            Self::Gap => 9,
            Self::Evidence => 10,
            Self::Decision => 11,
            // 12, which counts approvals, is a part of 11: they are in what was seen.
            Self::Beside => 13,
            Self::Anchor => 14,
        }
    }

    /// What is checked, in a few words.
    fn words(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Signature => "signature",
            Self::Canonical => "canonical form",
            Self::Sequence => "sequence",
            Self::Link => "link",
            Self::Model => "model",
            Self::Time => "time",
            Self::Subjects => "subjects",
            Self::Gap => "gap",
            Self::Evidence => "evidence",
            Self::Decision => "decision",
            Self::Beside => "fields beside the statement",
            Self::Anchor => "anchor",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "V{} ({})", self.number(), self.words())
    }
}

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Severity {
    /// The records are not what guardbit wrote, or guardbit did not write what it should have.
    Broken,
    /// Something cannot be known from the records alone.
    Reservation,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The record: the file or object that holds it, or its number where it is missing.
    pub record: String,
    /// What was checked.
    pub check: Check,
    /// How much it weighs.
    pub severity: Severity,
    /// What was found, and what was expected.
    pub message: String,
}

impl Finding {
    /// Something that does not hold. Both texts may hold words of whoever wrote the record.
    pub(super) fn broken(record: &str, check: Check, message: &str) -> Self {
        Self {
            record: plain(record, LONGEST_MESSAGE),
            check,
            severity: Severity::Broken,
            message: plain(message, LONGEST_MESSAGE),
        }
    }

    /// Something that cannot be known.
    pub(super) fn reservation(record: &str, check: Check, message: &str) -> Self {
        Self {
            severity: Severity::Reservation,
            ..Self::broken(record, check, message)
        }
    }

    /// Whether it breaks the chain.
    pub fn is_broken(&self) -> bool {
        self.severity == Severity::Broken
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            record, check, message, ..
        } = self;
        match self.severity {
            Severity::Broken => write!(f, "{record} does not hold: {check}: {message}"),
            Severity::Reservation => write!(f, "{record}: {check}: {message}"),
        }
    }
}

/// A record whose decision was not made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotReplayed {
    /// Its number.
    pub sequence: u64,
    /// Why not.
    pub why: String,
}

/// What was found of the records of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Number of records.
    pub records: usize,
    /// What does not hold, and what cannot be known, in the order of the records.
    pub findings: Vec<Finding>,
    /// Number of decisions that were made again from counts alone.
    pub replayed: usize,
    /// Number of decisions that were made again from a state of the tests whose counts are not on record.
    pub from_state: usize,
    /// Decisions that were not made again. Empty as well where the chain is broken, because then none is.
    pub not_replayed: Vec<NotReplayed>,
    /// Number of records whose signature holds under a given key.
    pub signed: usize,
    /// The number from which on no record is missing; `None` where one is.
    pub complete_from: Option<u64>,
    /// The newest record.
    pub head: Head,
}

/// What becomes of it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// Everything holds.
    Holds,
    /// What can be checked holds.
    HoldsWithReservations,
    /// Something does not hold.
    Broken,
}

impl Outcome {
    fn of<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Self {
        let worst = findings.into_iter().map(|finding| finding.severity).min();
        match worst {
            None => Self::Holds,
            Some(Severity::Reservation) => Self::HoldsWithReservations,
            Some(Severity::Broken) => Self::Broken,
        }
    }
}

impl Report {
    /// Whether the records hold.
    pub fn outcome(&self) -> Outcome {
        Outcome::of(&self.findings)
    }

    /// The first record that does not hold, if there is one.
    pub fn first_broken(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.is_broken())
    }

    /// How many decisions were not made again, by the reason.
    fn left_out(&self) -> BTreeMap<&str, usize> {
        let mut reasons = BTreeMap::new();
        for NotReplayed { why, .. } in &self.not_replayed {
            *reasons.entry(why.as_str()).or_default() += 1;
        }
        reasons
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            name,
            records,
            signed,
            head,
            ..
        } = self;
        let s = if *records == 1 { "" } else { "s" };
        write!(f, "{namespace}/{name}: {records} record{s}, ")?;
        match signed {
            0 => f.write_str("no signature checked")?,
            all if all == records => f.write_str("signed")?,
            some => write!(f, "{some} of them signed")?,
        }
        if let Some(from) = self.complete_from {
            write!(f, ", {from}…{} complete", head.sequence)?;
        }
        if let Some(first) = self.first_broken() {
            let others = self.findings.iter().filter(|finding| finding.is_broken()).count() - 1;
            write!(f, "; {first}")?;
            if others > 0 {
                write!(f, " (and {others} more)")?;
            }
        } else {
            write!(f, ", {} replayed", self.replayed)?;
            if self.from_state > 0 {
                write!(f, ", {} from state", self.from_state)?;
            }
            for (why, count) in self.left_out() {
                write!(f, ", {count} not replayed ({why})")?;
            }
        }
        write!(f, "; head {} sha256:{}", head.sequence, head.digest)
    }
}

/// What was found of all records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Findings that belong to no chain: records that cannot be opened, and anchors of models that have no record here.
    pub apart: Vec<Finding>,
    /// One report for each model.
    pub chains: Vec<Report>,
}

impl Verified {
    /// Everything that was found.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.apart
            .iter()
            .chain(self.chains.iter().flat_map(|chain| &chain.findings))
    }

    /// Whether all records hold.
    pub fn outcome(&self) -> Outcome {
        Outcome::of(self.findings())
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.apart {
            writeln!(f, "{finding}")?;
        }
        for chain in &self.chains {
            writeln!(f, "{chain}")?;
            for finding in chain.findings.iter().filter(|finding| !finding.is_broken()) {
                writeln!(f, "  with a reservation: {finding}")?;
            }
        }
        Ok(())
    }
}
