//! Questions that end amid an answer.
//!
//! Only the next token is compared, and the first of an answer is often the same whatever the model. A question that holds
//! the beginning of a recorded answer asks for a token in its midst. Where it is cut is drawn from a seed.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::compare::{Body, Request};
use crate::judge::text::number;

use super::super::streams::bounded;
use super::lines::Lines;
use super::places::Places;

/// Longest answer, in bytes: 1 MiB.
const LONGEST: usize = 1024 * 1024;

/// Flags of answers that are cut.
#[derive(Debug, Args)]
pub(super) struct CutArgs {
    /// Let questions end amid an answer, after a word that is drawn: that of --answers, or an assistant's message of the
    /// recorded chat.
    #[arg(long)]
    cut: bool,
    /// Answers to the recorded requests, in JSON as the server gave them: a file with one a line, in the order of the
    /// requests and as many (null where there is none), or a directory with a file of the same name for each.
    #[arg(long, value_name = "PATH", requires = "cut")]
    answers: Option<PathBuf>,
    /// Seed of the draws: the same seed cuts the same answers at the same words.
    #[arg(long, default_value_t = 1, requires = "cut")]
    seed: u64,
}

impl CutArgs {
    /// Whether answers are to be cut.
    pub(super) fn cuts(&self) -> bool {
        self.cut
    }

    /// Where the answers are, if they are beside the requests.
    pub(super) fn answers(&self) -> Option<&Path> {
        self.answers.as_deref()
    }

    /// What cuts the answers; `None` where none are to be cut. Fails where the answers cannot be read.
    pub(super) fn open(&self) -> Result<Option<Cutter>, String> {
        if !self.cut {
            return Ok(None);
        }
        let answers = match &self.answers {
            None => Answers::None,
            Some(path) if path.is_dir() => Answers::Directory(path.clone()),
            Some(path) => Answers::Lines {
                lines: Lines::open(path, LONGEST)?,
                read: 0,
            },
        };
        Ok(Some(Cutter::new(self.seed, answers)))
    }
}

/// Where answers come from beside the requests.
#[derive(Debug)]
enum Answers {
    None,
    Directory(PathBuf),
    Lines {
        lines: Lines,
        /// Lines that were read, without those that are empty.
        read: u64,
    },
}

/// Cuts answers.
#[derive(Debug)]
pub(super) struct Cutter {
    random: fastrand::Rng,
    answers: Answers,
    /// The answer to the next request.
    answer: Option<String>,
    /// Requests that were read.
    requests: u64,
    /// Where there should be an answer, and is none.
    unanswered: Places,
    /// Lines of the set that end amid an answer.
    cut: u64,
    /// Lines of the set that do not.
    whole: u64,
}

