//! Times in which nothing rises.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::super::message::says;
use super::super::super::quantity::Duration;
use super::super::super::word::words;

/// A time in which nothing starts, rises or is promoted. Evidence goes on, and lowering is free. Either `days`, `from`, `for`
/// and `timeZone`, for one that comes each week, or `between`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.between) ? !has(self.days) && !has(self.from) && !has(self.__for__) && !has(self.timeZone) : has(self.days) && has(self.from) && has(self.__for__) && has(self.timeZone)")
    .message(says("'freeze \"' + self.name + '\" must have either between, or all of days, from, for and timeZone'")))]
#[x_kube(validation = Rule::new("!has(self.__for__) || (duration(self.__for__) > duration('0s') && duration(self.__for__) <= duration('168h'))")
    .message(says("'freeze \"' + self.name + '\" must last longer than 0s and 168h at the most: write another freeze for a longer time'")))]
pub struct Freeze {
    /// Name of the freeze, which people are shown.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Days of the week on which it begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 7))]
    pub days: Vec<Weekday>,
    /// When it begins on such a day, by the clocks of `timeZone`: hours and minutes, such as `"12:00"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5), regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub from: Option<String>,
    /// How long it lasts by the clocks of `timeZone`, up to a week: one from Friday 12:00 for 68h ends on Monday at 8:00 also
    /// when clocks are changed on Sunday.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Duration>,
    /// Name of a time zone, as the IANA database has it, such as `Europe/Berlin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 64),
        regex(pattern = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$")
    )]
    pub time_zone: Option<String>,
    /// The two instants between which it holds, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between: Option<FreezePeriod>,
}

/// The two instants between which a freeze holds.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[x_kube(validation = Rule::new("self.from < self.to").message("between.from must be before between.to"))]
pub struct FreezePeriod {
    /// Start, inclusive.
    pub from: Time,
    /// End, exclusive.
    pub to: Time,
}

/// A day of the week.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

words!(Weekday);
