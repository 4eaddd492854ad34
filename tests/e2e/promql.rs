//! Prometheus' own parser is the judge of the matchers that guardbit adds: it reads what guardbit would ask, and no selector in
//! its tree lacks one.

use guardbit::evidence::{ArmMatcher, MatcherOp, expression_query};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::stage::{http, shared_prometheus};

#[path = "../support/promql.rs"]
mod generator;

/// Selectors of a tree, as `/api/v1/parse_query` shows it.
fn selectors<'a>(node: &'a Value, out: &mut Vec<&'a Value>) {
    match node {
        Value::Object(fields) => {
            if matches!(node["type"].as_str(), Some("vectorSelector" | "matrixSelector")) {
                out.push(node);
            }
            fields.values().for_each(|field| selectors(field, out));
        }
        Value::Array(items) => items.iter().for_each(|item| selectors(item, out)),
        _ => {}
    }
}

fn has(selector: &Value, wanted: &ArmMatcher) -> bool {
    let op = match wanted.op {
        MatcherOp::Equal => "=",
        MatcherOp::NotEqual => "!=",
        MatcherOp::Regex => "=~",
        MatcherOp::NotRegex => "!~",
    };
    let is = |m: &Value| m["name"] == wanted.label.as_str() && m["type"] == op && m["value"] == wanted.value.as_str();
    selector["matchers"].as_array().is_some_and(|all| all.iter().any(is))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_finds_the_matchers_on_every_selector() {
    let url = format!("{}/api/v1/parse_query", shared_prometheus());
    let client = http();
    let mut runner = TestRunner::deterministic();
    let (expressions, arms) = (generator::expression(), generator::arm_of());
    let (mut understood, mut seen) = (0, 0);
    for _ in 0..4_000 {
        let text = expressions.new_tree(&mut runner).expect("a text").current();
        let arm = arms.new_tree(&mut runner).expect("matchers").current();
        let Ok(query) = expression_query(&text, &arm) else {
            continue;
        };
        let form = form_of(&query);
        let request = client
            .post(&url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let answer = request
            .send()
            .await
            .expect("Prometheus answers")
            .text()
            .await
            .expect("text");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        // What Prometheus itself refuses reads nothing.
        if answer["status"] != "success" {
            continue;
        }
        understood += 1;
        let mut found = Vec::new();
        selectors(&answer["data"], &mut found);
        seen += found.len();
        for selector in found {
            for wanted in &arm {
                assert!(has(selector, wanted), "{wanted:?} is missing in {selector} of {query}");
            }
        }
    }
    println!("{understood} expressions with {seen} selectors");
    assert!(
        understood > 400 && seen > 400,
        "{understood} expressions with {seen} selectors"
    );
}

fn form_of(query: &str) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("query", query);
    form.finish()
}