impl Cutter {
    fn new(seed: u64, answers: Answers) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            answers,
            answer: None,
            requests: 0,
            unanswered: Places::default(),
            cut: 0,
            whole: 0,
        }
    }

    /// Whether each line of requests has a line with its answer.
    pub(super) fn pairs_lines(&self) -> bool {
        matches!(self.answers, Answers::Lines { .. })
    }

    /// The next request is that of the next line that is not empty.
    pub(super) fn at_line(&mut self) -> Result<(), String> {
        let Answers::Lines { lines, read } = &mut self.answers else {
            return Ok(());
        };
        self.requests += 1;
        self.answer = None;
        if let Some((place, line)) = lines.next_line()? {
            *read += 1;
            self.found(&place, answer(&line));
        }
        Ok(())
    }

    /// The next request is that of a file.
    pub(super) fn at_file(&mut self, request: &Path) -> Result<(), String> {
        let (Answers::Directory(directory), Some(name)) = (&self.answers, request.file_name()) else {
            return Ok(());
        };
        self.requests += 1;
        let path = directory.join(name);
        let found = if path.exists() {
            answer(&bounded(&path, LONGEST)?)
        } else {
            None
        };
        self.found(&path.display().to_string(), found);
        Ok(())
    }

    fn found(&mut self, place: &str, answer: Option<String>) {
        if answer.is_none() {
            self.unanswered.add(place);
        }
        self.answer = answer;
    }

    /// Fails where the answers cannot be those to the requests, once all requests were read.
    pub(super) fn check(&mut self) -> Result<(), String> {
        let path = match &mut self.answers {
            Answers::None => return Ok(()),
            Answers::Directory(path) => path.as_path(),
            Answers::Lines { lines, read } => {
                while lines.next_line()?.is_some() {
                    *read += 1;
                }
                if *read != self.requests {
                    return Err(format!(
                        "{}: it has {} answers to {} requests: write one line for each request, in the same order, and null where there is no answer",
                        lines.path().display(),
                        number(*read),
                        number(self.requests)
                    ));
                }
                lines.path()
            }
        };
        if self.requests > 0 && self.unanswered.times() == self.requests {
            return Err(format!(
                "{}: there is no answer in it: an answer is a completion, a chat completion, a message or a text, in JSON",
                path.display()
            ));
        }
        Ok(())
    }

    /// The request with the beginning of an answer, and whether it has one; as it is where it has none.
    pub(super) fn apply(&mut self, mut request: Request) -> (Request, bool) {
        let answer = self.answer.take();
        let cut = if request.body.contains_key("messages") {
            cut_chat(&mut request.body, answer, &mut self.random)
        } else {
            answer.and_then(|answer| cut_text(&mut request.body, &answer, &mut self.random))
        };
        (request, cut.is_some())
    }

    /// Counts a request that has become a line of the set.
    pub(super) fn count(&mut self, is_cut: bool) {
        if is_cut {
            self.cut += 1;
        } else {
            self.whole += 1;
        }
    }

    /// What was cut, and which answers are missing.
    pub(super) fn told(&self) -> String {
        let mut told = format!(
            "cut {}: they end amid an answer; {} have none, and are as they were recorded\n",
            number(self.cut),
            number(self.whole)
        );
        if self.unanswered.times() > 0 {
            let (times, places) = (number(self.unanswered.times()), &self.unanswered);
            told.push_str(&format!(
                "no recorded answer to {times}: only a message in them can be cut ({places})\n"
            ));
        }
        told
    }
}

/// The text of an answer: that of a completion, that of a message, or the text itself.
fn answer(bytes: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let places = ["", "/choices/0/message/content", "/choices/0/text", "/content"];
    places
        .into_iter()
        .find_map(|place| value.pointer(place)?.as_str().map(str::to_owned))
}

/// Ends a chat amid the answer, or amid one of the assistant's own messages.
fn cut_chat(body: &mut Body, answer: Option<String>, random: &mut fastrand::Rng) -> Option<()> {
    let messages = body.get_mut("messages")?.as_array_mut()?;
    if let Some(answer) = answer {
        let beginning = beginning(&answer, random)?;
        messages.push(json!({"role": "assistant", "content": beginning}));
    } else {
        let all: Vec<usize> = (0..messages.len()).filter(|at| is_answer(messages, *at)).collect();
        cut_message(messages, &all, random)?;
    }
    // vLLM and SGLang continue the last message with these; llama.cpp does so by itself.
    body.insert("continue_final_message".to_owned(), json!(true));
    body.insert("add_generation_prompt".to_owned(), json!(false));
    Some(())
}

/// Cuts one of the messages that are listed, and drops what comes after it. `None` where that cannot be done.
fn cut_message(messages: &mut Vec<Value>, listed: &[usize], random: &mut fastrand::Rng) -> Option<()> {
    let at = *listed.get(random.usize(..listed.len().max(1)))?;
    let content = messages.get_mut(at)?.get_mut("content")?;
    let beginning = beginning(content.as_str()?, random)?.to_owned();
    *content = Value::String(beginning);
    messages.truncate(at + 1);
    Some(())
}

/// Whether a message is an answer in words to somebody else.
fn is_answer(messages: &[Value], at: usize) -> bool {
    let by_assistant = |message: &Value| message.get("role").is_some_and(|role| role == "assistant");
    let calls = messages[at].get("tool_calls").is_some_and(|calls| !calls.is_null());
    let words = messages[at].get("content").is_some_and(Value::is_string);
    let to_another = at.checked_sub(1).is_some_and(|before| !by_assistant(&messages[before]));
    by_assistant(&messages[at]) && words && !calls && to_another
}

/// Appends the beginning of the answer to a prompt that is a text.
fn cut_text(body: &mut Body, answer: &str, random: &mut fastrand::Rng) -> Option<()> {
    let Some(Value::String(prompt)) = body.get_mut("prompt") else {
        return None;
    };
    prompt.push_str(beginning(answer, random)?);
    Some(())
}

