//! The full-precision network: 48 inputs, two hidden layers of 256, one score; trained by plain stochastic gradient descent.

use crate::dataset::{FEATURES, TRAINING, Transaction};
use crate::numerics::{Random, add_scaled, dot, sigmoid};

/// Width of the hidden layers.
pub const HIDDEN: usize = 256;

const EPOCHS: usize = 3;
const RATE: f32 = 0.01;

/// One fully connected layer; `weights` is row by row, one row an output.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Inputs of a row.
    pub inputs: usize,
    /// All rows.
    pub weights: Vec<f32>,
    /// One a row.
    pub bias: Vec<f32>,
}

impl Layer {
    fn random(inputs: usize, outputs: usize, random: &mut Random) -> Self {
        let scale = (2.0 / inputs as f64).sqrt();
        let weights = (0..inputs * outputs)
            .map(|_| (random.normal() * scale) as f32)
            .collect();
        Self {
            inputs,
            weights,
            bias: vec![0.0; outputs],
        }
    }

    /// The rows.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.weights.chunks_exact(self.inputs)
    }

    /// `weights · x + bias`.
    pub fn forward(&self, x: &[f32]) -> Vec<f32> {
        self.rows()
            .zip(&self.bias)
            .map(|(row, bias)| dot(row, x) + bias)
            .collect()
    }
}

/// The network, with the means and inverse deviations that its inputs are put to scale by.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Mean of each feature.
    pub mean: Vec<f32>,
    /// One over the deviation of each feature.
    pub inverse_deviation: Vec<f32>,
    /// Three layers.
    pub layers: [Layer; 3],
}

impl Network {
    /// Trains on the training split.
    pub fn train() -> Self {
        let data: Vec<Transaction> = TRAINING.transactions().collect();
        let n = data.len() as f64;
        let moments = |f: &dyn Fn(f64, usize) -> f64| -> Vec<f64> {
            (0..FEATURES)
                .map(|i| data.iter().map(|t| f(f64::from(t.features[i]), i)).sum::<f64>() / n)
                .collect()
        };
        let mean = moments(&|x, _| x);
        let variance = moments(&|x, i| (x - mean[i]) * (x - mean[i]));
        let mut random = Random::new(0x6e65_7477);
        let mut network = Self {
            mean: mean.iter().map(|m| *m as f32).collect(),
            inverse_deviation: variance.iter().map(|v| (1.0 / v.max(1e-9).sqrt()) as f32).collect(),
            layers: [
                Layer::random(FEATURES, HIDDEN, &mut random),
                Layer::random(HIDDEN, HIDDEN, &mut random),
                Layer::random(HIDDEN, 1, &mut random),
            ],
        };
        for epoch in 0..EPOCHS {
            let rate = RATE / (1 << (2 * epoch)) as f32;
            for _ in 0..data.len() {
                network.learn(&data[random.below(data.len())], rate);
            }
        }
        network
    }

    /// Inputs put to scale, and clipped where the tail of an amount is absurdly long.
    pub fn scaled(&self, features: &[f32]) -> Vec<f32> {
        let scale = self.mean.iter().zip(&self.inverse_deviation);
        features
            .iter()
            .zip(scale)
            .map(|(x, (mean, inverse))| ((x - mean) * inverse).clamp(-5.0, 5.0))
            .collect()
    }

    /// Outputs of the hidden layers and the logit.
    pub fn activations(&self, features: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>, f32) {
        let x = self.scaled(features);
        let a = relu(self.layers[0].forward(&x));
        let b = relu(self.layers[1].forward(&a));
        let logit = self.layers[2].forward(&b)[0];
        (x, a, b, logit)
    }

    /// Probability of fraud.
    pub fn score(&self, features: &[f32]) -> f64 {
        sigmoid(f64::from(self.activations(features).3))
    }

    fn learn(&mut self, transaction: &Transaction, rate: f32) {
        let (x, a, b, logit) = self.activations(&transaction.features);
        let target = if transaction.fraud { 1.0 } else { 0.0 };
        let delta = vec![(sigmoid(f64::from(logit)) as f32) - target];
        let [first, second, third] = &mut self.layers;
        let back_b = descend(third, &b, &delta, rate);
        let delta_b: Vec<f32> = back_b
            .iter()
            .zip(&b)
            .map(|(d, b)| if *b > 0.0 { *d } else { 0.0 })
            .collect();
        let back_a = descend(second, &a, &delta_b, rate);
        let delta_a: Vec<f32> = back_a
            .iter()
            .zip(&a)
            .map(|(d, a)| if *a > 0.0 { *d } else { 0.0 })
            .collect();
        descend(first, &x, &delta_a, rate);
    }
}

fn relu(mut values: Vec<f32>) -> Vec<f32> {
    values.iter_mut().for_each(|v| *v = v.max(0.0));
    values
}

/// One gradient step on a layer; gives the gradient of its inputs.
fn descend(layer: &mut Layer, input: &[f32], delta: &[f32], rate: f32) -> Vec<f32> {
    let mut back = vec![0.0; input.len()];
    for ((row, bias), d) in layer
        .weights
        .chunks_exact_mut(layer.inputs)
        .zip(&mut layer.bias)
        .zip(delta)
    {
        if *d != 0.0 {
            add_scaled(&mut back, *d, row);
            add_scaled(row, -rate * d, input);
            *bias -= rate * d;
        }
    }
    back
}
