use super::*;
use crate::compare::protocol::{Prepared, Request};
use crate::compare::settings::Protocol;

/// Completions of vLLM and llama-cpp-python: lists side by side.
const VLLM_TEXT: &str = r#"{"id":"cmpl-6f","object":"text_completion","created":1780000000,"model":"m","choices":[{"index":0,"text":" Paris","logprobs":{"text_offset":[0],"token_logprobs":[-0.25],"tokens":[" Paris"],"top_logprobs":[{" Paris":-0.25," the":-2.5," a":-3.5," located":-4.0," in":-4.5}]},"finish_reason":"length","stop_reason":null,"prompt_logprobs":null}],"usage":{"prompt_tokens":6,"total_tokens":7,"completion_tokens":1}}"#;

/// Chat completions of vLLM: a list of entries.
const VLLM_CHAT: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Yes","reasoning_content":null,"tool_calls":[]},"logprobs":{"content":[{"token":"Yes","logprob":-0.5,"bytes":[89,101,115],"top_logprobs":[{"token":"Yes","logprob":-0.5,"bytes":[89,101,115]},{"token":"No","logprob":-1.5,"bytes":[78,111]},{"token":"Maybe","logprob":-9999.0,"bytes":null}]}]},"finish_reason":"length","stop_reason":null}]}"#;

/// Completions of newer llama.cpp: the entries of chats.
const LLAMA_TEXT: &str = r#"{"choices":[{"text":" the","index":0,"logprobs":{"content":[{"id":279,"token":" the","bytes":[32,116,104,101],"logprob":-1.25,"top_logprobs":[{"id":279,"token":" the","bytes":[32,116,104,101],"logprob":-1.25},{"id":264,"token":" a","bytes":[32,97],"logprob":-3.4028234663852886e38}]}]},"finish_reason":"length"}],"created":1780000000,"model":"m","object":"text_completion","usage":{"completion_tokens":1,"prompt_tokens":5,"total_tokens":6}}"#;

/// A server without probabilities.
const PLAIN: &str =
    r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Yes"},"finish_reason":"length"}]}"#;

/// A model that ends at once.
const END: &str = r#"{"choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}]}"#;

fn settings() -> Settings {
    Settings::new(Protocol::OpenAI)
}

fn read(body: &str) -> Result<Answer, Unreadable> {
    settings().read(body.as_bytes())
}

fn compared(reference: &str, candidate: &str) -> (bool, Option<f64>) {
    let comparison = settings().compare(&read(reference).unwrap(), &read(candidate).unwrap());
    (comparison.agrees, comparison.distance)
}

/// The answer of a chat server whose tokens have these probabilities; the first is the answer.
fn chat(tokens: &[(&str, f64)]) -> String {
    let entries: Vec<_> = tokens
        .iter()
        .map(|(token, ln)| json!({"token": token, "logprob": ln, "bytes": null}))
        .collect();
    let (token, ln) = tokens[0];
    let first = json!({"token": token, "logprob": ln, "bytes": null, "top_logprobs": entries});
    let choice = json!({"message": {"content": token}, "logprobs": {"content": [first]}, "finish_reason": "length"});
    json!({"choices": [choice]}).to_string()
}

fn token(name: &str, ln: Option<f64>, alternatives: &[(&str, f64)]) -> Answer {
    Answer::Token(Token {
        name: name.to_owned(),
        ends: false,
        log_probability: ln,
        alternatives: alternatives
            .iter()
            .map(|(name, ln)| ((*name).to_owned(), *ln))
            .collect(),
    })
}

#[test]
fn answers_of_real_servers_are_read() {
    let likeliest = [
        (" Paris", -0.25),
        (" a", -3.5),
        (" in", -4.5),
        (" located", -4.0),
        (" the", -2.5),
    ];
    let Ok(Answer::Token(mut paris)) = read(VLLM_TEXT) else {
        panic!("{:?}", read(VLLM_TEXT));
    };
    paris.alternatives.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(Answer::Token(paris), token(" Paris", Some(-0.25), &likeliest));
    let chat = [("Yes", -0.5), ("No", -1.5), ("Maybe", -9999.0)];
    assert_eq!(read(VLLM_CHAT), Ok(token("Yes", Some(-0.5), &chat)));
    let llama = [(" the", -1.25), (" a", -9999.0)];
    assert_eq!(read(LLAMA_TEXT), Ok(token(" the", Some(-1.25), &llama)));
    assert_eq!(read(PLAIN), Ok(token("Yes", None, &[])));
    let end = Token {
        name: String::new(),
        ends: true,
        log_probability: None,
        alternatives: Vec::new(),
    };
    assert_eq!(read(END), Ok(Answer::Token(end)));
}

