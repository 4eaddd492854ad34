//! One pair: two arms are asked the same at the same time.
//!
//! Must not wait or count: who asks decides how often, and `tally` counts. A pair is asked once, and once more only where an
//! arm refuses the question for what it asks beside the answer.

use futures::future::join;

use super::ask::{Arm, Failure};
use super::golden::Question;
use super::protocol::{Answer, Prepared, tokens};
use super::settings::Settings;

/// The two arms.
#[derive(Clone, Debug)]
pub struct Arms {
    /// The arm that is held to be right.
    pub reference: Arm,
    /// The arm on trial.
    pub candidate: Arm,
}

impl Arms {
    /// Whether both URLs lead to one server, whose answers then say nothing about another model.
    pub fn are_one_server(&self) -> bool {
        self.reference.is_same_server(&self.candidate)
    }
}

/// One of the two arms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The arm that is held to be right.
    Reference,
    /// The arm on trial.
    Candidate,
}

/// Which of the two requests is sent first. It is drawn for each pair, so that neither arm always finds the other at
/// work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The one whose answer is held to be right.
    ReferenceFirst,
    /// The other one.
    ReferenceLast,
}

impl Role {
    /// Its name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Candidate => "candidate",
        }
    }

    /// Draws which arm the reference is compared with: itself in a share of `control` of the pairs, which shows its own noise.
    pub fn drawn(random: &mut fastrand::Rng, control: f64) -> Self {
        if random.f64() < control {
            Self::Reference
        } else {
            Self::Candidate
        }
    }
}

impl Order {
    /// Draws an order, both alike.
    pub fn drawn(random: &mut fastrand::Rng) -> Self {
        if random.bool() {
            Self::ReferenceFirst
        } else {
            Self::ReferenceLast
        }
    }
}

/// What a pair came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Pair {
    /// Both answered.
    Compared {
        /// Line of the golden set, from 1.
        line: usize,
        /// Whether the answers agree.
        agrees: bool,
        /// How far they are apart; finite, 0 or more. `None` where that is not known.
        distance: Option<f64>,
        /// The fingerprint of the answer of the reference.
        answer: u64,
        /// Tokens that the answers have cost the reference and the arm that it is compared with; 0 where a server does not
        /// tell them.
        tokens: [u64; 2],
    },
    /// The reference answered, and the arm it is compared with did not, or with something else than an answer. That
    /// counts as a disagreement: an arm that fails where it would answer wrongly must not look better for it.
    CandidateFailed {
        /// Line of the golden set, from 1.
        line: usize,
        /// The arm that failed: the reference itself in a control pair.
        arm: Role,
        /// How.
        failure: Failure,
    },
    /// No pair: the reference did not answer, or the other arm has no capacity or is not there, which says nothing
    /// about how it answers.
    Failed {
        /// The arm that failed.
        arm: Role,
        /// How.
        failure: Failure,
    },
}

impl Pair {
    /// Whether it counts as agreement or as disagreement; `None` for no pair.
    pub fn agrees(&self) -> Option<bool> {
        match self {
            Self::Compared { agrees, .. } => Some(*agrees),
            Self::CandidateFailed { .. } => Some(false),
            Self::Failed { .. } => None,
        }
    }
}

/// What an arm gave to a question: its answer, and the tokens that it has cost.
type Given = Result<(Answer, u64), Failure>;

/// Asks both arms a question, or the reference twice where it is held `against` itself, and compares the answers. In a control
/// pair the second answer is treated just as a candidate's.
///
/// Some servers refuse a question that wants probabilities, as with speculative decoding. Users do not ask for them, so a
/// refusal says nothing about the answer: then both are asked without, because one answer with probabilities and one
/// without may name the same token differently.
pub async fn ask(arms: &Arms, settings: &Settings, question: &Question, against: Role, order: Order) -> Pair {
    let mut given = both(arms, settings, &question.prepared, against, order).await;
    if given.iter().any(|one| one.as_ref().is_err_and(Failure::is_refusal))
        && let Some(bare) = settings.without_extras(&question.prepared)
    {
        let [of_reference, of_other] = given.map(|one| one.map_or(0, |(_, tokens)| tokens));
        let [reference, other] = both(arms, settings, &bare, against, order).await;
        let with = |cost: u64| move |(answer, tokens): (Answer, u64)| (answer, tokens.saturating_add(cost));
        given = [reference.map(with(of_reference)), other.map(with(of_other))];
    }
    let [reference, candidate] = given;
    judged(settings, question.line, against, reference, candidate)
}

