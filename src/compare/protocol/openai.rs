//! Completions and chat completions of OpenAI's API: the next token is compared.
//!
//! Whole answers cannot be compared: once two texts differ in one token, all that follows differs too, and two runs of
//! one server already part ways after some dozens of tokens. So one token is asked for, without sampling, with the
//! probabilities of the five likeliest. Two answers differ when their tokens do. The distance is |Δ ln p| of the
//! reference's token. Where a server gives no probabilities, the text of the token is compared, and no distance is known.

use serde_json::{Value, json};

use crate::compare::settings::Settings;

use super::answer::{Answer, Comparison, Token, Unreadable, parse};
use super::dialect::Dialect;
use super::request::{Body, Skip};

/// The dialect.
pub(super) struct OpenAi;

/// Least logarithm of a probability: what vLLM writes for a probability of 0. llama.cpp writes the least number of 32
/// bits.
const LEAST: f64 = -9999.0;

/// What of a request decides the next token, in both forms. This is a list of what is kept and not of what is dropped,
/// so that no field that names a user, a session or a cache gets through because it is new.
///
/// `logit_bias` and the penalties are kept, because users get tokens that were chosen with them; so is a list of choices.
/// `stop`, `best_of` and `echo` are dropped: with one token they can only hide it. Samplers such as `top_k` have no
/// effect at temperature 0.
const KEPT: [&str; 11] = [
    "model",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "bad_words",
    "allowed_token_ids",
    "truncate_prompt_tokens",
    "add_special_tokens",
    "structured_outputs",
    "guided_choice",
];

/// Fields with a schema or a grammar, in the words of vLLM, SGLang and llama.cpp.
const GRAMMARS: [&str; 10] = [
    "guided_json",
    "guided_regex",
    "guided_grammar",
    "json_schema",
    "grammar",
    "regex",
    "ebnf",
    "json",
    "json_object",
    "structural_tag",
];

/// By so much the bias of one token must exceed all others for no model to choose another: it then takes less than one
/// in 20,000 of what it would have got.
const BIASED: f64 = 10.0;

/// What else decides it in a chat. Tools are a part of the prompt; the server runs none of them. Messages are kept whole,
/// with the `name` of who speaks: templates write it into the prompt.
const KEPT_CHAT: &[&str] = &[
    "messages",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "documents",
    "chat_template",
    "chat_template_kwargs",
    "add_generation_prompt",
    "continue_final_message",
    "reasoning_effort",
    "verbosity",
];

/// What else decides it in a plain completion.
const KEPT_TEXT: &[&str] = &["prompt", "suffix"];

const MEDIA: Skip = Skip("it holds an image, audio, video or a file");
const FIXED: Skip =
    Skip("its first token is fixed by a schema, a grammar, a bias or a forced tool, so it shows no difference");
const UNCLEAR: Unreadable =
    Unreadable::Content("its token is a part of a character, and neither its bytes nor its id are told");

/// The two forms of a request.
#[derive(Clone, Copy)]
enum Form {
    Chat,
    Text,
}

impl Form {
    fn of(body: &Body) -> Result<Self, Skip> {
        if body.contains_key("messages") {
            Ok(Self::Chat)
        } else if body.contains_key("prompt") {
            Ok(Self::Text)
        } else {
            Err(Skip("it has neither messages nor a prompt"))
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Text => "/v1/completions",
        }
    }
}

