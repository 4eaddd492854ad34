//! The pure core through whole rollouts: golden stories, and invariants over random histories.

mod autoscaled;
mod comparer;
mod conditions;
mod deadlines;
mod downgrade;
mod forecasts;
mod golden;
mod governed;
mod handovers;
mod inputs;
mod interrupted;
mod kstatus;
mod mirror;
mod natives;
mod people;
mod presets;
mod properties;
mod records;
mod refusals;
mod samples;
mod shadow;
mod templates;
mod trust;
mod world;