/// What the reference gives, and what the arm gives that it is held `against`.
async fn both(arms: &Arms, settings: &Settings, asked: &Prepared, against: Role, order: Order) -> [Given; 2] {
    let other = match against {
        Role::Candidate => &arms.candidate,
        Role::Reference => &arms.reference,
    };
    let reference = answer(&arms.reference, settings, asked);
    let candidate = answer(other, settings, asked);
    // What is joined first is sent first.
    match order {
        Order::ReferenceFirst => join(reference, candidate).await.into(),
        Order::ReferenceLast => {
            let (candidate, reference) = join(candidate, reference).await;
            [reference, candidate]
        }
    }
}

async fn answer(arm: &Arm, settings: &Settings, asked: &Prepared) -> Given {
    let body = arm.ask(asked).await?;
    let answer = settings.read(&body).map_err(Failure::Unreadable)?;
    Ok((answer, tokens(&body)))
}

fn judged(settings: &Settings, line: usize, role: Role, reference: Given, candidate: Given) -> Pair {
    match (reference, candidate) {
        (Ok((reference, of_reference)), Ok((candidate, of_candidate))) => {
            let comparison = settings.compare(&reference, &candidate);
            Pair::Compared {
                line,
                agrees: comparison.agrees,
                distance: comparison.distance,
                answer: settings.fingerprint(&reference),
                tokens: [of_reference, of_candidate],
            }
        }
        (Err(failure), _) => Pair::Failed {
            arm: Role::Reference,
            failure,
        },
        (Ok(_), Err(failure)) if failure.is_busy() => Pair::Failed { arm: role, failure },
        (Ok(_), Err(failure)) => Pair::CandidateFailed {
            line,
            arm: role,
            failure,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::protocol::Unreadable;
    use crate::compare::settings::Protocol;

    #[test]
    fn a_failed_candidate_disagrees_unless_it_is_busy_or_the_reference_failed() {
        use Failure::{Status, Timeout};
        let settings = Settings::new(Protocol::OpenInference);
        let one = || Ok((Answer::Numbers(vec![vec![1.0]]), 3));
        let unreadable = || Err(Failure::Unreadable(Unreadable::Form("it is no JSON")));
        for (reference, candidate, agrees) in [
            (one(), one(), Some(true)),
            (one(), Ok((Answer::Numbers(vec![vec![2.0]]), 3)), Some(false)),
            (one(), Err(Status(500)), Some(false)),
            (one(), unreadable(), Some(false)),
            (one(), Err(Status(429)), None),
            (one(), Err(Timeout), None),
            (Err(Status(500)), one(), None),
            (Err(Status(500)), Err(Status(500)), None),
            (unreadable(), unreadable(), None),
        ] {
            let told = format!("{reference:?} {candidate:?}");
            let pair = judged(&settings, 3, Role::Candidate, reference, candidate);
            assert_eq!(pair.agrees(), agrees, "{told}");
        }
    }

    #[test]
    fn failures_name_the_arm() {
        let settings = Settings::new(Protocol::OpenInference);
        let fine = || Ok((Answer::Numbers(vec![vec![1.0]]), 3));
        let failed = || Err(Failure::Status(500));
        let of = |role, reference, candidate| match judged(&settings, 3, role, reference, candidate) {
            Pair::Failed { arm, .. } => ("no pair", arm),
            Pair::CandidateFailed { arm, line: 3, .. } => ("disagrees", arm),
            other => panic!("{other:?}"),
        };
        assert_eq!(of(Role::Candidate, fine(), failed()), ("disagrees", Role::Candidate));
        assert_eq!(of(Role::Reference, fine(), failed()), ("disagrees", Role::Reference));
        assert_eq!(of(Role::Candidate, failed(), fine()), ("no pair", Role::Reference));
        let busy = Err(Failure::Status(503));
        assert_eq!(of(Role::Candidate, fine(), busy), ("no pair", Role::Candidate));
    }
}