#[test]
fn answers_differ_when_the_token_does_and_lie_apart_by_its_probability() {
    let same = chat(&[("Yes", -0.75), ("No", -1.0)]);
    let other = chat(&[("No", -0.5), ("Yes", -1.5), ("Maybe", -4.0)]);
    let without = chat(&[("Perhaps", -0.25), ("No", -2.5)]);
    let alone = chat(&[("Perhaps", -0.25)]);
    for (name, reference, candidate, agrees, distance) in [
        ("the same", VLLM_CHAT, VLLM_CHAT, true, Some(0.0)),
        ("less sure", VLLM_CHAT, &same, true, Some(0.25)),
        ("another", VLLM_CHAT, &other, false, Some(1.0)),
        ("absent from the likeliest", VLLM_CHAT, &without, false, Some(2.0)),
        (
            "absent, and nothing else is known",
            VLLM_CHAT,
            &alone,
            false,
            Some(0.25),
        ),
        ("no probabilities", PLAIN, PLAIN, true, None),
        ("probabilities of one only", VLLM_CHAT, PLAIN, true, None),
        ("another without probabilities", &other, PLAIN, false, None),
        ("both end", END, END, true, None),
        ("one ends", VLLM_CHAT, END, false, None),
        ("the other ends", END, VLLM_CHAT, false, None),
    ] {
        assert_eq!(compared(reference, candidate), (agrees, distance), "{name}");
    }
}

#[test]
fn the_end_of_a_text_is_one_answer_by_whatever_name() {
    let named = r#"{"choices":[{"message":{"content":""},"finish_reason":"stop","logprobs":{"content":[{"token":"<|im_end|>","logprob":-0.5,"top_logprobs":[]}]}}]}"#;
    let nameless = r#"{"choices":[{"text":"","finish_reason":"stop","logprobs":{"tokens":[""],"token_logprobs":[-1.5],"top_logprobs":[null]}}]}"#;
    let empty = r#"{"choices":[{"text":"","finish_reason":"stop","logprobs":{"tokens":[],"token_logprobs":[],"top_logprobs":[]}}]}"#;
    assert_eq!(compared(named, nameless), (true, Some(1.0)));
    assert_eq!(compared(named, empty), (true, None));
    assert_eq!(compared(named, VLLM_CHAT), (false, Some(9998.5)));
}

#[test]
fn parts_of_characters_are_told_apart_by_their_bytes_or_ids() {
    let part = |told: Value| {
        let mut first = json!({"token": "\u{fffd}", "logprob": -0.5, "top_logprobs": []});
        for (key, value) in told.as_object().expect("an object") {
            first[key.as_str()] = value.clone();
        }
        let choice = json!({"message": {"content": ""}, "finish_reason": "length", "logprobs": {"content": [first]}});
        json!({"choices": [choice]}).to_string()
    };
    for (reference, candidate, agrees) in [
        (json!({"bytes": [240]}), json!({"bytes": [240]}), true),
        (json!({"bytes": [240]}), json!({"bytes": [226]}), false),
        (json!({"bytes": [240], "id": 7}), json!({"bytes": [240], "id": 8}), true),
        (json!({"bytes": null, "id": 7}), json!({"bytes": null, "id": 7}), true),
        (json!({"bytes": [], "id": 7}), json!({"bytes": [], "id": 8}), false),
    ] {
        let told = format!("{reference} {candidate}");
        assert_eq!(compared(&part(reference), &part(candidate)).0, agrees, "{told}");
    }
    let listed = r#"{"choices":[{"text":"\ufffd","finish_reason":"length","logprobs":{"tokens":["\ufffd"],"token_logprobs":[-0.5],"top_logprobs":[null]}}]}"#;
    let plain = r#"{"choices":[{"text":"\ufffd","finish_reason":"length"}]}"#;
    for body in [part(json!({})).as_str(), listed, plain] {
        let problem = read(body).unwrap_err().to_string();
        assert!(problem.contains("neither its bytes nor its id"), "{body}: {problem}");
    }
}

#[test]
fn a_text_that_is_thought_counts_where_nothing_is_said_yet() {
    let thinks = |text: &str| {
        json!({"choices": [{"message": {"content": null, "reasoning_content": text}, "finish_reason": "length"}]})
            .to_string()
    };
    assert_eq!(compared(&thinks("Okay"), &thinks("Okay")), (true, None));
    assert_eq!(compared(&thinks("Okay"), &thinks("Hmm")), (false, None));
    assert!(read(&thinks("")).is_err(), "nothing is told from nothing");
}

