//! Messages of validation rules.

/// A message of a rule that names the value: a CEL expression over it. Strings of bounded length only: the API server
/// prices everything else out of its budget.
pub(super) fn says(expression: &str) -> kube::core::Message {
    kube::core::Message::Expression(expression.to_owned())
}
