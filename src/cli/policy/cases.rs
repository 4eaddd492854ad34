//! Cases: what is expected of policies, so that whoever keeps them is told when a change of them says otherwise.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::governance::{Answer, Passage};
use crate::lint::{self, Model, Schema};

use super::super::streams;
use super::outlook::{Outlook, Row};
use super::output::{Output, Told, json};
use super::source::{Governing, located, refuse};

/// A case, as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    /// What it shows, in a few words.
    case: String,
    /// File with one model; a relative path begins at the file of the case.
    model: PathBuf,
    /// Variant that gets weight; the target when left out.
    variant: Option<String>,
    at: Timestamp,
    /// Labels of the namespace of the model; those of a Namespace among the files when left out.
    namespace_labels: Option<BTreeMap<String, String>>,
    expect: Expected,
}

/// What is expected. A passage that is left out may be as it is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Expected {
    install: Option<Answer>,
    first_traffic: Option<Answer>,
    raise: Option<Answer>,
    promotion: Option<Answer>,
    /// A rule that is asked for at one of these passages.
    #[serde(rename = "rule")]
    rule: Option<String>,
}

impl Expected {
    fn passages(&self) -> Vec<(Passage, Answer)> {
        let all = [
            (Passage::Install, self.install),
            (Passage::FirstTraffic, self.first_traffic),
            (Passage::Raise, self.raise),
            (Passage::Promotion, self.promotion),
        ];
        let written = all.into_iter().filter_map(|(passage, answer)| Some((passage, answer?)));
        written.collect()
    }
}

/// What became of a case. As JSON its fields are only ever added to.
#[derive(Serialize)]
struct Tried {
    file: String,
    case: String,
    /// What is not as expected; nothing where all is.
    problems: Vec<String>,
}

/// The JSON output: its fields are only ever added to.
#[derive(Serialize)]
struct Document<'a> {
    failed: usize,
    cases: &'a [Tried],
}

/// Tries all cases of some files.
pub(super) fn run(paths: &[PathBuf], governing: &Governing, output: Output) -> Result<Told, String> {
    let schema = Schema::new();
    let mut tried = Vec::new();
    for path in streams::files(paths)? {
        let file = streams::named(&path);
        let cases: Vec<Case> = serde_yaml_ng::from_slice(&streams::read(&path)?).map_err(|e| format!("{file}: {e}"))?;
        if cases.is_empty() {
            return Err(format!("{file}: there is no case in it"));
        }
        for case in cases {
            let problems = problems(&case, &path, governing, &schema);
            tried.push(Tried {
                problems: problems.map_err(|e| format!("{file}: {}: {e}", case.case))?,
                file: file.clone(),
                case: case.case,
            });
        }
    }
    let failed = tried.iter().filter(|of| !of.problems.is_empty()).count();
    let text = match output {
        Output::Table => table(&tried, failed),
        Output::Json => json(&Document { failed, cases: &tried })?,
    };
    Ok(Told {
        text,
        is_good: failed == 0,
    })
}

fn table(tried: &[Tried], failed: usize) -> String {
    let mut lines = Vec::new();
    for Tried { case, problems, .. } in tried {
        lines.push(format!(
            "{:6}  {case}",
            if problems.is_empty() { "ok" } else { "failed" }
        ));
        lines.extend(problems.iter().map(|problem| format!("        {problem}")));
    }
    lines.push(format!("{} of {} cases as expected", tried.len() - failed, tried.len()));
    lines.join("\n")
}

/// What of a case is not as expected.
fn problems(case: &Case, path: &Path, governing: &Governing, schema: &Schema) -> Result<Vec<String>, String> {
    let expected = case.expect.passages();
    if expected.is_empty() {
        return Err("expect names none of Install, FirstTraffic, Raise and Promotion".to_owned());
    }
    let (file, model) = model(&path.parent().unwrap_or(Path::new("")).join(&case.model), schema)?;
    let of_file = governing.labels(&model);
    let labels = case.namespace_labels.as_ref().or(of_file.as_ref());
    let outlook = Outlook::of(&file, &model, governing, labels, case.at)?;
    let target = model.spec.variants.get(model.spec.target_index());
    let target = target.map(|variant| variant.name.as_str());
    let variant = case.variant.as_deref().or(target).unwrap_or_default();
    let mut problems = Vec::new();
    let mut asked = Vec::new();
    for (passage, answer) in expected {
        let is_meant = |row: &&Row| row.variant == variant && row.passage == passage;
        let rows: Vec<_> = outlook.passages.iter().filter(is_meant).collect();
        if rows.is_empty() {
            return Err(format!(
                "{variant} has no passage {passage:?}: it is not on the way to the target"
            ));
        }
        asked.extend(rows.iter().flat_map(|row| &row.conditions));
        if let Some(row) = rows.iter().find(|row| row.answer != answer) {
            let rules: Vec<_> = row.conditions.iter().map(|asked| asked.rule.as_str()).collect();
            let found = if rules.is_empty() {
                "nothing".to_owned()
            } else {
                rules.join(", ")
            };
            problems.push(format!(
                "{passage:?} of {variant} is {:?} and not {answer:?}; what is asked for: {found}",
                row.answer
            ));
        }
    }
    if let Some(rule) = case
        .expect
        .rule
        .as_ref()
        .filter(|rule| !asked.iter().any(|asked| asked.rule == **rule))
    {
        problems.push(format!("{rule} is not asked for"));
    }
    Ok(problems)
}

/// The one model of a file, with the name of the file.
fn model(path: &Path, schema: &Schema) -> Result<(String, Model), String> {
    let file = streams::named(path);
    let read = lint::read(&streams::read(path)?, schema);
    refuse(located(&file, read.findings).collect())?;
    let mut models = read.models.into_iter();
    match (models.next(), models.next()) {
        (Some(model), None) => Ok((file, model)),
        _ => Err(format!("{file} must hold one QuantizedModel")),
    }
}
