//! `guardbit golden make --cut --answers`: which answers are taken, and which are refused.

use super::{Folder, guardbit};

const REQUESTS: &str = "{\"prompt\":\"one\"}\n\n{\"prompt\":\"two\"}\nnothing\n{\"prompt\":\"three\"}\n";
const ANSWERS: &str = "\"a b c\"\nnull\n\n\"d e f\"\n\"g h i\"\n";

fn make(folder: &Folder, answers: &str, out: &str) -> (i32, String, String) {
    let from = folder.file("requests.jsonl", REQUESTS);
    let answers = folder.file("answers.jsonl", answers);
    let out = folder.0.join(out);
    let [from, answers, out] = [&from, &answers, &out].map(|path| path.to_str().expect("UTF-8"));
    guardbit(&[
        "golden",
        "make",
        "--cut",
        "--from",
        from,
        "--answers",
        answers,
        "--out",
        out,
    ])
}

#[test]
fn each_request_gets_its_answer_and_only_lines_of_the_set_are_counted() {
    let folder = Folder::new("answers");
    let (code, out, error) = make(&folder, ANSWERS, "made.jsonl");
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    let text = std::fs::read_to_string(folder.0.join("made.jsonl")).expect("written");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].contains("\"onea") && lines[2].contains("\"threeg"), "{text}");
    assert!(lines[1].contains("\"two\""), "{text}");
    assert!(out.contains("cut 2: ") && out.contains("; 1 have none"), "{out}");
    assert!(
        out.contains("no recorded answer to 1: ") && out.contains("answers.jsonl:2)"),
        "{out}"
    );
}

#[test]
fn answers_that_cannot_be_those_to_the_requests_are_refused() {
    let folder = Folder::new("others");
    for (answers, part) in [
        ("\"a b\"\n\"c d\"\n\"e f\"\n", "it has 3 answers to 4 requests"),
        (&*ANSWERS.repeat(2), "it has 8 answers to 4 requests"),
        (REQUESTS, "there is no answer in it"),
        ("", "it has 0 answers to 4 requests"),
    ] {
        let (code, out, error) = make(&folder, answers, "made.jsonl");
        assert_eq!((code, out.as_str()), (2, ""), "{answers}: {error}");
        assert!(error.contains(part), "{answers}: {error}");
        assert!(!folder.0.join("made.jsonl").exists());
    }
}

#[test]
fn recorded_answers_are_not_overwritten() {
    let folder = Folder::new("kept");
    let (code, _, error) = make(&folder, ANSWERS, "answers.jsonl");
    assert!(
        code == 2 && error.contains("--answers names: write to another file"),
        "{error}"
    );
    let kept = std::fs::read_to_string(folder.0.join("answers.jsonl")).expect("still there");
    assert_eq!(kept, ANSWERS);
}
