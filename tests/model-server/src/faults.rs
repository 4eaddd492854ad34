//! Faults that tests switch on: by flags from the start, and by `POST /faults` later, each time all of them at once.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body, Bytes, Frame};
use serde::{Deserialize, Serialize};
use tokio::time::Interval;

use crate::numerics::Random;

/// Faults that are switched on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Faults {
    /// Share of requests that fail.
    pub error_rate: f64,
    /// Factor on the service time.
    pub latency_factor: f64,
    /// Share of the inputs that are answered otherwise: always the same ones, and those of a smaller share among them.
    pub otherwise: f64,
    /// What questions over the Open Inference Protocol get in the place of an answer. Users do not ask over it.
    pub infer: Option<Broken>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            error_rate: 0.0,
            latency_factor: 1.0,
            otherwise: 0.0,
            infer: None,
        }
    }
}

impl Faults {
    /// What is answered for these features, which the model gives this score: the score, or the opposite one.
    pub fn answered(&self, features: &[f32], score: f64) -> f64 {
        // FNV-1a, by words.
        let word = |hash: u64, feature: &f32| (hash ^ u64::from(feature.to_bits())).wrapping_mul(0x0000_0100_0000_01b3);
        let input = features.iter().fold(0xcbf2_9ce4_8422_2325, word);
        if Random::for_item(0x6f74_6865, input).uniform() < self.otherwise {
            1.0 - score
        } else {
            score
        }
    }
}

/// What a server answers in the place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Broken {
    /// Another status.
    Status(u16),
    /// Bytes that are no text.
    Garbage,
    /// A gibibyte.
    Huge,
    /// A body that goes on for ever, a byte at a time.
    Endless,
    /// The advice to ask users' scores.
    Redirect,
}

/// Length of a piece of a huge body, and how many there are.
const PIECE: usize = 64 * 1024;
const PIECES: u64 = 1024 * 1024 * 1024 / PIECE as u64;

impl Broken {
    /// The response.
    pub fn response(self) -> Response {
        let body = |filler: Filler| axum::body::Body::new(filler).into_response();
        match self {
            Self::Status(code) => {
                let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (code, "injected fault\n").into_response()
            }
            Self::Garbage => b"\xff\x00{\x1b[31m".as_slice().into_response(),
            Self::Huge => body(Filler {
                left: PIECES,
                piece: Bytes::from_static(&[b' '; PIECE]),
                pause: None,
            }),
            Self::Endless => body(Filler {
                left: u64::MAX,
                piece: Bytes::from_static(b" "),
                pause: Some(tokio::time::interval(Duration::from_millis(100))),
            }),
            Self::Redirect => {
                let to = HeaderValue::from_static("/v1/score?id=1");
                (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
            }
        }
    }
}

/// A body that is made while it is sent.
struct Filler {
    /// Pieces that are yet to be sent.
    left: u64,
    piece: Bytes,
    /// What is waited before each piece.
    pause: Option<Interval>,
}

impl Body for Filler {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.poll_tick(context));
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::dataset::HELD_OUT;

    /// The numbers among the first thousands that are answered otherwise.
    fn otherwise(share: f64) -> Vec<u64> {
        let faults = Faults {
            otherwise: share,
            ..Faults::default()
        };
        let is = |number: &u64| faults.answered(&HELD_OUT.transaction(*number).features, 0.75) == 0.25;
        (0..4_000).filter(is).collect()
    }

    #[test]
    fn the_same_share_of_the_inputs_is_always_answered_otherwise() {
        let (few, many) = (otherwise(0.1), otherwise(0.3));
        let share = |numbers: &[u64]| numbers.len() as f64 / 4_000.0;
        assert!((share(&few) - 0.1).abs() < 0.02, "{}", share(&few));
        assert!((share(&many) - 0.3).abs() < 0.03, "{}", share(&many));
        assert!(few.iter().all(|number| many.contains(number)));
        assert_eq!(many, otherwise(0.3));
        assert_eq!((otherwise(0.0).len(), otherwise(1.0).len()), (0, 4_000));
    }

    #[test]
    fn what_is_switched_on_replaces_everything_before_it() {
        for (text, faults) in [
            ("{}", Faults::default()),
            (
                r#"{"errorRate": 0.5, "infer": {"status": 429}}"#,
                Faults {
                    error_rate: 0.5,
                    infer: Some(Broken::Status(429)),
                    ..Faults::default()
                },
            ),
            (
                r#"{"otherwise": 0.25, "infer": "garbage"}"#,
                Faults {
                    otherwise: 0.25,
                    infer: Some(Broken::Garbage),
                    ..Faults::default()
                },
            ),
        ] {
            assert_eq!(serde_json::from_str::<Faults>(text).unwrap(), faults, "{text}");
        }
        assert!(serde_json::from_str::<Faults>(r#"{"othrwise": 0.25}"#).is_err());
    }

    #[tokio::test]
    async fn a_huge_body_is_a_gibibyte_and_an_endless_one_comes_byte_by_byte() {
        let mut huge = Broken::Huge.response().into_body();
        let mut length = 0;
        while let Some(frame) = huge.frame().await {
            length += frame.unwrap().into_data().unwrap().len();
        }
        assert_eq!(length, 1 << 30);
        let mut endless = Broken::Endless.response().into_body();
        for _ in 0..3 {
            let frame = endless.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap().len(), 1);
        }
    }
}
