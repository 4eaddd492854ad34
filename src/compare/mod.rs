//! The comparer: asks two arms the same question and says whether they answer alike.
//!
//! No model server exports its outputs, and a distribution of outputs hides flips. So drift is counted in *pairs*: one
//! request of a golden set goes to the reference and to the candidate, and the pair agrees or it does not. Some pairs
//! ask the reference twice: that is its own noise.
//!
//! Owns how a request is made comparable, what an answer is in each protocol, when two answers differ, and what was
//! counted. Everything but `ask`, `pair`, `receive` and `serve` is pure. Must not know Kubernetes, nor what is done with a verdict, and
//! must keep no text of a request or an answer beyond the pair it belongs to: what leaves this module are counts,
//! distances, reasons and line numbers.

mod ask;
mod export;
mod golden;
mod pace;
mod pair;
mod protocol;
mod receive;
mod serve;
mod settings;
mod tally;
mod verdict;

pub use ask::{Arm, ArmError, Failure, Limits};
pub use export::{Compared, Exported, Source};
pub use golden::{FEW_QUESTIONS, Golden, GoldenError, LONGEST_LINE, LONGEST_SET, Question, digest, without_mark};
pub use pace::{Allowance, Spent};
pub use pair::{Arms, Order, Pair, Role, ask};
pub use protocol::{Answer, Body, Comparison, Output, Prepared, Request, Skip, Token, Unreadable};
pub use serve::{Comparer, serve};
pub use settings::{Protocol, Settings};
pub use tally::{Answers, Distances, Side, Tally, Variety};
pub use verdict::{Finding, Risks, interval, judge};