#[test]
fn what_is_no_answer_is_told_from_one() {
    let first = |entry: &str| format!(r#"{{"choices":[{{"text":"a","logprobs":{{"content":[{entry}]}}}}]}}"#);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in [
        "",
        "\u{0}",
        "null",
        "[]",
        &deep,
        r#"{"error":{"message":"overloaded"}}"#,
        r#"{"choices":[]}"#,
        r#"{"choices":["a"]}"#,
        r#"{"choices":[{"text":7}]}"#,
        r#"{"choices":[{"message":"hello"}]}"#,
        r#"{"choices":[{"text":"","finish_reason":"length"}]}"#,
        r#"{"choices":[{"text":"a","logprobs":{"tokens":["a"],"token_logprobs":[null],"top_logprobs":[{}]}}]}"#,
        r#"{"choices":[{"text":"a","logprobs":{"tokens":["a"]}}]}"#,
        r#"{"choices":[{"text":"a","logprobs":{"tokens":[["a"]],"token_logprobs":[-1]}}]}"#,
        r#"{"choices":[{"text":"a","logprobs":{"tokens":["a"],"token_logprobs":[-1],"top_logprobs":[{"b":"NaN"}]}}]}"#,
        &first(r#"{"token":"a"}"#),
        &first(r#"{"token":"a","logprob":null}"#),
        &first(r#"{"token":"a","logprob":"-0.5"}"#),
        &first(r#"{"token":"a","logprob":NaN}"#),
        &first(r#"{"token":"a","logprob":-1e999}"#),
        &first(r#"{"token":["a"],"logprob":-1}"#),
        &first("7"),
    ] {
        let shown: String = body.chars().take(100).collect();
        assert!(read(body).is_err(), "{shown}");
    }
}

#[test]
fn huge_probabilities_stay_within_their_range() {
    for (written, read_as) in [("1e300", 0.0), ("-1e300", LEAST), ("1", 0.0), ("-0.5", -0.5)] {
        let body =
            format!(r#"{{"choices":[{{"text":"a","logprobs":{{"tokens":["a"],"token_logprobs":[{written}]}}}}]}}"#);
        assert_eq!(read(&body), Ok(token("a", Some(read_as), &[])), "{written}");
    }
}

fn normalized(body: Value) -> Result<Request, Skip> {
    settings().normalize(&Request::read(body).unwrap())
}

#[test]
fn chats_ask_for_one_token_and_name_nobody() {
    let kept = normalized(json!({
        "model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.7, "top_p": 0.9, "n": 3, "seed": 4,
        "max_tokens": 500, "max_completion_tokens": 500, "stream": true, "stream_options": {"include_usage": true},
        "user": "u-7", "metadata": {"team": "x"}, "store": false, "safety_identifier": "u-7", "prompt_cache_key": "k",
        "stop": ["\n"], "logit_bias": {"50": -100}, "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "auto", "top_k": 4, "some_new_field": "u-7", "response_format": {"type": "text"},
    }));
    let kept = kept.unwrap();
    let expected = json!({
        "model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0, "top_p": 1, "n": 1, "seed": 0,
        "max_tokens": 1, "stream": false, "logprobs": true, "top_logprobs": 5, "logit_bias": {"50": -100},
        "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "auto",
    });
    assert_eq!(Value::Object(kept.body.clone()), expected);
    assert_eq!(
        settings().normalize(&kept),
        Ok(kept.clone()),
        "what is normalized stays as it is"
    );
    assert_eq!(settings().prepare(&kept).unwrap().path, "/v1/chat/completions");
}

#[test]
fn completions_ask_in_their_own_form() {
    let kept = normalized(json!({"prompt": "The capital is", "best_of": 4, "echo": true, "logprobs": 1})).unwrap();
    let expected = json!({
        "prompt": "The capital is", "temperature": 0, "top_p": 1, "n": 1, "seed": 0, "max_tokens": 1, "stream": false,
        "logprobs": 5,
    });
    assert_eq!(Value::Object(kept.body.clone()), expected);
    assert_eq!(settings().prepare(&kept).unwrap().path, "/v1/completions");
    for prompt in [json!([1, 2, 3]), json!([[1, 2, 3]]), json!(["one"])] {
        assert!(normalized(json!({"prompt": prompt})).is_ok(), "{prompt}");
    }
}

#[test]
fn a_question_can_be_asked_without_probabilities() {
    for question in [
        json!({"messages": [{"role": "user", "content": "hi"}]}),
        json!({"prompt": "The capital is"}),
    ] {
        let prepared = settings().prepare(&Request::read(question).unwrap()).unwrap();
        let bare = settings().without_extras(&prepared).expect("it asks for probabilities");
        let body = |of: &Prepared| serde_json::from_str::<Body>(&of.body).unwrap();
        let mut left = body(&prepared);
        left.retain(|field, _| !field.contains("logprobs"));
        assert_eq!((&bare.path, body(&bare)), (&prepared.path, left));
        assert_eq!(settings().without_extras(&bare), None, "nothing is left to leave out");
    }
}

#[test]
fn what_cannot_be_compared_is_skipped_with_the_reason() {
    let messages = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let with = |key: &str, value: Value| {
        let mut body = messages(json!("hi"));
        body[key] = value;
        body
    };
    let image = json!([{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": "data:"}}]);
    for (body, why) in [
        (json!({"input": "a"}), "neither messages nor a prompt"),
        (json!({"messages": []}), "no list"),
        (json!({"messages": ["hi"]}), "none"),
        (messages(json!(7)), "neither a text nor a list"),
        (messages(image), "image"),
        (messages(json!([{"type": "input_audio", "input_audio": {}}])), "audio"),
        (with("modalities", json!(["text", "audio"])), "audio"),
        (with("store", json!(true)), "store"),
        (
            with("tools", json!([{"type": "mcp", "server_url": "https://x.example"}])),
            "tool",
        ),
        (with("tool_choice", json!("required")), "fixed"),
        (with("response_format", json!({"type": "json_object"})), "fixed"),
        (with("function_call", json!({"name": "f"})), "fixed"),
        (with("response_format", json!({"type": "structural_tag"})), "fixed"),
        (with("structured_outputs", json!({"json": {"type": "object"}})), "fixed"),
        (with("structured_outputs", json!({"regex": "[0-9]+"})), "fixed"),
        (
            with("structured_outputs", json!({"grammar": "root ::= \"a\""})),
            "fixed",
        ),
        (
            with("structured_outputs", json!({"choice": ["yes", "yesterday"]})),
            "fixed",
        ),
        (with("guided_choice", json!(["yes"])), "fixed"),
        (with("guided_choice", json!([])), "fixed"),
        (with("guided_json", json!({})), "fixed"),
        (with("guided_regex", json!("a+")), "fixed"),
        (with("guided_grammar", json!("root ::= \"a\"")), "fixed"),
        (with("grammar", json!("root ::= \"a\"")), "fixed"),
        (with("ebnf", json!("root ::= \"a\"")), "fixed"),
        (with("logit_bias", json!({"50": 100})), "fixed"),
        (with("logit_bias", json!({"50": 100, "51": 20})), "fixed"),
        (with("logit_bias", json!([[50, 100.0], [51, false]])), "fixed"),
        (with("allowed_token_ids", json!([7])), "fixed"),
        (json!({"prompt": ["one", "two"]}), "more than one prompt"),
        (json!({"prompt": [[1], [2]]}), "more than one prompt"),
        (json!({"prompt": []}), "none"),
        (json!({"prompt": null}), "neither a text"),
        (
            json!({"path": "/v1/completions", "body": {"messages": [{"content": "hi"}]}}),
            "path",
        ),
        (
            json!({"path": "/v1/chat/completions", "body": {"prompt": "hi"}}),
            "path",
        ),
        (json!({"path": "/v1/embeddings", "body": {"prompt": "hi"}}), "path"),
    ] {
        let skip = normalized(body.clone()).unwrap_err().to_string();
        assert!(skip.contains(why), "{body}: {skip}");
    }
    for (key, value) in [
        ("response_format", json!(null)),
        ("response_format", json!({"type": "text"})),
        ("structured_outputs", json!({"choice": ["yes", "no"], "regex": null})),
        ("guided_choice", json!(["yes", "no"])),
        ("guided_json", json!(null)),
        ("grammar", json!("")),
        ("logit_bias", json!({"50": -100, "51": 1})),
        ("logit_bias", json!({"50": 100, "51": 100})),
        ("allowed_token_ids", json!([7, 8])),
        ("tool_choice", json!("none")),
        ("function_call", json!("auto")),
    ] {
        assert!(normalized(with(key, value.clone())).is_ok(), "{key}: {value}");
    }
    assert!(normalized(messages(json!([{"type": "text", "text": "hi"}]))).is_ok());
}
