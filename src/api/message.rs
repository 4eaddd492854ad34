//! Messages of validation rules.

/// A rule's message that names the value, as a CEL expression over it. It may read only strings of bounded length:
/// anything else exceeds the API server's cost budget.
pub(super) fn says(expression: &str) -> kube::core::Message {
    kube::core::Message::Expression(expression.to_owned())
}
