//! The weir daemon and command line.
