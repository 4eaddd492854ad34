//! What policies ask and what people want, as watches deliver it.

mod acts;
mod policies;

pub use acts::{Acted, Acts, HeldAct, SeenAct};
pub use policies::{Concerned, Policies, SeenNamespace, SeenPolicy, Selection};
