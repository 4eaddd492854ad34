//! Records as guardbit writes them: a rollout runs in the world of the golden stories, and each of its decisions is recorded.

use guardbit::api::{Action, Decision, DecisionSignature, PrecisionDecision, PrecisionDecisionSpec};
use guardbit::ledger::verify::{Anchor, Check, Finding, Item, Report, Source, Trust, Verified, verify};
use guardbit::ledger::{
    Bundle, Documents, Entry, Head, Journal, ModelName, Signing, SigningKey, Statement, Subject, Written, object_name,
    pack,
};
use guardbit::rollout::{Plan, hear};

use crate::world::{Behaviour, World, spec};

const KEY: &str = include_str!("../testdata/ledger/key.pem");
const OTHER_KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgbmyeMIx0qubfWCTL
V74sqIzGm+2lUs1XiOVUkBHx71KhRANCAASPxGsaFbtLpbdOex3LkHkeDA5PNQWN
NttUCM+IRFzd2+LwWSoMzWeFKb+0Y7FdGnGFZ+t4uObACwNGE8i05agj
-----END PRIVATE KEY-----
";

/// Uid of the model of a world.
pub const UID: &str = "6f0c1a52-0000-4000-8000-000000000001";

/// The key of guardbit.
pub fn key() -> SigningKey {
    SigningKey::from_pem(KEY).expect("a key")
}

/// A key of somebody else.
pub fn other_key() -> SigningKey {
    SigningKey::from_pem(OTHER_KEY).expect("a key")
}

/// What whoever verifies knows: the key of guardbit.
pub fn trust() -> Trust {
    Trust {
        keys: vec![key().public().clone()],
        ..Trust::default()
    }
}

/// Writes down a rollout as it goes.
pub struct Recorder {
    pub statements: Vec<Statement>,
    head: Head,
    journal: Option<Journal>,
    /// Whether what was counted since the last record is lost now, as by a restart.
    pub forgets: bool,
}

impl Recorder {
    pub fn new() -> Self {
        Self {
            statements: Vec::new(),
            head: Head::origin(UID),
            journal: None,
            forgets: false,
        }
    }

    /// Lets time pass in a world, and records what is decided.
    pub fn run(&mut self, world: &mut World, seconds: i64) {
        world.run_watched(seconds, &mut |world, _, plan| self.look(world, plan));
    }

    fn look(&mut self, world: &World, plan: &Plan) {
        let observation = world.observe();
        let (seen, heard) = (observation.seen(), hear(&observation));
        if std::mem::take(&mut self.forgets) {
            self.journal = None;
        }
        if plan.decisions.is_empty() {
            self.journal = Journal::append(self.journal.take(), &seen, &heard, plan);
            return;
        }
        let entry = Entry::of(Written {
            seen: &seen,
            heard: &heard,
            plan,
            journal: self.journal.take(),
            head: &self.head,
            uid: UID,
            signing: Signing::Key,
            documents: Documents::default(),
        });
        self.head = entry.head;
        self.statements.push(entry.statement);
    }
}

/// The records of a rollout that is promoted, turns bad, and falls back.
pub fn rollout() -> Vec<Statement> {
    let mut recorder = Recorder::new();
    let mut world = World::new(spec());
    recorder.run(&mut world, 240);
    let stable = world.status.stable.as_ref().map(|stable| stable.variant.as_str());
    assert_eq!(stable, Some("int8"), "{}", world.transcript);
    let bad = Behaviour {
        errors: 0.2,
        ..Behaviour::default()
    };
    world.behaviour.insert("int8".into(), bad);
    recorder.run(&mut world, 60);
    let records = recorder.statements;
    assert_eq!(records.len(), 8, "{}", world.transcript);
    records
}

/// The statements as one chain, whatever links them now: each is linked to the one before it.
pub fn linked(mut statements: Vec<Statement>) -> Vec<Statement> {
    let mut before: Option<Head> = None;
    for (statement, number) in statements.iter_mut().zip(1..) {
        let info = &mut statement.predicate.record;
        info.sequence = number;
        let head = before.unwrap_or_else(|| Head::origin(&info.model.uid));
        statement.subject[0] = Subject::record(&head, &info.model);
        before = Some(Head::of(number, &statement.print()));
    }
    statements
}