impl Dialect for OpenAi {
    fn knows(&self) -> &'static [&'static str] {
        &[]
    }

    fn usual_path(&self, body: &Body) -> Option<&'static str> {
        Form::of(body).ok().map(Form::path)
    }

    fn fits(&self, path: &str, body: &Body) -> Result<(), Skip> {
        let chat = path.ends_with("/chat/completions");
        match Form::of(body)? {
            Form::Chat if chat => Ok(()),
            Form::Chat => Err(Skip(
                "it has messages, but its path is not that of a chat (/v1/chat/completions)",
            )),
            Form::Text if path.ends_with("/completions") && !chat => Ok(()),
            Form::Text => Err(Skip(
                "it has a prompt, but its path is not that of completions (/v1/completions)",
            )),
        }
    }

    fn normalize(&self, body: &Body) -> Result<Body, Skip> {
        let form = Form::of(body)?;
        if body.get("store") == Some(&Value::Bool(true)) {
            return Err(Skip("it asks the server to keep the answer (store: true)"));
        }
        if is_fixed(body) {
            return Err(FIXED);
        }
        let (own, probabilities) = match form {
            Form::Chat => {
                check_chat(body)?;
                (KEPT_CHAT, vec![("logprobs", json!(true)), ("top_logprobs", json!(5))])
            }
            Form::Text => {
                check_prompt(body)?;
                (KEPT_TEXT, vec![("logprobs", json!(5))])
            }
        };
        let kept = |key: &str| KEPT.contains(&key) || own.contains(&key);
        let kept = body.iter().filter(|(key, _)| kept(key));
        let mut kept: Body = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
        let fixed = [
            ("stream", json!(false)),
            ("n", json!(1)),
            ("temperature", json!(0)),
            ("top_p", json!(1)),
            ("seed", json!(0)),
            // In a chat as well: llama.cpp and older vLLM do not know max_completion_tokens.
            ("max_tokens", json!(1)),
        ];
        for (key, value) in fixed.into_iter().chain(probabilities) {
            kept.insert(key.to_owned(), value);
        }
        Ok(kept)
    }

    fn extras(&self) -> &'static [&'static str] {
        &["logprobs", "top_logprobs"]
    }

    fn read(&self, _: &Settings, body: &[u8]) -> Result<Answer, Unreadable> {
        let value = parse(body)?;
        let choice = value.pointer("/choices/0");
        let choice = choice.ok_or(Unreadable::Form("it has no choices[0]"))?;
        let text = text(choice).ok_or(Unreadable::Form("its choices[0] has neither a text nor a message"))?;
        let stopped = choice.get("finish_reason").and_then(Value::as_str) == Some("stop");
        let ends = stopped && text.is_empty();
        let token = match choice.get("logprobs") {
            Some(probabilities) => token(probabilities)?,
            None => None,
        };
        match token {
            Some(token) if is_unclear(&token.name) && !ends => Err(UNCLEAR),
            Some(token) => Ok(Answer::Token(Token { ends, ..token })),
            None if text.is_empty() && !ends => Err(Unreadable::Content("it has neither a text nor log probabilities")),
            None if is_unclear(text) && !ends => Err(UNCLEAR),
            None => Ok(Answer::Token(Token {
                name: text.to_owned(),
                ends,
                log_probability: None,
                alternatives: Vec::new(),
            })),
        }
    }

    fn compare(&self, _: &Settings, reference: &Answer, candidate: &Answer) -> Comparison {
        let (Answer::Token(reference), Answer::Token(candidate)) = (reference, candidate) else {
            return Comparison::DIFFERENT;
        };
        // Servers name the end of a text differently.
        let agrees = match (reference.ends, candidate.ends) {
            (true, true) => true,
            (false, false) => reference.name == candidate.name,
            _ => false,
        };
        let there = if agrees {
            candidate.log_probability
        } else {
            of_token(candidate, &reference.name)
        };
        let distance = reference
            .log_probability
            .zip(there)
            .map(|(here, there)| (here - there).abs());
        Comparison { agrees, distance }
    }
}

/// The logarithm of the probability of a token. One that is not among the likeliest is at most as likely as the last of
/// them.
fn of_token(answer: &Token, name: &str) -> Option<f64> {
    let own = answer.log_probability?;
    let all = std::iter::once((answer.name.as_str(), own));
    let all = all.chain(answer.alternatives.iter().map(|(name, ln)| (name.as_str(), *ln)));
    let named = all.clone().find(|(other, _)| *other == name);
    Some(named.map_or_else(|| all.map(|(_, ln)| ln).fold(own, f64::min), |(_, ln)| ln))
}

