//! Weights files: magic, variant, little-endian numbers. Four-bit weights are packed two to a byte.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::dataset::{CALIBRATION, HELD_OUT};
use crate::network::{HIDDEN, Layer, Network};
use crate::quantized::{INT4, INT8, IntLayer, IntNetwork, Scheme};

/// A model in one of the three precisions.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    /// Full precision.
    Full(Network),
    /// Integers, with the bits of a weight.
    Integer(IntNetwork, u32),
}

impl Model {
    /// Probability of fraud.
    pub fn score(&self, features: &[f32]) -> f64 {
        match self {
            Self::Full(network) => network.score(features),
            Self::Integer(network, _) => network.score(features),
        }
    }

    /// As a file holds it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GBMS0001".to_vec();
        match self {
            Self::Full(network) => {
                out.push(32);
                floats(&mut out, &network.mean);
                floats(&mut out, &network.inverse_deviation);
                for layer in &network.layers {
                    floats(&mut out, &layer.weights);
                    floats(&mut out, &layer.bias);
                }
            }
            Self::Integer(network, bits) => {
                out.push(*bits as u8);
                floats(&mut out, &network.mean);
                floats(&mut out, &network.inverse_deviation);
                for layer in &network.layers {
                    floats(&mut out, &layer.scales);
                    floats(&mut out, &layer.bias);
                    floats(
                        &mut out,
                        &[layer.input_scale, f32::from(layer.input_limit), layer.input_offset],
                    );
                    if *bits == 4 {
                        out.extend(
                            layer
                                .weights
                                .chunks(2)
                                .map(|pair| (pair[0] as u8 & 15) | (pair.get(1).copied().unwrap_or(0) as u8) << 4),
                        );
                    } else {
                        out.extend(layer.weights.iter().map(|w| *w as u8));
                    }
                }
            }
        }
        out
    }

    /// Reads what [`Model::bytes`] wrote.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut reader = Reader(bytes);
        if reader.take(8)? != b"GBMS0001" {
            return Err("not a weights file of this program".into());
        }
        let bits = u32::from(reader.take(1)?[0]);
        let (mean, inverse_deviation) = (
            reader.floats(crate::dataset::FEATURES)?,
            reader.floats(crate::dataset::FEATURES)?,
        );
        let shapes = [(crate::dataset::FEATURES, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1)];
        let model = if bits == 32 {
            let mut layer = |(inputs, outputs): (usize, usize)| {
                Ok::<_, String>(Layer {
                    inputs,
                    weights: reader.floats(inputs * outputs)?,
                    bias: reader.floats(outputs)?,
                })
            };
            let layers = [layer(shapes[0])?, layer(shapes[1])?, layer(shapes[2])?];
            Self::Full(Network {
                mean,
                inverse_deviation,
                layers,
            })
        } else {
            let mut layer = |(inputs, outputs): (usize, usize)| -> Result<IntLayer, String> {
                let (scales, bias, input) = (reader.floats(outputs)?, reader.floats(outputs)?, reader.floats(3)?);
                let weights = if bits == 4 {
                    let packed = reader.take((inputs * outputs).div_ceil(2))?;
                    packed
                        .iter()
                        .flat_map(|byte| [(byte << 4) as i8 >> 4, *byte as i8 >> 4])
                        .take(inputs * outputs)
                        .collect()
                } else {
                    reader.take(inputs * outputs)?.iter().map(|byte| *byte as i8).collect()
                };
                Ok(IntLayer {
                    inputs,
                    weights,
                    scales,
                    bias,
                    input_scale: input[0],
                    input_limit: input[1] as i8,
                    input_offset: input[2],
                })
            };
            let layers = [layer(shapes[0])?, layer(shapes[1])?, layer(shapes[2])?];
            Self::Integer(
                IntNetwork {
                    mean,
                    inverse_deviation,
                    layers,
                },
                bits,
            )
        };
        if reader.0.is_empty() {
            Ok(model)
        } else {
            Err("the weights file is longer than its network".into())
        }
    }
}

fn floats(out: &mut Vec<u8>, values: &[f32]) {
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (head, tail) = self.0.split_at_checked(n).ok_or("the weights file is cut short")?;
        self.0 = tail;
        Ok(head)
    }

    fn floats(&mut self, n: usize) -> Result<Vec<f32>, String> {
        let (chunks, _) = self.take(4 * n)?.as_chunks::<4>();
        Ok(chunks.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }
}

