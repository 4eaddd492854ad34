//! The objects that hold the records: they are created once, and never changed.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams};

use crate::api::{PendingRecord, PrecisionDecision, PrecisionDecisionSpec, QuantizedModel};
use crate::apiserver::{CallError, call, call_opt};
use crate::ledger::verify::{Adopted, adopt};
use crate::ledger::{Head, LARGEST_STATEMENT, Signature, linked_to, object_name, unpack};
use crate::manifests::{MANAGER_STATUS, MODEL_LABEL, model_label};
use crate::rollout::{LedgerProblem, LedgerReason};

use super::super::context::Context;
use super::super::error::Error;
use super::key::Keys;

/// Records of a model that are kept, however old they are.
const LEAST_KEPT: usize = 50;

/// Most records that are deleted at once.
const MOST_PRUNED: usize = 100;

/// Why a record does not exist: for people, and for the loop.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) problem: LedgerProblem,
    pub(super) error: Error,
}

/// What became of a record that was to be created.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// It exists now.
    Created,
    /// It existed already.
    WasThere,
    /// Status is older than the records: another one of ours has its number, and this is the newest.
    Overtaken(Head),
}

/// Records that are to be deleted.
#[derive(Debug)]
pub(super) struct Prune {
    /// The newest of them.
    pub(super) through: Head,
    names: Vec<String>,
}

/// The objects of the records of one model.
pub(super) struct Objects {
    api: Api<PrecisionDecision>,
    namespace: String,
    name: String,
}

impl Prune {
    /// Whether there may be more of them than are deleted at once.
    pub(super) fn is_full(&self) -> bool {
        self.names.len() == MOST_PRUNED
    }
}

impl Trouble {
    fn of(reason: LedgerReason, error: Error) -> Self {
        let message = error.to_string();
        Self {
            problem: LedgerProblem { reason, message },
            error,
        }
    }

    fn told(reason: LedgerReason, message: String) -> Self {
        Self::of(reason, Error::NotRecorded(message))
    }
}

impl Objects {
    pub(super) fn of(ctx: &Context, model: &QuantizedModel) -> Self {
        let namespace = model.namespace().unwrap_or_default();
        Self {
            api: Api::namespaced(ctx.client.clone(), &namespace),
            name: model.name_any(),
            namespace,
        }
    }

    /// Creates the object of a record. `rotates` says whether another key has signed the record before.
    pub(super) async fn create(&self, record: &PendingRecord, keys: &Keys, rotates: bool) -> Result<Outcome, Trouble> {
        let object = self.object(record, keys, rotates)?;
        let name = object.name_any();
        let params = PostParams {
            field_manager: Some(MANAGER_STATUS.to_owned()),
            ..PostParams::default()
        };
        match call(format!("write record {name}"), self.api.create(&params, &object)).await {
            Ok(_) => Ok(Outcome::Created),
            // There is one of its name; or a quota was counted by somebody else at the same time.
            Err(conflict @ CallError::Conflict(_)) => match self.get(&name, LedgerReason::NotWritten).await? {
                None => Err(Trouble::of(LedgerReason::NotWritten, conflict.into())),
                Some(there) if there.spec.payload_digest == record.payload_digest => {
                    is_as_written(&there, record, keys).map_err(|why| forked(&name, &why))?;
                    Ok(Outcome::WasThere)
                }
                Some(there) => self.follow(there, record, keys).await.map(Outcome::Overtaken),
            },
            Err(error) => Err(Trouble::of(LedgerReason::NotWritten, error.into())),
        }
    }

