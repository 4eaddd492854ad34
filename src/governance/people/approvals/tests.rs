//! Who counts as an approver, in tables and for random acts.

use proptest::prelude::*;

use super::super::acts::tests::{DIGEST, OTHER_DIGEST, act, at, facts, random_acts, random_lowering};
use super::super::acts::{Facts, in_force};
use super::*;
use crate::api::ActKind::{self, Approve, BreakGlass, Reject};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A rule about the first traffic of all kinds of rollouts.
fn rule(count: i32, groups: &[&str]) -> ApprovalRule {
    ApprovalRule {
        before: ApprovalGate::FirstTraffic,
        kinds: Vec::new(),
        count,
        from_groups: names(groups),
    }
}

/// The same before a promotion.
fn promotion_rule(count: i32) -> ApprovalRule {
    ApprovalRule {
        before: ApprovalGate::Promotion,
        ..rule(count, &[])
    }
}

fn int4() -> RevisionRef {
    RevisionRef {
        variant: "int4".to_owned(),
        revision: format!("v1:{}", "2".repeat(64)),
    }
}

/// An approval of a member of groups.
fn approval(by: &str, groups: &[&str], second: i64) -> Act {
    let mut act = act(Approve, by, second);
    act.spec.actor.groups = names(groups);
    act
}

/// A question about the first traffic of int4, at a second.
fn question<'a>(rules: &'a [ApprovalRule], authors: &'a [String], to: &'a RevisionRef, second: i64) -> Question<'a> {
    Question {
        before: ApprovalGate::FirstTraffic,
        kind: RolloutKind::Climb,
        namespace: "risk",
        model: "fraud-scorer",
        to,
        digest: DIGEST,
        rules,
        authors: Authors {
            names: authors,
            assurance: Assurance::Pinned,
        },
        awaiting: None,
        now: at(second),
    }
}

fn is_granted(rules: &[ApprovalRule], authors: &[String], assurance: Assurance, acts: &[Act]) -> bool {
    let to = int4();
    let mut question = question(rules, authors, &to, 20);
    question.authors.assurance = assurance;
    let acts = in_force(acts, &facts(20));
    matches!(count(&question, &acts).answer, Answer::Granted { .. })
}

#[test]
fn four_eyes_see_a_change_whoever_its_authors_are() {
    const PIPELINE: &str = "system:serviceaccount:argocd:argocd";
    let claimed = Assurance::Claimed;
    let pinned = Assurance::Pinned;
    for (authors, assurance, approvers, granted) in [
        (&["ann"][..], pinned, &["bob"][..], true),
        (&["ann"], pinned, &["ann"], false),
        (&["ann"], pinned, &["ann", "bob"], true),
        // A colleague's innocent edit does not make somebody else of the first author.
        (&["ann", "bob"], pinned, &["ann"], false),
        (&["ann", "bob"], pinned, &["ann", "bob"], false),
        (&["ann", "bob"], pinned, &["cid"], true),
        // Who is behind a pipeline is not known.
        (&[PIPELINE], pinned, &["bob"], false),
        (&[PIPELINE], pinned, &["bob", "cid"], true),
        (&["ann", PIPELINE], pinned, &["bob"], false),
        (&["ann", PIPELINE], pinned, &["ann", "bob"], false),
        (&["ann", PIPELINE], pinned, &["cid", "bob"], true),
        (&["ann"], claimed, &["bob"], false),
        (&["ann"], claimed, &["bob", "cid"], true),
        (&["ann"], claimed, &["bob", "ann"], false),
        (&[], pinned, &["bob"], false),
        (&[], pinned, &["bob", "cid"], true),
        (&[], pinned, &[], false),
        (&["ann"], pinned, &[PIPELINE], false),
        (
            &["ann"],
            pinned,
            &[
                "system:node:worker-1",
                "system:anonymous",
                "system:admin",
                "",
                "bob\nann",
            ],
            false,
        ),
    ] {
        let acts: Vec<Act> = approvers.iter().map(|by| approval(by, &[], 5)).collect();
        let found = is_granted(&[rule(1, &[])], &names(authors), assurance, &acts);
        assert_eq!(
            found, granted,
            "{approvers:?} approve what {authors:?} ({assurance:?}) wrote"
        );
    }
}

