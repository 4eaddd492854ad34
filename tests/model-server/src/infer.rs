//! Questions and answers of the Open Inference Protocol: `id` holds numbers of held-out transactions, `score` their scores.

use serde::Deserialize;
use serde_json::{Value, json};

/// A request.
#[derive(Debug, Deserialize)]
pub(crate) struct Questions {
    inputs: Vec<Tensor>,
}

#[derive(Debug, Deserialize)]
struct Tensor {
    name: String,
    data: Vec<u64>,
}

impl Questions {
    /// The numbers of the transactions that are asked about; `None` where the input is missing.
    pub(crate) fn numbers(&self) -> Option<&[u64]> {
        let input = self.inputs.iter().find(|input| input.name == "id")?;
        Some(&input.data)
    }
}

/// The answer with these scores.
pub(crate) fn answer(scores: &[f64]) -> Value {
    let output = json!({"name": "score", "shape": [scores.len(), 1], "datatype": "FP64", "data": scores});
    json!({"model_name": "fraud-scorer", "outputs": [output]})
}