/// The beginning of a text, up to the end of a word; up to a character where it is one word. `None` where it is too short.
fn beginning<'a>(text: &'a str, random: &mut fastrand::Rng) -> Option<&'a str> {
    let ended = text.trim_end();
    let mut before = ' ';
    let mut words = Vec::new();
    for (at, c) in ended.char_indices() {
        if c.is_whitespace() && !before.is_whitespace() {
            words.push(at);
        }
        before = c;
    }
    if words.is_empty() {
        words = ended.char_indices().map(|(at, _)| at).skip(1).collect();
    }
    let at = *words.get(random.usize(..words.len().max(1)))?;
    Some(&ended[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cutter(seed: u64, answer: Option<&str>) -> Cutter {
        Cutter {
            answer: answer.map(str::to_owned),
            ..Cutter::new(seed, Answers::None)
        }
    }

    fn cut(seed: u64, answer: Option<&str>, body: &Value) -> Value {
        let request = Request::read(body.clone()).unwrap();
        Value::Object(cutter(seed, answer).apply(request).0.body)
    }

    #[test]
    fn a_chat_ends_amid_a_message_of_the_assistant_and_the_server_is_told_to_go_on() {
        let chat = json!({"messages": [
            {"role": "user", "content": "Which river?"},
            {"role": "assistant", "content": "It is the Rhine, of course."},
            {"role": "user", "content": "Thanks"},
        ]});
        let found = cut(7, None, &chat);
        let messages = found["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 2, "what came after is left out: {found}");
        let kept = messages[1]["content"].as_str().unwrap();
        let ends = ["It", "It is", "It is the", "It is the Rhine,", "It is the Rhine, of"];
        assert!(ends.contains(&kept), "{kept}");
        let told = (&found["continue_final_message"], &found["add_generation_prompt"]);
        assert_eq!(told, (&json!(true), &json!(false)));
        assert_eq!(cut(7, None, &chat), found, "the same seed cuts the same");
        let others: Vec<_> = (0..20).map(|seed| cut(seed, None, &chat)).collect();
        assert!(others.iter().any(|other| *other != found));
    }

    #[test]
    fn an_answer_that_was_recorded_apart_is_cut_and_put_behind_the_question() {
        let chat = json!({"messages": [{"role": "user", "content": "Say it"}]});
        let found = cut(3, Some("one two three"), &chat);
        let kept = found["messages"][1]["content"].as_str().unwrap();
        assert!(["one", "one two"].contains(&kept), "{kept}");
        let found = cut(3, Some(" one two three"), &json!({"prompt": "Count:"}));
        let prompt = found["prompt"].as_str().unwrap();
        assert!(["Count: one", "Count: one two"].contains(&prompt), "{prompt}");
        for (bytes, text) in [
            (r#"{"choices":[{"message":{"content":"a b"}}]}"#, Some("a b")),
            (r#"{"choices":[{"text":" a b"}]}"#, Some(" a b")),
            (r#"{"role":"assistant","content":"a b"}"#, Some("a b")),
            (r#""a b""#, Some("a b")),
            (r#"{"choices":[{"message":{"content":null}}]}"#, None),
            ("", None),
        ] {
            assert_eq!(answer(bytes.as_bytes()).as_deref(), text, "{bytes}");
        }
    }

    #[test]
    fn what_has_no_answer_stays_as_it_was_recorded() {
        for body in [
            json!({"prompt": "a b c"}),
            json!({"messages": [{"role": "user", "content": "a b c"}]}),
            // A call of a tool, and a greeting that answers nobody.
            json!({"messages": [
                {"role": "assistant", "content": "Hello, what is it?"},
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "calling a tool", "tool_calls": [{}]},
            ]}),
            json!({"messages": "none"}),
        ] {
            let mut cutter = cutter(1, None);
            let request = Request::read(body.clone()).unwrap();
            let (request, is_cut) = cutter.apply(request);
            assert_eq!((Value::Object(request.body), is_cut), (body, false));
        }
    }

    #[test]
    fn a_text_is_cut_at_the_end_of_a_word_or_between_characters() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..50 {
            let found = beginning("ja  nein\nund so \n", &mut random).unwrap();
            assert!(["ja", "ja  nein", "ja  nein\nund"].contains(&found), "{found:?}");
            let found = beginning("日本語", &mut random).unwrap();
            assert!(["日", "日本"].contains(&found), "{found}");
        }
        for short in ["", " ", "a", "a "] {
            assert_eq!(beginning(short, &mut random), None, "{short:?}");
        }
    }
}