#[test]
fn each_group_of_a_rule_has_a_member_among_those_who_approve() {
    let both = rule(1, &["model-risk", "second-line"]);
    let two = rule(2, &["model-risk"]);
    let (pinned, claimed) = (Assurance::Pinned, Assurance::Claimed);
    for (rules, assurance, approvers, granted) in [
        (vec![], pinned, vec![], true),
        (vec![rule(2, &[])], pinned, vec![("bob", "")], false),
        (vec![rule(2, &[])], pinned, vec![("bob", ""), ("cid", "")], true),
        (vec![both.clone()], pinned, vec![("bob", "model-risk")], false),
        (
            vec![both.clone()],
            pinned,
            vec![("bob", "model-risk"), ("cid", "dev")],
            false,
        ),
        (
            vec![both],
            pinned,
            vec![("bob", "model-risk"), ("cid", "second-line")],
            true,
        ),
        (vec![two.clone()], pinned, vec![("bob", "model-risk")], false),
        (vec![two.clone()], pinned, vec![("bob", "dev"), ("cid", "dev")], false),
        (
            vec![two.clone()],
            pinned,
            vec![("bob", "model-risk"), ("cid", "dev")],
            true,
        ),
        // Any of them may be the author: then nobody of the group is left.
        (
            vec![rule(1, &["model-risk"])],
            claimed,
            vec![("bob", "model-risk"), ("cid", "dev")],
            false,
        ),
        (
            vec![rule(1, &["model-risk"])],
            claimed,
            vec![("bob", "model-risk"), ("cid", "model-risk")],
            true,
        ),
        // One person may meet several rules, and all must be met.
        (
            vec![rule(1, &["model-risk"]), rule(1, &[])],
            pinned,
            vec![("bob", "model-risk")],
            true,
        ),
        (
            vec![rule(1, &["model-risk"]), two],
            pinned,
            vec![("bob", "model-risk")],
            false,
        ),
        (vec![rule(i32::MAX, &[])], pinned, vec![("bob", "")], false),
    ] {
        let acts: Vec<Act> = approvers.iter().map(|(by, group)| approval(by, &[*group], 5)).collect();
        let found = is_granted(&rules, &names(&["ann"]), assurance, &acts);
        assert_eq!(found, granted, "{rules:?} {assurance:?} {approvers:?}");
    }
}

#[test]
fn a_rule_asks_before_its_gate_and_for_its_kinds_only() {
    let of_kinds = |kinds: Vec<RolloutKind>| ApprovalRule { kinds, ..rule(1, &[]) };
    for (rule, asks) in [
        (rule(1, &[]), true),
        (promotion_rule(1), false),
        (of_kinds(vec![RolloutKind::Climb, RolloutKind::Lateral]), true),
        (of_kinds(vec![RolloutKind::NewReference]), false),
    ] {
        let granted = is_granted(std::slice::from_ref(&rule), &names(&["ann"]), Assurance::Pinned, &[]);
        assert_eq!(granted, !asks, "{rule:?}");
    }
}

#[test]
fn who_approves_twice_is_one_person() {
    let acts = [approval("bob", &["dev"], 1), approval("bob", &["model-risk"], 2)];
    assert!(!is_granted(&[rule(2, &[])], &names(&["ann"]), Assurance::Pinned, &acts));
    // Both of the acts say in which groups the person is.
    assert!(is_granted(
        &[rule(1, &["model-risk"])],
        &names(&["ann"]),
        Assurance::Pinned,
        &acts
    ));
}

#[test]
fn a_promotion_is_approved_by_who_could_see_what_it_rests_on() {
    let (rules, authors, to) = ([promotion_rule(1)], names(&["ann"]), int4());
    let early = [approval("bob", &[], 9)];
    let mut promotion = question(&rules, &authors, &to, 10);
    promotion.before = ApprovalGate::Promotion;
    promotion.now = at(10) + k8s_openapi::jiff::SignedDuration::from_millis(1);
    let early = in_force(&early, &facts(10));
    let counted = count(&promotion, &early);
    assert_eq!(counted.uncounted, [(early.approvals[0], Uncounted::TooEarly)]);
    let Answer::Waiting { awaiting, .. } = counted.answer else {
        panic!("an approval that is older than the question was counted");
    };
    // An act of the second in which it began may be older than the findings.
    assert_eq!(awaiting.since, Time(at(11)));
    promotion.awaiting = Some(&awaiting);
    promotion.now = at(60);
    for (second, granted) in [(9, false), (10, false), (11, true), (50, true)] {
        let acts = [approval("bob", &[], second)];
        let acts = in_force(&acts, &facts(60));
        let answer = count(&promotion, &acts).answer;
        assert_eq!(matches!(answer, Answer::Granted { .. }), granted, "{second}");
        if let Answer::Waiting { awaiting: still, .. } = answer {
            assert_eq!(still, awaiting, "it waits for the same thing since the same time");
        }
    }
    // What was awaited of another change, or before the first traffic, is another question.
    for other in [
        Awaiting {
            change_digest: OTHER_DIGEST.to_owned(),
            ..(*awaiting).clone()
        },
        Awaiting {
            before: ApprovalGate::FirstTraffic.into(),
            ..(*awaiting).clone()
        },
    ] {
        let other = Question {
            awaiting: Some(&other),
            ..promotion.clone()
        };
        let acts = [approval("bob", &[], 50)];
        let acts = in_force(&acts, &facts(60));
        let Answer::Waiting { awaiting, .. } = count(&other, &acts).answer else {
            panic!("an approval that is older than the question was counted");
        };
        assert_eq!(awaiting.since, Time(at(60)));
    }
}