/// Whether the first token may be the same for every model: because of a schema or a grammar, which begins as it does,
/// choices that all begin alike, a bias that leaves one token, or the forced call of a tool.
fn is_fixed(body: &Body) -> bool {
    let format = body.get("response_format").and_then(|format| format.get("type"));
    let structured = body.get("structured_outputs").and_then(Value::as_object);
    let grammar = |fields: &Body| GRAMMARS.iter().any(|field| is_on(fields.get(*field)));
    let choices = [
        body.get("guided_choice"),
        structured.and_then(|outputs| outputs.get("choice")),
    ];
    let forced = [body.get("tool_choice"), body.get("function_call")];
    let is_forced = |choice: &Value| choice.is_object() || choice == "required";
    is_on(format) && format.is_some_and(|format| format != "text")
        || grammar(body)
        || structured.is_some_and(grammar)
        || choices
            .into_iter()
            .any(|choices| is_on(choices) && begin_alike(choices))
        || is_biased(body.get("logit_bias"))
        || is_on(body.get("allowed_token_ids")) && !has_several(body.get("allowed_token_ids"))
        || forced.into_iter().flatten().any(is_forced)
}

/// Whether choices do not begin with at least two different characters, so that a model may have nothing to choose.
fn begin_alike(choices: Option<&Value>) -> bool {
    let choices = choices.and_then(Value::as_array).into_iter().flatten();
    let mut firsts = choices.map(|choice| choice.as_str().and_then(|text| text.chars().next()));
    let first = firsts.next().flatten();
    first.is_none() || firsts.all(|other| other.is_none() || other == first)
}

fn has_several(list: Option<&Value>) -> bool {
    list.and_then(Value::as_array).is_some_and(|list| list.len() > 1)
}

/// Whether one token has so much more bias than all others that no model chooses another. OpenAI and vLLM write an
/// object, llama.cpp a list of pairs.
fn is_biased(bias: Option<&Value>) -> bool {
    let biases: Vec<f64> = match bias {
        Some(Value::Object(tokens)) => tokens.values().filter_map(Value::as_f64).collect(),
        Some(Value::Array(pairs)) => pairs.iter().filter_map(|pair| pair.get(1)?.as_f64()).collect(),
        _ => return false,
    };
    // Tokens without a bias have 0.
    let (mut first, mut second) = (0.0, 0.0);
    for bias in biases {
        if bias > first {
            (first, second) = (bias, first);
        } else if bias > second {
            second = bias;
        }
    }
    first - second >= BIASED
}

/// Whether a field is there and not switched off.
fn is_on(value: Option<&Value>) -> bool {
    value.is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false)) && value != "")
}

fn is_set(value: Option<&Value>) -> bool {
    value.is_some_and(|value| !value.is_null())
}

fn check_chat(body: &Body) -> Result<(), Skip> {
    let messages = body.get("messages").and_then(Value::as_array);
    let messages = messages.filter(|list| !list.is_empty());
    let messages = messages.ok_or(Skip("its messages are no list, or an empty one"))?;
    let modalities = body.get("modalities").and_then(Value::as_array);
    if is_set(body.get("audio")) || modalities.is_some_and(|all| all.iter().any(|one| one != "text")) {
        return Err(MEDIA);
    }
    for message in messages {
        if is_set(message.get("audio")) {
            return Err(MEDIA);
        }
        match message.get("content") {
            None if message.is_object() => {}
            Some(Value::Null | Value::String(_)) => {}
            Some(Value::Array(parts)) if parts.iter().all(is_text) => {}
            Some(Value::Array(_)) => return Err(MEDIA),
            _ => {
                return Err(Skip(
                    "one of its messages is none, or has neither a text nor a list as its content",
                ));
            }
        }
    }
    let mut tools = body.get("tools").and_then(Value::as_array).into_iter().flatten();
    // OpenAI's other kinds of tools are run by the server: they search the web, or call other servers.
    if tools.any(|tool| tool.get("type").is_some_and(|kind| kind != "function")) {
        return Err(Skip("it has a tool that the server runs"));
    }
    Ok(())
}

fn is_text(part: &Value) -> bool {
    match part.get("type") {
        Some(kind) => kind == "text" || kind == "refusal",
        None => part.is_string(),
    }
}