/// What is known of one variant.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Card {
    /// Name of the variant.
    pub variant: String,
    /// SHA-256 of the weights file.
    pub weights_digest: String,
    /// Size of the weights file.
    pub bytes: usize,
    /// How it was quantized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// SHA-256 of the calibration set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration_digest: Option<String>,
    /// Total variation distance of its scores from full precision, in deciles, on held-out data.
    pub total_variation: f64,
    /// Area under the ROC curve, on held-out data.
    pub auc: f64,
    /// Time of one inference relative to full precision, both measured in this run.
    pub relative_time: f64,
}

/// Trains, quantizes, measures, and writes `fp32.bin`, `int8.bin`, `int4.bin` and `cards.json` into `out`.
pub fn make(out: &Path) -> std::io::Result<Vec<Card>> {
    std::fs::create_dir_all(out)?;
    let network = Network::train();
    let models = [
        ("fp32", Model::Full(network.clone()), None),
        (
            "int8",
            Model::Integer(IntNetwork::quantize(&network, &INT8), 8),
            Some(INT8),
        ),
        (
            "int4",
            Model::Integer(IntNetwork::quantize(&network, &INT4), 4),
            Some(INT4),
        ),
    ];
    let held_out: Vec<_> = HELD_OUT.transactions().step_by(2).collect();
    let mut full: Option<(Vec<f64>, f64)> = None;
    let mut cards = Vec::new();
    for (variant, model, scheme) in models {
        let bytes = model.bytes();
        std::fs::write(out.join(format!("{variant}.bin")), &bytes)?;
        let begun = Instant::now();
        let scores: Vec<f64> = held_out.iter().map(|t| model.score(&t.features)).collect();
        let time = begun.elapsed().as_secs_f64();
        let (reference, full_time) = full.get_or_insert_with(|| (scores.clone(), time));
        cards.push(Card {
            variant: variant.into(),
            weights_digest: hex::encode(Sha256::digest(&bytes)),
            bytes: bytes.len(),
            calibration_digest: scheme.as_ref().map(|_| CALIBRATION.digest()),
            scheme,
            total_variation: total_variation(reference, &scores),
            auc: auc(&scores, &held_out.iter().map(|t| t.fraud).collect::<Vec<_>>()),
            relative_time: time / *full_time,
        });
    }
    std::fs::write(out.join("cards.json"), serde_json::to_vec_pretty(&cards)?)?;
    Ok(cards)
}

/// Total variation distance over the deciles of `reference`.
pub fn total_variation(reference: &[f64], other: &[f64]) -> f64 {
    let mut sorted = reference.to_vec();
    sorted.sort_by(f64::total_cmp);
    let cuts: Vec<f64> = (1..10).map(|i| sorted[i * sorted.len() / 10]).collect();
    let bins = |scores: &[f64]| {
        let mut bins = [0.0; 10];
        for score in scores {
            bins[cuts.iter().take_while(|cut| *cut < score).count()] += 1.0 / scores.len() as f64;
        }
        bins
    };
    bins(reference)
        .iter()
        .zip(bins(other))
        .map(|(p, q)| 0.5 * (p - q).abs())
        .sum()
}

fn auc(scores: &[f64], fraud: &[bool]) -> f64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let (mut rank_sum, mut positives) = (0.0, 0.0);
    for (rank, i) in order.iter().enumerate() {
        if fraud[*i] {
            rank_sum += rank as f64 + 1.0;
            positives += 1.0;
        }
    }
    (rank_sum - positives * (positives + 1.0) / 2.0) / (positives * (scores.len() as f64 - positives))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int8_is_faithful_and_small_and_naive_int4_drifts_by_its_arithmetic() {
        let dir = std::env::temp_dir().join(format!("model-server-{}", std::process::id()));
        let cards = make(&dir).unwrap();
        let [fp32, int8, int4] = &cards[..] else {
            panic!("three variants")
        };
        assert!(fp32.auc > 0.75, "the network has learned nothing: AUC {}", fp32.auc);
        assert!(int8.total_variation < 0.02, "int8 drifts: {}", int8.total_variation);
        assert!(
            int4.total_variation > 0.05,
            "int4 does not drift: {}",
            int4.total_variation
        );
        assert!(int8.bytes * 3 < fp32.bytes && int4.bytes * 6 < fp32.bytes);
        for card in &cards {
            let bytes = std::fs::read(dir.join(format!("{}.bin", card.variant))).unwrap();
            assert_eq!(Model::read(&bytes).unwrap().bytes(), bytes);
            assert!(Model::read(&bytes[..bytes.len() - 1]).is_err());
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
