//! Histories of flows: frames to tell them with, and what they must come to.

pub mod frame;