/// The same records, of another model.
pub fn renamed(statements: &[Statement], rename: impl Fn(&mut ModelName)) -> Vec<Statement> {
    let mut statements = statements.to_vec();
    for statement in &mut statements {
        let Statement { predicate, .. } = statement;
        rename(&mut predicate.record.model);
        let model = predicate.look.seen.model.to_mut();
        model.namespace.clone_from(&predicate.record.model.namespace);
        model.name.clone_from(&predicate.record.model.name);
    }
    linked(statements)
}

/// The bytes of an exported file.
pub fn bundle(statement: &Statement, key: &SigningKey) -> Vec<u8> {
    signed(statement, key).print()
}

fn signed(statement: &Statement, key: &SigningKey) -> Bundle {
    let payload = statement.print();
    Bundle {
        signature: Some(key.sign(&payload)),
        payload,
    }
}

/// The files of an export.
pub fn exported(statements: &[Statement], key: &SigningKey) -> Vec<Item> {
    statements
        .iter()
        .map(|statement| file(statement, &signed(statement, key)))
        .collect()
}

/// One file of an export.
pub fn file(statement: &Statement, bundle: &Bundle) -> Item {
    Item {
        name: bundle.file_name(statement.predicate.record.sequence),
        source: Source::Bundle(bundle.print()),
    }
}

/// What a record says, in a sentence.
fn summary(statement: &Statement) -> String {
    let told = |decision: &Decision| {
        let Decision {
            action, variant, why, ..
        } = decision;
        let joint = if *action == Action::Raised { "" } else { ":" };
        format!("{action} {variant}{joint} {why}")
    };
    let told: Vec<_> = statement.predicate.decisions.iter().map(told).collect();
    told.join("; ")
}

/// The object that holds a record; without a key it has no signature.
pub fn object(statement: &Statement, key: Option<&SigningKey>) -> PrecisionDecision {
    let info = &statement.predicate.record;
    let payload = statement.print();
    let head = Head::of(info.sequence, &payload);
    let spec = PrecisionDecisionSpec {
        sequence: info.sequence as i64,
        time: info.time.clone(),
        summary: summary(statement),
        payload_digest: format!("sha256:{}", head.digest),
        payload: pack(&payload),
        signature: key.map(|key| DecisionSignature::from(key.sign(&payload))),
        rotated_from: None,
    };
    let mut object = PrecisionDecision::new(&object_name(&info.model.name, info.sequence), spec);
    object.metadata.namespace = Some(info.model.namespace.clone());
    object
}

/// The objects that hold records.
pub fn objects(statements: &[Statement], key: Option<&SigningKey>) -> Vec<Item> {
    statements
        .iter()
        .map(|statement| item(object(statement, key)))
        .collect()
}

/// An object as an item.
pub fn item(object: PrecisionDecision) -> Item {
    Item {
        name: object.metadata.name.clone().unwrap_or_default(),
        source: Source::Object(Box::new(object)),
    }
}

/// Something that attests a record.
pub fn anchor(statement: &Statement) -> Anchor {
    let info = &statement.predicate.record;
    Anchor {
        namespace: info.model.namespace.clone(),
        name: info.model.name.clone(),
        sequence: info.sequence,
        digest: Head::of(info.sequence, &statement.print()).digest,
    }
}

/// The report on the only chain of these items, of which nothing else was found.
pub fn only(items: &[Item], trust: &Trust) -> Report {
    let Verified { apart, mut chains } = verify(items, trust);
    assert_eq!(apart, []);
    assert_eq!(chains.len(), 1, "{chains:?}");
    chains.remove(0)
}

/// What is broken, by record and check.
pub fn broken(items: &[Item], trust: &Trust) -> Vec<(String, Check)> {
    let verified = verify(items, trust);
    let broken = verified.findings().filter(|finding| finding.is_broken());
    broken
        .map(|Finding { record, check, .. }| (record.clone(), *check))
        .collect()
}

/// The same for one record by its number in an export.
pub fn at(number: u64, check: Check) -> (String, Check) {
    (format!("{number:06}.sigstore.json"), check)
}