    /// The object of a record.
    fn object(&self, record: &PendingRecord, keys: &Keys, rotates: bool) -> Result<PrecisionDecision, Trouble> {
        let sequence = u64::try_from(record.sequence).unwrap_or_default();
        let mut spec = PrecisionDecisionSpec {
            sequence: record.sequence,
            time: record.time.clone(),
            summary: record.summary.clone(),
            payload_digest: record.payload_digest.clone(),
            payload: record.payload.clone(),
            signature: None,
            rotated_from: None,
        };
        if record.signed {
            let key = keys.signs.as_ref().map_err(|why| {
                let message = format!(
                    "record {sequence} is to be signed, and the key is gone: {why}; it waits until the key is back"
                );
                Trouble::told(LedgerReason::KeyMissing, message)
            })?;
            let statement = statement(record)?;
            spec.signature = Some(key.sign(&statement).into());
            let former = keys.former.as_ref().filter(|_| rotates);
            spec.rotated_from = former.map(|former| former.sign(&statement).into());
        }
        let mut object = PrecisionDecision::new(&object_name(&self.name, sequence), spec);
        object.metadata.namespace = Some(self.namespace.clone());
        object.metadata.labels = Some([(MODEL_LABEL.to_owned(), model_label(&self.name))].into());
        Ok(object)
    }

    /// Follows the chain from a record that exists in place of ours to the newest one. It must be ours: signed by our key, and
    /// linked to the record before ours. Nobody can tell that where nothing is signed.
    async fn follow(&self, there: PrecisionDecision, ours: &PendingRecord, keys: &Keys) -> Result<Head, Trouble> {
        let name = there.name_any();
        let forked = |why: String| forked(&name, &why);
        let public = keys.public();
        if public.is_empty() {
            return Err(forked("without a key nobody can tell whose it is".to_owned()));
        }
        let mut before = linked_to(&statement(ours)?).unwrap_or_default();
        let mut next = Some(there);
        let mut newest = None;
        while let Some(object) = next {
            let Adopted { head, before: link, .. } = self.adopt(object, keys).map_err(&forked)?;
            if link != before {
                return Err(forked(format!(
                    "record {} does not follow the one before it",
                    head.sequence
                )));
            }
            before.clone_from(&head.digest);
            next = self
                .get(&object_name(&self.name, head.sequence + 1), LedgerReason::NotListed)
                .await?;
            newest = Some(head);
        }
        newest.ok_or_else(|| forked("it is gone".to_owned()))
    }

    /// The newest of the records that exist; `None` if there is none.
    pub(super) async fn newest(&self, all: &[Listed], keys: &Keys) -> Result<Option<Adopted>, Trouble> {
        let Some((_, name, _)) = all.last() else {
            return Ok(None);
        };
        let Some(newest) = self.get(name, LedgerReason::NotListed).await? else {
            let gone = CallError::Conflict(format!("read record {name}"));
            return Err(Trouble::of(LedgerReason::NotListed, gone.into()));
        };
        let adopted = self.adopt(newest, keys).map_err(|why| {
            let message =
                format!("the chain cannot go on from {name}: {why}; nothing rises until a person has seen to it");
            Trouble::told(LedgerReason::Forked, message)
        })?;
        Ok(Some(adopted))
    }

    fn adopt(&self, object: PrecisionDecision, keys: &Keys) -> Result<Adopted, String> {
        adopt(object, (&self.namespace, &self.name), &keys.public())
    }

    /// Those of the records that exist that are older than they need be, and not among the last.
    pub(super) async fn old(
        &self,
        all: &[Listed],
        now: Timestamp,
        keep: SignedDuration,
    ) -> Result<Option<Prune>, Trouble> {
        let most = all.len().saturating_sub(LEAST_KEPT).min(MOST_PRUNED);
        let is_old = |(_, _, created): &&Listed| created.is_some_and(|at| now.duration_since(at) > keep);
        let old: Vec<_> = all.iter().take(most).take_while(is_old).collect();
        let names: Vec<String> = old.iter().map(|(_, name, _)| name.clone()).collect();
        let Some((sequence, name, _)) = old.last() else {
            return Ok(None);
        };
        let last = self.get(name, LedgerReason::NotListed).await?;
        Ok(last.map(|last| Prune {
            through: Head {
                sequence: *sequence,
                digest: last.spec.payload_digest.trim_start_matches("sha256:").to_owned(),
            },
            names,
        }))
    }

