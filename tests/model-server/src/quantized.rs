//! The same network in integers. int8 is done with care: one scale a channel, activation scales from a calibration set.
//! int4 is done naively, as it is done too often: one scale a tensor, from the largest weight.

use serde::Serialize;

use crate::dataset::CALIBRATION;
use crate::network::{Layer, Network};
use crate::numerics::sigmoid;

/// How a network was quantized: what its provenance says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scheme {
    /// Bits of a weight.
    pub weight_bits: u32,
    /// Whether each row has a scale of its own.
    pub per_channel: bool,
    /// Bits of an activation.
    pub activation_bits: u32,
    /// How an activation between two units becomes one of them.
    pub rounding: Rounding,
}

/// How an activation between two units becomes one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Rounding {
    /// To the nearer one.
    Nearest,
    /// Towards zero, as a cast does: every activation shrinks a little.
    Truncate,
}

impl Rounding {
    /// What is added before a cast.
    fn offset(self) -> f32 {
        match self {
            Self::Nearest => 0.5,
            Self::Truncate => 0.0,
        }
    }
}

/// int8 with care.
pub const INT8: Scheme = Scheme {
    weight_bits: 8,
    per_channel: true,
    activation_bits: 8,
    rounding: Rounding::Nearest,
};
/// int4 without: one scale a tensor, activations in four bits as well, and casts where it should round them.
pub const INT4: Scheme = Scheme {
    weight_bits: 4,
    per_channel: false,
    activation_bits: 4,
    rounding: Rounding::Truncate,
};

/// A layer in integers. Weights of 4 bits are unpacked when they are read from their file; they are stored packed.
#[derive(Debug, Clone, PartialEq)]
pub struct IntLayer {
    /// Inputs of a row.
    pub inputs: usize,
    /// All rows.
    pub weights: Vec<i8>,
    /// What one unit of a weight is worth, a row.
    pub scales: Vec<f32>,
    /// One a row, in full precision.
    pub bias: Vec<f32>,
    /// What one unit of an input is worth.
    pub input_scale: f32,
    /// Largest input, in units.
    pub input_limit: i8,
    /// What is added to an input, away from zero, before it is cast to units.
    pub input_offset: f32,
}

/// The network in integers.
#[derive(Debug, Clone, PartialEq)]
pub struct IntNetwork {
    /// Mean of each feature.
    pub mean: Vec<f32>,
    /// One over the deviation of each feature.
    pub inverse_deviation: Vec<f32>,
    /// Three layers.
    pub layers: [IntLayer; 3],
}

impl IntNetwork {
    /// Quantizes a network; ranges of activations come from the calibration split.
    pub fn quantize(network: &Network, scheme: &Scheme) -> Self {
        let mut largest = [0.0_f32; 3];
        for transaction in CALIBRATION.transactions() {
            let (x, a, b, _) = network.activations(&transaction.features);
            for (largest, values) in largest.iter_mut().zip([x, a, b]) {
                *largest = values.iter().fold(*largest, |m, v| m.max(v.abs()));
            }
        }
        let [first, second, third] = &network.layers;
        let layers = [(first, largest[0]), (second, largest[1]), (third, largest[2])]
            .map(|(layer, range)| quantize(layer, range, scheme));
        Self {
            mean: network.mean.clone(),
            inverse_deviation: network.inverse_deviation.clone(),
            layers,
        }
    }

    /// Probability of fraud.
    pub fn score(&self, features: &[f32]) -> f64 {
        let scale = self.mean.iter().zip(&self.inverse_deviation);
        let mut x: Vec<f32> = features
            .iter()
            .zip(scale)
            .map(|(x, (mean, inverse))| ((x - mean) * inverse).clamp(-5.0, 5.0))
            .collect();
        let last = self.layers.len() - 1;
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x);
            if i < last {
                x.iter_mut().for_each(|v| *v = v.max(0.0));
            }
        }
        sigmoid(f64::from(x[0]))
    }
}

impl IntLayer {
    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let limit = f32::from(self.input_limit);
        let inverse = 1.0 / self.input_scale;
        // Rounded by a truncating cast, which vectorises where `round` is a call.
        let unit = |v: &f32| {
            let scaled = (v * inverse).clamp(-limit, limit);
            (scaled + self.input_offset.copysign(scaled)) as i32 as i8
        };
        let units: Vec<i8> = x.iter().map(unit).collect();
        let rows = self.weights.chunks_exact(self.inputs).zip(&self.scales).zip(&self.bias);
        rows.map(|((row, scale), bias)| dot_i8(row, &units) as f32 * scale * self.input_scale + bias)
            .collect()
    }
}

/// Integer dot product; the products fit 16 bits, the sum of 256 of them 32.
pub fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).fold(0_i32, |sum, (x, y)| {
        sum.wrapping_add(i32::from(i16::from(*x).wrapping_mul(i16::from(*y))))
    })
}

fn quantize(layer: &Layer, range: f32, scheme: &Scheme) -> IntLayer {
    let top = |bits: u32| ((1_i32 << (bits - 1)) - 1) as f32;
    let weight_top = top(scheme.weight_bits);
    let largest = |weights: &[f32]| {
        weights
            .iter()
            .fold(0.0_f32, |m, w| m.max(w.abs()))
            .max(f32::MIN_POSITIVE)
    };
    let tensor = largest(&layer.weights);
    let scales: Vec<f32> = layer
        .rows()
        .map(|row| if scheme.per_channel { largest(row) } else { tensor } / weight_top)
        .collect();
    let weights = layer
        .rows()
        .zip(&scales)
        .flat_map(|(row, scale)| {
            row.iter()
                .map(move |w| (w / scale).round().clamp(-weight_top, weight_top) as i8)
        })
        .collect();
    IntLayer {
        inputs: layer.inputs,
        weights,
        scales,
        bias: layer.bias.clone(),
        input_scale: range.max(f32::MIN_POSITIVE) / top(scheme.activation_bits),
        input_limit: top(scheme.activation_bits) as i8,
        input_offset: scheme.rounding.offset(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::Random;

    #[test]
    fn the_integer_kernel_is_exact() {
        let mut random = Random::new(3);
        for length in [0, 1, 7, 48, 256, 1000] {
            let mut draw = || -> Vec<i8> { (0..length).map(|_| (random.below(255) as i32 - 127) as i8).collect() };
            let (a, b) = (draw(), draw());
            let expected: i64 = a.iter().zip(&b).map(|(x, y)| i64::from(*x) * i64::from(*y)).sum();
            assert_eq!(i64::from(dot_i8(&a, &b)), expected);
        }
    }
}