#[test]
fn a_rejection_outweighs_approvals_and_break_glass() {
    let (rules, authors, to) = ([rule(1, &[])], names(&["ann"]), int4());
    let question = question(&rules, &authors, &to, 20);
    let answer = |acts: &[Act]| match count(&question, &in_force(acts, &facts(20))).answer {
        Answer::Granted { by } => format!("granted {}", by[0].by()),
        Answer::Waived { by } => format!("waived {}", by.by()),
        Answer::Rejected { by } => format!("rejected {}", by.by()),
        Answer::Waiting { .. } => "waiting".to_owned(),
    };
    let approved = act(Approve, "bob", 1);
    assert_eq!(answer(&[]), "waiting");
    assert_eq!(answer(std::slice::from_ref(&approved)), "granted bob");
    assert_eq!(answer(&[act(BreakGlass, "cid", 1)]), "waived cid");
    assert_eq!(answer(&[act(BreakGlass, "cid", 1), approved.clone()]), "granted bob");
    // Of an author too.
    assert_eq!(answer(&[approved.clone(), act(Reject, "ann", 1)]), "rejected ann");
    assert_eq!(
        answer(&[act(BreakGlass, "cid", 5), act(Reject, "ann", 1)]),
        "rejected ann"
    );
    assert_eq!(
        answer(&[act(Reject, "cid", 3), act(Reject, "ann", 1), approved.clone()]),
        "rejected ann"
    );
    assert_eq!(answer(&[act(Reject, "bob", 1), act(Approve, "bob", 2)]), "granted bob");
    assert_eq!(
        answer(&[act(Reject, "bob", 1), act(ActKind::Retry, "cid", 2), approved]),
        "waiting"
    );
}

#[test]
fn an_open_gate_of_another_kind_is_no_approval() {
    let (rules, authors, to) = ([rule(1, &[])], names(&["ann"]), int4());
    let mut acts = [act(BreakGlass, "cid", 1)];
    acts[0].spec.waives = vec![Waive::Freezes, Waive::Slots, Waive::Freshness];
    let acts = in_force(&acts, &facts(20));
    let answer = count(&question(&rules, &authors, &to, 20), &acts).answer;
    assert!(matches!(answer, Answer::Waiting { .. }), "{answer:?}");
}

#[test]
fn the_status_says_who_may_approve_what_and_how() {
    let rules = [rule(3, &["model-risk"]), rule(1, &["second-line", "audit\n"])];
    let (authors, to) = (names(&["ann\u{202e}"]), int4());
    let acts = [approval("bob", &["model-risk"], 5), approval("cid", &[], 6)];
    let acts = in_force(&acts, &facts(20));
    let Answer::Waiting { awaiting, message } = count(&question(&rules, &authors, &to, 20), &acts).answer else {
        panic!("a third person and two groups have not approved");
    };
    assert_eq!(
        message,
        "the first traffic of int4 (222222222222) needs approval by 3 people, and bob, cid approved: anybody with the \
         right (approve on quantizedmodels/fraud-scorer, group audit , group second-line) who is not an author of it \
         (ann ) runs: kubectl guardbit approve fraud-scorer -n risk --change sha256:aa --reason 'why you approve'"
    );
    let approved = |by: &str, second: i64| Approved {
        by: by.to_owned(),
        at: Time(at(second)),
        action: format!("approve-{by}-{second}"),
    };
    let expected = Awaiting {
        before: ApprovalGate::FirstTraffic.into(),
        change_digest: DIGEST.to_owned(),
        variant: "int4".to_owned(),
        revision: to.revision.clone(),
        since: Time(at(20)),
        need: 3,
        have: vec![approved("bob", 5), approved("cid", 6)],
        excluded: names(&["ann "]),
        may: "approve on quantizedmodels/fraud-scorer, group audit , group second-line".to_owned(),
        command: "kubectl guardbit approve fraud-scorer -n risk --change sha256:aa --reason 'why you approve'"
            .to_owned(),
    };
    assert_eq!(*awaiting, expected);
}

