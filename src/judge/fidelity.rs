//! Fidelity: is the distribution of outputs within a total variation distance of the reference's?
//!
//! Outputs are put into about ten bins cut at the reference's deciles, then frozen. The *witness set* is the bins where
//! the candidate was above the reference in past polls: a fixed set misses moderate drift, and a set chosen on the same
//! poll is not valid. Health needs the witness set and a fixed family of sets, each below tolerance.

use serde::{Deserialize, Serialize};

use crate::evidence::{Buckets, Counts};

use super::dispersion::Spread;
use super::margin::{Harm, Health, Past, Tolerance, WITNESS};
use super::regime::Regime;

/// Reference outputs that the bins are cut from.
const WARM_UP: u64 = 200;

/// Largest number of bins.
const BINS: usize = 10;

/// State of a fidelity guard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FidelityTest {
    /// The reference's first outputs: (bound, outputs in its bucket), and those above all bounds.
    warm_up: Vec<(f64, u64)>,
    warm_up_above: u64,
    /// Upper bounds of all bins but the last.
    pub(crate) cuts: Vec<f64>,
    /// Outputs by bin since the cuts are frozen.
    pub(crate) candidate: Vec<u64>,
    pub(crate) reference: Vec<u64>,
    harm: Harm,
    witness_health: Health,
    family_health: Vec<Health>,
    /// How bursty the outputs of either arm are.
    candidate_spread: Spread,
    reference_spread: Spread,
    /// Why a poll could not be counted.
    pub(crate) problem: Option<String>,
}

