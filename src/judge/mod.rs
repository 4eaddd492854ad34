//! judge (under construction).
