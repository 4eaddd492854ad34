//! Counters that fall, as people have reported them; the sources are issues of the projects that are named.

use super::*;

/// What is counted of one pod that is scraped every 15 s, and whether its arm is no evidence in the end.
fn counted(values: &[f64]) -> (u64, bool) {
    let samples: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(i, value)| (15 * i as i64, *value))
        .collect();
    let total = [of("a", "200", &samples)];
    let (mut cursor, mut n, mut unusable) = (Cursor::new(at(0)), 0, None);
    for (now, _) in &samples {
        let advance = cursor.advance(&errors(&total, &[]), at(*now), INTERVAL, &no_pods());
        n += sum(&advance.polls).0;
        unusable = advance.unusable;
    }
    (n, unusable.is_some())
}

#[test]
fn no_fall_adds_a_request_that_was_not_made() {
    let cases: [(&str, &[f64], u64); 7] = [
        (
            "a process that restarts",
            &[1_000.0, 1_030.0, 12.0, 42.0, 71.0],
            30 + 71,
        ),
        (
            "two replicas see a restart one after the other (thanos-io/thanos#1326)",
            &[46_906.0, 47_000.0, 66.0, 66.0, 66.0, 201.0],
            94 + 135,
        ),
        (
            "a replica that is behind answers once (thanos-io/thanos#1788)",
            &[668_153.0, 668_173.0, 668_156.0, 668_189.0, 668_200.0],
            20 + 16 + 11,
        ),
        (
            "a large counter that falls a little (prometheus/prometheus#11009)",
            &[6_500_100.0, 6_500_123.0, 6_500_120.0, 6_500_400.0],
            23 + 277,
        ),
        (
            "one of many files that are added up is cleaned away (netbox-community/netbox#3779)",
            &[100_000.0, 100_050.0, 60_000.0, 60_100.0, 60_200.0],
            50 + 200,
        ),
        (
            "a sum loses a pod and gets it back",
            &[9_000.0, 9_030.0, 6_010.0, 6_030.0, 9_080.0, 9_110.0],
            30 + 20 + 30,
        ),
        ("a fall that nothing follows", &[500.0, 530.0, 7.0], 30),
    ];
    for (name, values, expected) in cases {
        assert_eq!(counted(values), (expected, false), "{name}");
    }
}

#[test]
fn workers_that_answer_in_turn_are_no_evidence() {
    // stephenhillier/starlette_exporter#8: two workers behind one port.
    let flicker = [19.0, 11.0, 11.0, 11.0, 19.0, 19.0, 11.0, 19.0, 11.0, 19.0, 12.0, 20.0];
    assert!(counted(&flicker).1);
    // Four old workers far apart (freelawproject/courtlistener#7980).
    let far = [
        5_000.0, 9_000.0, 200.0, 5_010.0, 9_020.0, 210.0, 7_000.0, 5_020.0, 9_040.0, 220.0,
    ];
    assert!(counted(&far).1);
}
