//! What every protocol has to say; each says it in a file of its own.

use crate::api::SpecProblem;
use crate::compare::settings::Settings;

use super::answer::{Answer, Comparison, Unreadable};
use super::request::{Body, Skip};

/// The traits of one protocol.
pub(super) trait Dialect {
    /// Which of `pointer`, `margin` and `threshold` have a meaning.
    fn knows(&self) -> &'static [&'static str];

    /// What else is wrong with settings.
    fn check(&self, _: &Settings) -> Option<SpecProblem> {
        None
    }

    /// The path that a normalized request usually goes to; `None` where there is no usual one.
    fn usual_path(&self, body: &Body) -> Option<&'static str>;

    /// Whether a normalized request may go to a path.
    fn fits(&self, path: &str, body: &Body) -> Result<(), Skip>;

    /// The request without what makes answers incomparable, and without what is nobody's business. What is normalized
    /// already stays as it is.
    fn normalize(&self, body: &Body) -> Result<Body, Skip>;

    /// Fields of a normalized request that only make a server tell more of its answer: one that refuses them may give the
    /// answer without.
    fn extras(&self) -> &'static [&'static str] {
        &[]
    }

    /// Reads the body of an answer.
    fn read(&self, settings: &Settings, body: &[u8]) -> Result<Answer, Unreadable>;

    /// Compares two answers that were read with the same settings.
    fn compare(&self, settings: &Settings, reference: &Answer, candidate: &Answer) -> Comparison;
}