impl FidelityTest {
    /// Takes what the reference answered before the trial: its deciles cut the bins.
    pub(crate) fn recall<'a>(&mut self, history: impl Iterator<Item = &'a Buckets> + Clone) {
        history.clone().for_each(|buckets| self.count(buckets));
        self.freeze();
        if !self.cuts.is_empty() {
            for bins in history.filter_map(|buckets| self.bin(buckets)).collect::<Vec<_>>() {
                self.reference_spread.observe(bins);
            }
        }
    }

    pub(crate) fn observe(
        &mut self,
        regime: Regime,
        max_total_variation: f64,
        candidate: &Buckets,
        reference: &Buckets,
    ) {
        if self.cuts.is_empty() {
            self.count(reference);
            self.freeze();
            return;
        }
        let (Some(c), Some(r)) = (self.bin(candidate), self.bin(reference)) else {
            self.problem =
                Some("the arms' histograms have lost the bucket bounds that the bins were cut at".to_owned());
            return;
        };
        let tolerance = Tolerance {
            ratio: 1.0,
            absolute: max_total_variation,
        };
        let usual = self.reference_spread.phi(1.0);
        let dispersion = usual.max(self.candidate_spread.phi(usual)).max(1.0);
        let past = |set: u16| Past {
            candidate: count_in(&self.candidate, set),
            baseline: count_in(&self.reference, set).into(),
            prior: set.count_ones() as f64 / c.len() as f64,
            dispersion,
        };
        let witness = self.witness();
        if let Some(set) = witness {
            self.harm.observe(
                regime,
                WITNESS,
                tolerance,
                past(set),
                count_in(&c, set),
                count_in(&r, set).into(),
            );
            self.witness_health.observe(
                regime.false_promotion(),
                tolerance,
                past(set),
                count_in(&c, set),
                count_in(&r, set).into(),
            );
        }
        let sets = family(c.len());
        let mut health = std::mem::take(&mut self.family_health);
        health.resize(sets.len(), Health::default());
        for (test, set) in health.iter_mut().zip(sets) {
            test.observe(
                regime.false_promotion(),
                tolerance,
                past(set),
                count_in(&c, set),
                count_in(&r, set).into(),
            );
        }
        self.family_health = health;
        // A poll in which one arm did nothing compares nothing, and is not told of either.
        if c.iter().any(|n| *n > 0) && r.iter().any(|n| *n > 0) {
            add(&mut self.candidate, &c);
            add(&mut self.reference, &r);
        }
        self.candidate_spread.observe(c);
        self.reference_spread.observe(r);
    }

    /// Collects the reference's outputs.
    fn count(&mut self, reference: &Buckets) {
        let buckets = reference.bounds.iter().zip(&reference.counts);
        for (bound, n) in buckets.filter(|(_, n)| **n > 0) {
            match self.warm_up.iter_mut().find(|(b, _)| b == bound) {
                Some((_, total)) => *total += n,
                None => self.warm_up.push((*bound, *n)),
            }
        }
        self.warm_up_above += reference.counts.last().copied().unwrap_or(0);
    }

    /// Freezes the bins when there are enough outputs.
    fn freeze(&mut self) {
        let total = self.warm_up.iter().map(|(_, n)| n).sum::<u64>() + self.warm_up_above;
        if total < WARM_UP {
            return;
        }
        self.warm_up.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut below, mut next) = (0, 1);
        for (bound, n) in &self.warm_up {
            below += n;
            // A bucket may swallow several deciles; a cut with nothing above it would make an empty bin.
            if below * BINS as u64 >= next * total && below < total && self.cuts.len() < BINS - 1 {
                self.cuts.push(*bound);
                next = below * BINS as u64 / total + 1;
            }
        }
        if self.cuts.is_empty() {
            self.problem =
                Some("all outputs of the reference fall into one bucket; add bounds where its scores lie".to_owned());
        } else {
            self.problem = None;
            self.candidate = vec![0; self.cuts.len() + 1];
            self.reference = vec![0; self.cuts.len() + 1];
        }
        self.warm_up = Vec::new();
        self.warm_up_above = 0;
    }

    /// Counts by bin; `None` where a cut is not a bound of the histogram.
    fn bin(&self, buckets: &Buckets) -> Option<Vec<u64>> {
        let mut bins = vec![0; self.cuts.len() + 1];
        if buckets.counts.iter().all(|n| *n == 0) {
            return Some(bins);
        }
        if self.cuts.iter().any(|cut| !buckets.bounds.contains(cut)) {
            return None;
        }
        for (i, n) in buckets.counts.iter().enumerate() {
            let bound = buckets.bounds.get(i).copied().unwrap_or(f64::INFINITY);
            bins[self.cuts.iter().take_while(|cut| **cut < bound).count()] += n;
        }
        Some(bins)
    }

    /// Bins where the candidate was above the reference in the polls before.
    pub(crate) fn witness(&self) -> Option<u16> {
        let (c, r) = (self.candidate.iter().sum::<u64>(), self.reference.iter().sum::<u64>());
        if c == 0 || r == 0 {
            return None;
        }
        let above = |i: &usize| self.candidate[*i] as f64 / c as f64 > self.reference[*i] as f64 / r as f64;
        let set = (0..self.candidate.len()).filter(above).fold(0, |set, i| set | 1 << i);
        (set != 0).then_some(set)
    }

    pub(crate) fn ln_harm(&self, regime: Regime) -> f64 {
        self.harm.ln_evidence(regime, WITNESS)
    }

    pub(crate) fn ln_health(&self) -> f64 {
        if self.family_health.is_empty() {
            return 0.0;
        }
        // Without a witness set the candidate has never been above the reference in any bin, so there is nothing to
        // show there.
        let witness = if self.witness_health == Health::default() {
            None
        } else {
            Some(&self.witness_health)
        };
        self.family_health
            .iter()
            .chain(witness)
            .map(Health::ln_evidence)
            .fold(f64::INFINITY, f64::min)
    }

    /// Total variation, population stability index and Jensen–Shannon divergence. They are shown to people, not tested.
    pub(crate) fn distances(&self) -> Option<(f64, f64, f64)> {
        let (c, r) = (self.candidate.iter().sum::<u64>(), self.reference.iter().sum::<u64>());
        if c == 0 || r == 0 {
            return None;
        }
        let (mut tv, mut psi, mut js) = (0.0, 0.0, 0.0);
        for (x, y) in self.candidate.iter().zip(&self.reference) {
            let (p, q) = (*x as f64 / c as f64, *y as f64 / r as f64);
            tv += 0.5 * (p - q).abs();
            // PSI is infinite on an empty bin; half an event is the usual remedy.
            let (ps, qs) = ((*x as f64).max(0.5) / c as f64, (*y as f64).max(0.5) / r as f64);
            psi += (ps - qs) * (ps / qs).ln();
            let m = 0.5 * (p + q);
            let half = |a: f64| if a > 0.0 { 0.5 * a * (a / m).ln() } else { 0.0 };
            js += half(p) + half(q);
        }
        Some((tv, psi, js))
    }
}

/// The fixed family: every lower tail, upper tail, single bin, and complement of one; as bit sets, each once.
fn family(bins: usize) -> Vec<u16> {
    let all = ((1u32 << bins) - 1) as u16;
    let mut sets = Vec::new();
    for i in 0..bins {
        let (single, lower) = (1u16 << i, ((1u32 << (i + 1)) - 1) as u16);
        for set in [single, all & !single, lower, all & !lower] {
            if set != 0 && set != all && !sets.contains(&set) {
                sets.push(set);
            }
        }
    }
    sets
}

pub(crate) fn count_in(bins: &[u64], set: u16) -> Counts {
    let inside = bins.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1);
    Counts {
        n: bins.iter().sum(),
        x: inside.map(|(_, n)| n).sum(),
    }
}

fn add(total: &mut [u64], more: &[u64]) {
    total.iter_mut().zip(more).for_each(|(t, m)| *t += m);
}

#[cfg(test)]
mod tests;