#[test]
fn the_sentence_of_a_promotion_without_approvals() {
    let (rules, to) = ([promotion_rule(0)], int4());
    let mut promotion = question(&rules, &[], &to, 20);
    promotion.before = ApprovalGate::Promotion;
    let acts = in_force(&[], &facts(20));
    let Answer::Waiting { message, .. } = count(&promotion, &acts).answer else {
        panic!("nobody has approved");
    };
    assert_eq!(
        message,
        "the promotion of int4 (222222222222) needs approval by 1 person, and nobody has approved: anybody with the \
         right (approve on quantizedmodels/fraud-scorer) runs: kubectl guardbit approve fraud-scorer -n risk --change \
         sha256:aa --reason 'why you approve'"
    );
}

#[test]
fn an_approval_that_does_not_count_says_why() {
    let (rules, authors, to) = ([rule(2, &[])], names(&["ann"]), int4());
    let acts = [
        approval("ann", &[], 1),
        approval("system:admin", &[], 2),
        approval("bob", &[], 3),
    ];
    let acts = in_force(&acts, &facts(20));
    let counted = count(&question(&rules, &authors, &to, 20), &acts);
    let mut why: Vec<(&str, Uncounted)> = counted.uncounted.iter().map(|(act, why)| (act.by(), *why)).collect();
    why.sort_by_key(|(by, _)| *by);
    assert_eq!(why, [("ann", Uncounted::Author), ("system:admin", Uncounted::NoPerson)]);
    assert!(Uncounted::Author.to_string().starts_with("it does not count: "));
}

/// Acts of which all are of one person.
fn of_one_person(mut acts: Vec<Act>) -> Vec<Act> {
    for act in &mut acts {
        act.spec.actor.username = "bob".to_owned();
        act.spec.waives.clear();
    }
    acts
}

proptest! {
    #[test]
    fn one_person_never_counts_as_two(acts in random_acts(), needed in 2..4_i32, authors in 0..3_usize) {
        let acts = of_one_person(acts);
        let authors = names(&["ann", "cid"][..authors.min(2)]);
        for assurance in [Assurance::Pinned, Assurance::Claimed] {
            prop_assert!(!is_granted(&[rule(needed, &[])], &authors, assurance, &acts));
        }
        // Nor does one person do where the authors are not known.
        prop_assert!(!is_granted(&[rule(1, &[])], &authors, Assurance::Claimed, &acts));
        prop_assert!(!is_granted(&[rule(1, &[])], &names(&["bob"]), Assurance::Pinned, &acts));
    }

    #[test]
    fn acts_of_one_person_never_stand_for_a_second(acts in random_acts(), more in random_acts()) {
        let rules = [rule(2, &[])];
        let authors = names(&["ann"]);
        // Bob has said all he can; ann is the author.
        let by_bob: Vec<Act> = of_one_person(acts.iter().chain(&more).cloned().collect());
        let mut all = acts;
        all.retain(|act| act.by() == "ann");
        all.extend(by_bob);
        all.iter_mut().for_each(|act| act.spec.waives.clear());
        prop_assert!(!is_granted(&rules, &authors, Assurance::Pinned, &all));
    }

    #[test]
    fn the_order_in_which_people_approve_has_no_part(
        (acts, shuffled) in random_acts().prop_flat_map(|acts| (Just(acts.clone()), Just(acts).prop_shuffle())),
        needed in 1..3_i32,
    ) {
        let (rules, authors, to) = ([rule(needed, &[])], names(&["ann"]), int4());
        let question = question(&rules, &authors, &to, 20);
        let (one, other) = (in_force(&acts, &facts(20)), in_force(&shuffled, &facts(20)));
        prop_assert_eq!(count(&question, &one), count(&question, &other));
    }

    #[test]
    fn an_act_that_lowers_never_grants(
        acts in random_acts(),
        added in random_lowering(),
        needed in 1..3_i32,
        claimed in any::<bool>(),
    ) {
        let (rules, authors, to) = ([rule(needed, &[])], names(&["ann"]), int4());
        let question = question(&rules, &authors, &to, 20);
        let assurance = if claimed { Assurance::Claimed } else { Assurance::Pinned };
        let facts = Facts { assurance, ..facts(20) };
        let all: Vec<Act> = acts.iter().chain(&added).cloned().collect();
        let may = |acts: &[Act]| {
            let answer = count(&question, &in_force(acts, &facts)).answer;
            matches!(answer, Answer::Granted { .. } | Answer::Waived { .. })
        };
        prop_assert!(!may(&all) || may(&acts));
        prop_assert!(!claimed || !may(&all), "what nobody checked grants nothing");
    }
}
