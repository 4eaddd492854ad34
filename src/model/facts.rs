//! Facts: the fields of what somebody wrote, as people read them, in the words of the API.

use serde::Serialize;
use serde_json::Value;

/// The fields of a value with their paths.
pub fn facts(value: &impl Serialize) -> Vec<(String, String)> {
    let mut out = Vec::new();
    // Plain data always becomes JSON.
    flatten("", &serde_json::to_value(value).unwrap_or_default(), &mut out);
    out
}

fn flatten(path: &str, value: &Value, out: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (key, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(&format!("{path}{dot}{key}"), value, out);
            }
        }
        Value::Array(items) => {
            for (at, value) in items.iter().enumerate() {
                flatten(&format!("{path}[{at}]"), value, out);
            }
        }
        Value::String(text) => out.push((path.to_owned(), text.clone())),
        Value::Bool(_) | Value::Number(_) => out.push((path.to_owned(), value.to_string())),
    }
}

/// The fields of a value in one line.
pub fn listed(value: &impl Serialize) -> String {
    line(facts(value))
}

/// Fields in one line.
pub fn line(facts: impl IntoIterator<Item = (String, String)>) -> String {
    let facts = facts.into_iter().map(|(field, value)| format!("{field} {value}"));
    facts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_told_with_their_paths() {
        let value = json!({"a": {"b": [1, "x"]}, "c": null, "d": true});
        assert_eq!(listed(&value), "a.b[0] 1, a.b[1] x, d true");
    }
}