    /// Deletes records; returns how many.
    pub(super) async fn delete(&self, prune: &Prune) -> Result<usize, Error> {
        for name in &prune.names {
            let at_once = DeleteParams::default();
            let delete = self.api.delete(name, &at_once);
            call_opt(format!("delete record {name}"), delete).await?;
        }
        tracing::info!(
            namespace = self.namespace,
            name = self.name,
            through = prune.through.sequence,
            digest = prune.through.digest,
            records = prune.names.len(),
            "old records are deleted"
        );
        Ok(prune.names.len())
    }

    /// The records that exist, oldest first.
    pub(super) async fn list(&self) -> Result<Vec<Listed>, Trouble> {
        let of_model = ListParams::default().labels(&format!("{MODEL_LABEL}={}", model_label(&self.name)));
        let listed = call(
            format!("list records of {}", self.name),
            self.api.list_metadata(&of_model),
        )
        .await
        .map_err(|error| Trouble::of(LedgerReason::NotListed, error.into()))?;
        let mut records: Vec<Listed> = listed
            .items
            .into_iter()
            .filter_map(|object| {
                let name = object.metadata.name?;
                let created = object.metadata.creation_timestamp.map(|at| at.0);
                // Models whose names are cut in the label share its value.
                let sequence = name.rsplit('-').next()?.parse().ok()?;
                (object_name(&self.name, sequence) == name).then_some((sequence, name, created))
            })
            .collect();
        records.sort_unstable();
        Ok(records)
    }

    async fn get(&self, name: &str, reason: LedgerReason) -> Result<Option<PrecisionDecision>, Trouble> {
        call_opt(format!("read record {name}"), self.api.get(name))
            .await
            .map_err(|error| Trouble::of(reason, error.into()))
    }
}

/// Number of a record, its name, and when the API server created it.
pub(super) type Listed = (u64, String, Option<Timestamp>);

/// A record that exists in place of one that was to be written.
fn forked(name: &str, why: &str) -> Trouble {
    let message = format!(
        "{name} is another record than the one that was to be written, and not ours: {why}; nothing rises until a person has seen to it"
    );
    Trouble::told(LedgerReason::Forked, message)
}

/// Fails unless an object that says it holds a record does so: the digest of a record stands in the status, where whoever would have
/// another one in its place can read it. A key of before, which nobody knows any more, may have signed it.
fn is_as_written(there: &PrecisionDecision, record: &PendingRecord, keys: &Keys) -> Result<(), String> {
    let spec = &there.spec;
    let ours = unpack(&record.payload, LARGEST_STATEMENT).map_err(|why| why.to_string())?;
    let theirs = unpack(&spec.payload, LARGEST_STATEMENT).map_err(|why| why.to_string())?;
    if ours != theirs {
        return Err("its statement is another one than its digest says".to_owned());
    }
    let beside = (record.sequence, &record.time, &record.summary);
    if (spec.sequence, &spec.time, &spec.summary) != beside {
        return Err("its number, time or summary is not that of its statement".to_owned());
    }
    let signature = match (&spec.signature, record.signed) {
        (_, false) => return Ok(()),
        (None, true) => return Err("it has no signature".to_owned()),
        (Some(signature), true) => Signature::from(signature.clone()),
    };
    let public = keys.public();
    match public.iter().find(|key| key.keyid() == signature.keyid) {
        Some(key) if !key.verifies(&ours, &signature) => Err("its signature does not hold".to_owned()),
        Some(_) | None => Ok(()),
    }
}

/// The statement of a record that is to be written.
fn statement(record: &PendingRecord) -> Result<Vec<u8>, Trouble> {
    unpack(&record.payload, LARGEST_STATEMENT).map_err(|why| {
        let message = format!(
            "the record {} in status.ledger.pending cannot be read: {why}",
            record.sequence
        );
        Trouble::told(LedgerReason::NotWritten, message)
    })
}

#[cfg(test)]
mod tests;
