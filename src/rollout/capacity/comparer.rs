//! The comparer: when it runs, which arms it asks and how often, and whether requests of users are mirrored to it.

use serde_json::json;

use crate::api::{LONGEST_MESSAGE, MirrorStatus, plain};
use crate::model::{Comparer, identity};

use super::super::observation::{ComparedArms, MirrorSeen, Workload, halve};
use super::super::plan::Order;
use super::super::trial::{Match, purpose_of};
use super::view::Capacity;

/// The most that a rate is halved: to a thousandth.
const MOST_HALVED: u8 = 10;

/// A rate stays while it is within the share and above this part of it: traffic that comes and goes must not restart the
/// comparer.
const LEAST_OF_SHARE: f64 = 0.25;

/// Whether requests of users are mirrored to the comparer.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::rollout) enum Mirroring {
    /// The spec does not ask for it.
    NotAsked,
    /// Nothing is compared now, or the comparer is not ready yet.
    NothingCompared,
    /// So many percent of them are.
    Percent { percent: i32, asked: String },
    /// The gateway or the API server does not take such a route, and says why.
    Refused { why: String, asked: String },
}

impl Mirroring {
    /// Percent of the requests that are mirrored, if any are.
    pub(in crate::rollout) fn percent(&self) -> Option<i32> {
        match self {
            Self::Percent { percent, .. } => Some(*percent),
            Self::NotAsked | Self::NothingCompared | Self::Refused { .. } => None,
        }
    }

    /// What is put on record of it.
    pub(in crate::rollout) fn record(&self) -> Option<MirrorStatus> {
        let (asked, refused) = match self {
            Self::NotAsked | Self::NothingCompared => return None,
            Self::Percent { asked, .. } => (asked, None),
            Self::Refused { why, asked } => (asked, Some(why)),
        };
        Some(MirrorStatus {
            asked: asked.clone(),
            refused: refused.cloned(),
        })
    }
}

impl Capacity<'_> {
    /// The arms that the comparer of the spec is to ask in a trial; `None` where no answers are compared. `requests` are
    /// those a second of the arm that has fewer, where they were counted.
    ///
    /// It begins as soon as both arms are ready, and goes on for as long as both are to have pods: a pod that is away for
    /// a while must not restart it.
    pub(in crate::rollout) fn comparer(
        &self,
        comparer: &Comparer,
        trial: &Match,
        requests: Option<f64>,
    ) -> Option<ComparedArms> {
        let mut arms = ComparedArms {
            reference: trial.reference.clone()?,
            candidate: trial.candidate.clone(),
            asked: purpose_of(self.spec, self.status, &trial.candidate),
            halved: 0,
        };
        let keys = arms.keys();
        let both = |is: fn(&Workload) -> bool| keys.iter().all(|key| self.seen.workloads.get(key).is_some_and(is));
        let live = self.seen.comparer.as_ref().map(|seen| &seen.arms);
        let live = live.filter(|live| live.keys() == keys);
        arms.halved = halved(comparer, live.map_or(0, |live| live.halved), requests);
        let answer = both(|workload| workload.ready > 0);
        let last = live.is_some() && both(|workload| workload.desired > 0);
        (arms.reference != arms.candidate && (answer || last)).then_some(arms)
    }

    /// Whether requests are mirrored to the comparer, which asks `compared` if anything.
    ///
    /// A mirror that was refused is not tried again before what was asked has changed: a gateway that refuses it may carry
    /// no request of the route meanwhile. It begins when the comparer is ready, and ends with it. A write that lowers the
    /// candidate has the mirror that the route has already or none, because it could be refused for another one.
    pub(in crate::rollout) fn mirroring(&self, compared: Option<&ComparedArms>, order: Order) -> Mirroring {
        let (written, gateway) = (self.spec.comparer.as_ref(), self.spec.traffic.gateway.as_ref());
        let Some((mirror, gateway)) = written.and_then(|comparer| comparer.mirror.as_ref()).zip(gateway) else {
            return Mirroring::NotAsked;
        };
        let asked = identity::digest(&json!({"mirror": mirror, "gateway": gateway}));
        if let Some(why) = self.mirror_refused(&asked, mirror.percent) {
            let why = plain(why, LONGEST_MESSAGE);
            return Mirroring::Refused { why, asked };
        }
        let (route, comparer) = (&self.seen.route, self.seen.comparer.as_ref());
        let may_begin = route.exists
            && route.refused.is_none()
            && self.carrier_refused().is_none()
            && comparer.is_some_and(|comparer| comparer.ready);
        let percent = match (&route.mirror, order) {
            (MirrorSeen::Written(now), Order::LowerFirst) => Some(*now),
            (_, Order::LowerFirst) => None,
            (MirrorSeen::Absent, Order::RecordFirst) => may_begin.then_some(mirror.percent),
            (_, Order::RecordFirst) => Some(mirror.percent),
        };
        match percent.filter(|_| compared.is_some() && comparer.is_some()) {
            Some(percent) => Mirroring::Percent { percent, asked },
            None => Mirroring::NothingCompared,
        }
    }

    /// Why a route with this mirror is not taken, now or when it was tried.
    fn mirror_refused(&self, asked: &str, percent: i32) -> Option<&str> {
        let tried = self.status.mirror.as_ref();
        // What was said of another one says nothing of this one.
        if tried.is_some_and(|tried| tried.asked != asked) {
            return None;
        }
        if let MirrorSeen::Refused(why) = &self.seen.route.mirror {
            return Some(why);
        }
        let tried = tried?;
        // One that stands in the route is not what the API server refuses.
        let is_written = self.seen.route.mirror == MirrorSeen::Written(percent);
        let unwritten = self.carrier_refused().filter(|_| !is_written);
        tried.refused.as_deref().or(unwritten)
    }

    /// Why the object that carries the traffic could not be written.
    fn carrier_refused(&self) -> Option<&str> {
        let mut refused = self.seen.model.refused.iter().flatten();
        let carrier = refused.find(|object| object.is_carrier)?;
        Some(&carrier.why)
    }
}

/// How many times the rate of a comparer is to be halved, which is halved so many times `now`. Without requests that
/// were counted it stays.
pub fn halved(comparer: &Comparer, now: u8, requests: Option<f64>) -> u8 {
    let Some(share) = comparer.share else { return 0 };
    let Some(requests) = requests else { return now };
    let allowed = share * requests;
    let rate = |times: u8| halve(comparer.rate, times);
    if (LEAST_OF_SHARE * allowed..=allowed).contains(&rate(now)) {
        return now;
    }
    let fits = |times: &u8| rate(*times) <= allowed;
    (0..MOST_HALVED).find(fits).unwrap_or(MOST_HALVED)
}
