//! Every failure that a cluster can produce, one after the other, on the real one. Long: `make failures` runs them, not
//! `make test`. Those in [`alone`] take something away that all tests share, and run one at a time.

mod alone;
mod ends;
mod gates;
mod hands;
mod kills;
mod kinds;
mod metrics;
mod starts;
