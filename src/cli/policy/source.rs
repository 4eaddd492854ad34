//! Policies in files, and the labels by which they select namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::api::GROUP;
use crate::governance::Policy;
use crate::ledger::PublicKey;
use crate::lint::{self, Finding, Located, Model, ReadPolicies, Schema, Severity, WrittenPolicy};

use super::super::streams;

/// The label that the API server gives to each Namespace.
const NAME: &str = "kubernetes.io/metadata.name";

/// Labels of a namespace, as they are written on the command line.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Labels(BTreeMap<String, String>);

/// Reads `key=value` and more of them between commas.
pub(in crate::cli) fn labels(text: &str) -> Result<Labels, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{pair}` is no label: write key=value")),
    });
    pairs.collect::<Result<_, _>>().map(Labels)
}

/// What governs models, as far as files tell.
#[derive(Debug, Default)]
pub(in crate::cli) struct Governing {
    files: Vec<(String, ReadPolicies)>,
    /// Of namespaces of which no Namespace is in a file.
    labels: Option<BTreeMap<String, String>>,
}

impl Governing {
    /// Reads files, of which at least one has a policy; none where there are no files.
    pub(in crate::cli) fn of(paths: &[PathBuf], labels: Option<Labels>) -> Result<Self, String> {
        let mut governing = Self::default();
        if paths.is_empty() {
            return Ok(governing);
        }
        let schema = Schema::of_policies();
        for path in streams::files(paths)? {
            governing.take(&path, &streams::read(&path)?, &schema);
        }
        governing.complete(paths, labels)
    }

    /// Reads what is in a file.
    pub(super) fn take(&mut self, path: &Path, bytes: &[u8], schema: &Schema) {
        self.files
            .push((streams::named(path), lint::read_policies(bytes, schema)));
    }

    /// All files are read, and these are the labels of other namespaces.
    pub(super) fn complete(mut self, paths: &[PathBuf], labels: Option<Labels>) -> Result<Self, String> {
        if self
            .files
            .iter()
            .all(|(_, read)| read.seen == 0 && read.findings.is_empty())
        {
            let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
            return Err(format!(
                "there is no PrecisionPolicy of {GROUP}/v1alpha1 in {}",
                paths.join(", ")
            ));
        }
        let mut known = BTreeMap::new();
        for (file, written) in self.written() {
            let name = &written.policy.name;
            if let Some(other) = known.insert(name, file) {
                return Err(format!(
                    "{name} is in {other} and in {file}: a policy has a name of its own; rename or remove one of them"
                ));
            }
        }
        for policy in self.policies() {
            check_keys(policy)?;
        }
        self.labels = labels.map(|Labels(labels)| labels);
        Ok(self)
    }

    /// All policies that can be read, each with its file.
    fn written(&self) -> impl Iterator<Item = (&str, &WrittenPolicy)> {
        self.files
            .iter()
            .flat_map(|(file, read)| read.policies.iter().map(move |written| (file.as_str(), written)))
    }

    /// All policies that can be read.
    pub(in crate::cli) fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.written().map(|(_, written)| &written.policy)
    }

    /// What is refused in the files.
    pub(in crate::cli) fn findings(&self) -> Vec<Located> {
        let all = self.files.iter();
        all.flat_map(|(file, read)| located(file, read.findings.clone()))
            .collect()
    }

    /// Labels of the namespace of a model, if they are known.
    pub(in crate::cli) fn labels(&self, model: &Model) -> Option<BTreeMap<String, String>> {
        let name = model.namespace.as_ref();
        let in_file = |name: &String| self.files.iter().find_map(|(_, read)| read.namespaces.get(name));
        let mut labels = name.and_then(in_file).or(self.labels.as_ref())?.clone();
        labels.extend(name.map(|name| (NAME.to_owned(), name.clone())));
        Some(labels)
    }

    /// Names of the policies that are about a model, or may be because the labels of its namespace are not known.
    pub(in crate::cli) fn selecting(&self, model: &Model) -> BTreeSet<String> {
        let labels = self.labels(model);
        let tier = model.spec.model.risk_tier;
        let selecting = self.policies().filter(|policy| match &labels {
            None if policy.asks_for_labels() => true,
            None => policy.selects(&BTreeMap::new(), tier),
            Some(labels) => policy.selects(labels, tier),
        });
        selecting.map(|policy| policy.name.clone()).collect()
    }

    /// Findings of the policies that are not among those that are about a model.
    pub(in crate::cli) fn select_nothing(&self, selected: &BTreeSet<String>) -> Vec<Located> {
        let others = self
            .written()
            .filter(|(_, written)| !selected.contains(&written.policy.name));
        let located = others.map(|(file, written)| Located {
            file: file.to_owned(),
            finding: written.selects_nothing(),
        });
        located.collect()
    }
}

/// Fails where a text that a policy names as a key is none. The API server takes it, and no weights would ever be signed by
/// it.
fn check_keys(policy: &Policy) -> Result<(), String> {
    let keys = policy.rules.iter().flat_map(|rules| &rules.weights);
    for key in keys.flat_map(|asked| &asked.what) {
        PublicKey::from_pem(key).map_err(|why| {
            let name = &policy.name;
            format!("{name}: spec.weights.publicKeys has a text that is no public key, so no weights are signed by it: {why}")
        })?;
    }
    Ok(())
}

/// Findings of one file.
pub(super) fn located(file: &str, findings: Vec<Finding>) -> impl Iterator<Item = Located> {
    findings.into_iter().map(move |finding| Located {
        file: file.to_owned(),
        finding,
    })
}

/// Fails where a finding is an error: of what would be refused nothing can be said.
pub(super) fn refuse(mut findings: Vec<Located>) -> Result<(), String> {
    findings.retain(|found| found.finding.severity == Severity::Error);
    if findings.is_empty() {
        return Ok(());
    }
    let told = lint::text(&findings);
    Err(format!("what would be refused cannot be tested:\n{}", told.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_pairs_between_commas() {
        let read = |text: &str| labels(text).map(|Labels(labels)| labels.into_iter().collect::<Vec<_>>());
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            read("data=customer, a.example/b="),
            Ok(vec![pair("a.example/b", ""), pair("data", "customer")])
        );
        assert_eq!(read(""), Ok(Vec::new()));
        for wrong in ["data", "=customer", "a=b,c"] {
            assert!(read(wrong).is_err_and(|error| error.contains("key=value")), "{wrong}");
        }
    }
}