/// One prompt, as text or as tokens.
fn check_prompt(body: &Body) -> Result<(), Skip> {
    match body.get("prompt") {
        Some(Value::String(_)) => Ok(()),
        Some(Value::Array(list)) => match list.as_slice() {
            [Value::String(_)] => Ok(()),
            [Value::Array(tokens)] if !tokens.is_empty() && tokens.iter().all(Value::is_u64) => Ok(()),
            [_, ..] if list.iter().all(Value::is_u64) => Ok(()),
            _ => Err(Skip("it has none, or more than one prompt")),
        },
        _ => Err(Skip("its prompt is neither a text nor a list of tokens")),
    }
}

/// The text of an answer: that of a completion, that of a message, or what a model thinks before it speaks.
fn text(choice: &Value) -> Option<&str> {
    if let Some(text) = choice.get("text") {
        return text.as_str();
    }
    let message = choice.get("message").filter(|message| message.is_object())?;
    let texts = ["content", "reasoning_content", "reasoning"].map(|key| message.get(key).and_then(Value::as_str));
    Some(
        texts
            .into_iter()
            .flatten()
            .find(|text| !text.is_empty())
            .unwrap_or_default(),
    )
}

/// The first token, in the form of chats (which newer llama.cpp uses everywhere) or in that of completions; `None`
/// where there is none.
fn token(probabilities: &Value) -> Result<Option<Token>, Unreadable> {
    if let Some(Value::Array(content)) = probabilities.get("content") {
        let Some(first) = content.first() else {
            return Ok(None);
        };
        let (name, ln) = entry(first)?;
        let alternatives = first.get("top_logprobs").and_then(Value::as_array);
        let alternatives = alternatives
            .into_iter()
            .flatten()
            .map(entry)
            .collect::<Result<_, _>>()?;
        return Ok(Some(listed(name, ln, alternatives)));
    }
    let first = |key: &str| probabilities.get(key).and_then(|list| list.get(0));
    let Some(name) = first("tokens") else {
        return Ok(None);
    };
    let name = name.as_str().ok_or(Unreadable::Form("a token has no text"))?;
    let alternatives = first("top_logprobs").and_then(Value::as_object).into_iter().flatten();
    let alternatives = alternatives.map(|(name, ln)| logarithm(Some(ln)).map(|ln| (name.clone(), ln)));
    let alternatives = alternatives.collect::<Result<_, _>>()?;
    Ok(Some(listed(
        name.to_owned(),
        logarithm(first("token_logprobs"))?,
        alternatives,
    )))
}

fn listed(name: String, ln: f64, alternatives: Vec<(String, f64)>) -> Token {
    Token {
        name,
        ends: false,
        log_probability: Some(ln),
        alternatives,
    }
}

/// A token with its probability.
fn entry(entry: &Value) -> Result<(String, f64), Unreadable> {
    let text = entry
        .get("token")
        .and_then(Value::as_str)
        .ok_or(Unreadable::Form("a token has no text"))?;
    let has_bytes = |bytes: &&Value| bytes.as_array().is_some_and(|bytes| !bytes.is_empty());
    let (bytes, id) = (
        entry.get("bytes").filter(has_bytes),
        entry.get("id").filter(|id| id.is_number()),
    );
    let name = match (bytes, id) {
        (Some(bytes), _) if is_unclear(text) => format!("bytes {bytes}"),
        (None, Some(id)) if is_unclear(text) => format!("id {id}"),
        _ => text.to_owned(),
    };
    Ok((name, logarithm(entry.get("logprob"))?))
}

/// Whether a text does not tell a token from others: it is a part of a character, or has none.
fn is_unclear(text: &str) -> bool {
    text.is_empty() || text.contains('\u{fffd}')
}

fn logarithm(value: Option<&Value>) -> Result<f64, Unreadable> {
    let value = value.and_then(Value::as_f64).filter(|ln| ln.is_finite());
    // Rounding makes a probability a little larger than 1.
    let ln = value.map(|ln| ln.clamp(LEAST, 0.0));
    ln.ok_or(Unreadable::Content("a log probability is no finite number"))
}

#[cfg(test)]
mod tests;
